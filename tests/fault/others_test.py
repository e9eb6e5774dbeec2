#!/usr/bin/env python3
"""The other faults by name: bytes that flip, frames that get lost, writers that come too late, full pools,
clients that leave in each state, and a coordinator that dies. Options as of faults_test.py."""

import unittest

from stage import *


def others():
    """Prompts that nobody else has."""
    return bodies(8, 240, 60) if REAL else bodies(8, 330, 300)


class Named(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        undisturbed(requests() + others(), MODEL)

    def right(self, streams):
        self.assertEqual(streams.texts(), undisturbed(streams.requests, MODEL))

    def test_a_payload_and_a_frame_that_are_spoiled(self):
        faults = {"p.flip": "one flipped byte in a segment (`p.flip`)", "p.lose": "a lost segment (`p.lose`)"}
        with Stage(disaggregated()) as c:
            for count, (point, fault) in enumerate(faults.items(), 1):
                with played(fault):
                    c.join("prefill", point + ":9:spoil")
                    failed = c.metric("baton_handoffs_failed_total")
                    for _ in range(20):
                        streams = Streams(c, requests())
                        self.right(streams)
                        if len(c.hits()) == count:
                            break
                    self.assertEqual([p for p, _ in c.hits()], list(faults)[:count])
                    again = c.metric("baton_handoffs_failed_total") - failed
                    self.assertGreaterEqual(again, 1)
                    self.assertEqual(c.metric("baton_workers_lost_total"), 0)
                    c.wait_at_rest()
                    moment = c.hits()[-1][1]
                note(
                    fault,
                    "it is noticed and sent again, the same bytes",
                    "%d streams, the same bytes; %d hand-offs anew, no worker lost"
                    % (len(streams.raw), again),
                    pauses_after(streams, moment),
                    recovered_s=first_after(streams, moment) - moment,
                )

    def test_a_writer_that_comes_too_late(self):
        """Its pages are of others by then: D's pool has hardly more than the batch that comes next."""
        fault = "a delayed writer, its pages used by others meanwhile (`p.segment`)"
        pool = {} if REAL else {"kv_pages": 330}
        with Stage(disaggregated(limits=DETECTING, decode=pool)) as c, played(fault):
            victim = c.join("prefill", "p.segment:7:stop")
            for _ in range(20):
                streams = Streams(c, requests())
                wait_for("a segment or an end", lambda: c.hits() or streams.over())
                if c.hits():
                    break
            moment = c.hits()[0][1]
            wait_for("the writer to be gone", lambda: not c.listed(victim.pid))
            gone = time.monotonic()
            self.right(streams)
            second = Streams(c, others())
            wait_for("others in its pages", lambda: min(second.progress) >= 5)
            kill(victim.pid, signal.SIGCONT)
            wait_for("it to join again", lambda: c.named(victim.pid))
            self.right(second)
            self.right(Streams(c, requests()))
            c.wait_at_rest()
            note(
                fault,
                "nobody's bytes change",
                "24 streams, the same bytes",
                pauses_after(streams, gone),
                detected_s=gone - moment,
                recovered_s=first_after(streams, gone) - moment,
            )

    def test_pools_that_are_full(self):
        # A request has 19 pages at first and 38 at its end.
        pool = {"kv_pages": 80}
        with Stage(disaggregated(prefill=pool, decode=pool)) as c:
            fault = "a decode pool smaller than one growing batch"
            with played(fault):
                self.right(Streams(c, requests()))
                preempted = c.metric("baton_preemptions_total")
                self.assertGreater(preempted, 0)
                self.assertEqual(c.metric("baton_failed_total"), 0)
                c.wait_at_rest()
            note(
                fault,
                "the youngest starts again, the same bytes",
                "8 streams, the same bytes; %d preempted" % preempted,
            )

            fault = "every page of P parked, D full"
            with played(fault):
                first = Streams(c, requests())
                wait_for("the oldest", lambda: max(first.progress) >= 5)
                with c.stopped("decode-0"):
                    second = Streams(c, others())
                    free = lambda: c.worker("prefill-0")["pages"]["free"]
                    wait_for(
                        "no room for a prompt at P",
                        lambda: free() < 38  # one that was replayed may need so many
                        and c.metric("baton_requests", state="wait_prefill") > 0
                        and c.metric("baton_kv_pages_pinned") > 80 - 38,
                    )
                    parked = c.metric("baton_kv_pages_pinned")
                going_on = time.monotonic()
                self.right(first)
                self.right(second)
                self.assertEqual(c.metric("baton_failed_total"), 0)
                c.wait_at_rest()
            note(
                fault,
                "nobody waits for ever, the same bytes",
                "16 streams, the same bytes; %d of 80 pages parked" % parked,
                recovered_s=first_after(second, going_on) - going_on,
            )

    def left(self, name, points):
        """A client leaves while its request is at the point; the worker then goes on."""
        env = {"BATON_FAULT": ",".join("%s:1:hold" % p for p in points)}
        with Stage(disaggregated(), env) as c:
            pid = c.worker_pid(name)
            for count, point in enumerate(points, 1):
                with played("close at " + point):
                    before = c.metric("baton_canceled_total")
                    streams = Streams(c, [dict(requests()[0], max_tokens=3000)])  # no end before it is left
                    wait_for(point, lambda: len(c.hits()) == count)
                    queued = Streams(c, [dict(requests()[0], prompt=prompt_ids(3000))])
                    wait_for("both", lambda: c.metric("baton_requests") == 2)
                    streams.leave()
                    queued.leave()
                    wait_for("it to be canceled", lambda: c.metric("baton_canceled_total") == before + 2)
                    kill(pid, signal.SIGCONT)
                    c.wait_at_rest()
            self.right(Streams(c, requests()))
            c.wait_at_rest()
            self.assertEqual([p for p, _ in c.hits()], points)

    def test_clients_that_leave_in_each_state(self):
        # In an order in which what is left of a request does not come to the next point.
        prefill = ["p.prefill", "p.sealed", "p.first_token", "p.segment"]
        decode = ["d.decode", "d.verified", "d.sealed", "d.segment", "d.reserved"]
        side_by_side(lambda: self.left("prefill-0", prefill), lambda: self.left("decode-0", decode))
        note(
            "the client closes, in each of these states and while another one waits",
            "all is given back",
            "%d closes; pages, rings and hand-offs at the baseline" % (2 * len(prefill + decode)),
        )

    def test_the_coordinator_is_killed_and_another_one_starts(self):
        fault = "kill -9 of the coordinator"
        with Stage(disaggregated()) as c, played(fault):
            streams = Streams(c, [dict(b, max_tokens=3000) for b in requests()])  # none ends before
            wait_for("all of them", lambda: min(streams.progress) >= 5)
            kill(c.pids("baton-coordinator")[0])
            moment = time.monotonic()
            self.assertEqual({end for _, _, end in streams.outcomes()}, {"reset"})
            reset = time.monotonic()
            env = {k: v for k, v in os.environ.items() if not k.startswith("OMPI_")}
            again = subprocess.Popen(
                [BIN + "/baton-coordinator", c.path], env=env, stdout=c.log_file, stderr=c.log_file
            )
            try:
                ready = lambda: c.pids("baton-coordinator") and answers(c) and c.health()[0] == 200
                wait_for("the workers to join the new one", ready)
                served = time.monotonic()
                c.wait_at_rest()
                self.right(Streams(c, requests()))
                c.wait_at_rest()
            finally:
                again.terminate()
            self.assertEqual(again.wait(60 * SLOW), 0)
            c.process.wait(120 * SLOW)
            c.process = None
            note(
                fault,
                "clients see a reset; workers drop all and join the next one",
                "8 resets; 8 streams at the next one, the same bytes",
                reset_s=reset - moment,
                served_s=served - moment,
            )


def answers(c):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", c.http_port)) == 0


if __name__ == "__main__":
    unittest.main()
