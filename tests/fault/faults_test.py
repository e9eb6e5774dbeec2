#!/usr/bin/env python3
"""Every fault that the protocol promises to survive, by name, on real processes: promised, and what came.

faults_test.py [TESTS]       BATON_FAULT_MODEL=smol: SmolLM2 in place of the small generated checkpoint
                             BATON_FAULT_ALL=1: freezing the only worker in every state, not in two
                             BATON_FAULT_RESULTS=FILE: leaves what came as JSON, for table.py
"""

import unittest

from stage import *

# Where the victim is when it happens, and at which time there. In the states marked so the thread that is
# there waits first, until what it had said before was seen to arrive.
HOLD = True
VERB = {signal.SIGKILL: "kill -9", signal.SIGSTOP: "SIGSTOP"}
# In an order in which what is left of a request, once its worker goes on, does not come to the next point.
STATES = {
    "prefill": [
        ("p.prefill", 60, not HOLD, "in a step of a prompt"),
        ("p.sealed", 1, HOLD, "its SEAL was taken, its token was not told"),
        ("p.first_token", 1, HOLD, "its first token was told, no SEAL left"),
        ("p.segment", 7, not HOLD, "in the middle of a SEGMENT"),
    ],
    "decode": [
        ("d.decode", 300, not HOLD, "in a step of a batch"),
        ("d.verified", 1, HOLD, "VERIFIED was told, no token"),
        ("d.sealed", 2, not HOLD, "all is verified, nobody was told"),
        ("d.segment", 7, not HOLD, "in the middle of a SEGMENT"),
        ("d.reserved", 2, not HOLD, "it reserved, the first SEGMENT is there"),
    ],
}
# With none left, which states are frozen: all of them take a minute.
FROZEN_ALONE = None if os.environ.get("BATON_FAULT_ALL") else {"p.segment", "d.decode"}

PAUSES = []


def tearDownModule():
    if PAUSES:
        print(
            "pause after detection: p50 %.2f s, p99 %.2f s of %d streams"
            % (percentile(PAUSES, 0.5), percentile(PAUSES, 0.99), len(PAUSES))
        )


class Victim:
    """A worker that joined by hand to suffer the states, and what is done to it there: SIGKILL or SIGSTOP."""

    def __init__(self, stage, role, states, signo, beside):
        self.stage, self.signo, self.role, self.beside = stage, signo, role, beside
        action = "kill" if signo == signal.SIGKILL else "stop"
        self.hits = len(stage.hits())
        self.process = stage.join(
            role, ",".join("%s:%d:%s" % (p, n, "hold" if held else action) for p, n, held, _ in states)
        )
        self.pid = self.process.pid

    def there(self):
        return len(self.stage.hits()) > self.hits

    def meets(self, point):
        """Streams under way, one of which has brought the victim to the point."""
        parts = []
        for _ in range(20):
            parts.append(Streams(self.stage, requests()))
            wait_for("%s or an end" % point, lambda: self.there() or parts[-1].over())
            if self.there():
                return parts
        raise AssertionError("no stream came to %s" % point)

    def meets_one(self, point):
        """Likewise with one stream, the last. Where there is another worker, it is kept busy by the stream
        before."""
        parts = []
        for _ in range(20):
            if self.beside:
                parts.append(Streams(self.stage, [busy_with(self.role)]))
            if self.beside and self.role == "decode":
                wait_for("a stream", lambda: parts[-1].progress[0] or self.there())
            parts.append(Streams(self.stage, requests()[:1]))
            wait_for("%s or an end" % point, lambda: self.there() or all(p.over() for p in parts))
            if self.there():
                return parts
        raise AssertionError("no stream came to %s" % point)

    def strike(self, point, held):
        """The streams, and when it happened. What was said before a held point was seen to arrive."""
        verified = self.stage.metric("baton_handoffs_verified_total")
        parts = self.meets_one(point) if held else self.meets(point)
        self.hits += 1
        hits = self.stage.hits()
        assert [p for p, _ in hits][self.hits - 1 :] == [point], (point, hits)
        if not held:
            return parts, hits[-1][1]
        told = lambda count: all(p.progress[0] >= count for p in parts)
        seen = {
            "p.first_token": lambda: told(1),
            "p.sealed": lambda: told(2),
            "d.verified": lambda: self.stage.metric("baton_handoffs_verified_total") == verified + len(parts),
        }[point]
        wait_for("what was said before %s" % point, seen)
        parts.append(Streams(self.stage, requests()[1:]))
        kill(self.pid, self.signo)
        return parts, time.monotonic()

    def lost(self):
        """Waits until the coordinator has given it up; when that was."""
        wait_for("the victim to be gone", lambda: not self.stage.listed(self.pid))
        return time.monotonic()

    def comes_back(self):
        kill(self.pid, signal.SIGCONT)
        wait_for("it to join again", lambda: self.stage.named(self.pid))


class Named(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        undisturbed(requests() + [busy_with(role) for role in STATES], MODEL)

    def want(self, streams):
        return undisturbed(streams.requests, MODEL)

    def beside_a_second(self, role, signo):
        killed = signo == signal.SIGKILL
        with Stage(disaggregated(limits={} if killed else DETECTING)) as c:
            victim = None
            for state in STATES[role]:
                point, _, held, where = state
                fault = "%s at `%s`, %s; a second one is there" % (VERB[signo], point, where)
                with played(fault):
                    if killed or not victim:
                        victim = Victim(c, role, [state] if killed else STATES[role], signo, True)
                    parts, moment = victim.strike(point, held)
                    gone = victim.lost()
                    streams = joined(parts)
                    self.assertEqual(streams.texts(), self.want(streams))
                    pauses = pauses_after(streams, gone)
                    recovered = first_after(streams, gone) - moment
                    if killed:
                        self.assertEqual(victim.process.wait(60 * SLOW), -signal.SIGKILL)
                    else:
                        victim.comes_back()
                    c.wait_at_rest()
                PAUSES.extend(pauses)
                note(
                    fault,
                    "no request fails, the same bytes",
                    "%d streams, the same bytes" % len(streams.raw) + ("" if killed else "; it came back"),
                    pauses,
                    detected_s=gone - moment,
                    recovered_s=recovered,
                )

    def alone(self, role, signo, only=None):
        killed = signo == signal.SIGKILL
        states = [
            (point, times + held, held, where)
            for point, times, held, where in STATES[role]
            if not only or point in only
        ]
        # Those that wait when one freezes still do when it is given up.
        deadline_ms = DEADLINE_MS + (0 if killed else GONE_MS)
        limits = {"wait_prefill_ms": deadline_ms, "wait_kv_ms": deadline_ms}
        with Stage(disaggregated(limits=merge({} if killed else DETECTING, limits))) as c:
            kill(c.worker_pid(role + "-0"))
            wait_for("none of the role", lambda: not in_state(c, "ready", role))
            victims = [states] if not killed else [[state] for state in states]
            victim = Victim(c, role, victims.pop(0), signo, False)
            self.served(c)
            for point, _, held, where in states:
                fault = "%s at `%s`, %s; it is the only one" % (VERB[signo], point, where)
                with played(fault):
                    parts, moment = victim.strike(point, held)
                    gone = victim.lost()
                    codes = self.refused_or_right(joined(parts), role)
                    ended = time.monotonic() - gone
                    self.assertEqual(c.health()[0], 503)
                    c.wait_at_rest()
                    came = time.monotonic()
                    if not killed:
                        victim.comes_back()
                    elif victims:
                        victim = Victim(c, role, victims.pop(0), signo, False)
                    else:
                        c.join(role)
                    self.served(c)
                note(
                    fault,
                    "a clear error after the deadline, service when one joins",
                    "%s after the deadline; the next one serves" % codes,
                    detected_s=gone - moment,
                    error_s=ended,
                    served_s=time.monotonic() - came,
                )
            c.wait_at_rest()

    def served(self, c):
        wait_for("service", lambda: c.health()[0] == 200)
        probe = {"prompt": "x", "max_tokens": 2, "ignore_eos": True}
        self.assertEqual(c.complete(**probe)["usage"]["completion_tokens"], 2)

    def refused_or_right(self, streams, role):
        """Those that could go on are right; the others were told why. Counts by code."""
        codes = {}
        for (status, events, end), want in zip(streams.outcomes(), self.want(streams)):
            errors = [e["error"] for e in events if "error" in e]
            text = "".join(e["choices"][0]["text"] for e in events if e.get("choices"))
            if errors:
                self.assertIn(errors[0]["code"], (503, 504), errors)
                self.assertIn(end, ("answer", "[DONE]"))
                self.assertTrue(want.startswith(text))
                self.assertIn(role, errors[0]["message"])
                codes[errors[0]["code"]] = codes.get(errors[0]["code"], 0) + 1
            else:
                self.assertEqual((status, end, text), (200, "[DONE]", want))
        self.assertTrue(codes, "nobody noticed")
        return ", ".join("%d x %d" % (count, code) for code, count in sorted(codes.items()))

    def both(self, play, *args):
        side_by_side(lambda: play("prefill", *args), lambda: play("decode", *args))

    def test_kill_9_beside_a_second(self):
        self.both(self.beside_a_second, signal.SIGKILL)

    def test_freezing_beside_a_second(self):
        self.both(self.beside_a_second, signal.SIGSTOP)

    def test_kill_9_of_the_only_one(self):
        self.both(self.alone, signal.SIGKILL)

    def test_freezing_the_only_one(self):
        self.both(self.alone, signal.SIGSTOP, FROZEN_ALONE)


if __name__ == "__main__":
    unittest.main()
