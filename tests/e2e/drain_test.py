#!/usr/bin/env python3
"""Workers that leave in order, under live streams: no byte is lost, no request is replayed, and they end by
themselves."""

import unittest

from fault_test import TOKENS, Streams, bodies, in_state, tokens_of_all, undisturbed
from harness import *

# An orderly end may take as long as a busy machine needs.
LONG = {"limits": {"drain_ms": 600000}}


def ctl(c, *args):
    return subprocess.run(
        [BIN + "/baton-ctl", "-e", "tcp://127.0.0.1:%d" % c.client_port, *args],
        capture_output=True,
        text=True,
        timeout=120 * SLOW,
    )


def states(c):
    """By name, as baton-ctl shows them."""
    table = ctl(c, "workers")
    assert table.returncode == 0, table
    return {line.split()[1]: line.split()[3] for line in table.stdout.splitlines()[1:]}


def second(c, role):
    """Starts another worker by hand; its process and its name."""
    before = {w["name"] for w in in_state(c, "ready", role)}
    process = c.start_worker(role)
    wait_for("a second %s worker" % role, lambda: len(in_state(c, "ready", role)) == len(before) + 1)
    (name,) = {w["name"] for w in in_state(c, "ready", role)} - before
    return process, name


class Drain(unittest.TestCase):
    def nothing_went_wrong(self, c):
        for name in (
            "baton_failed_total",
            "baton_replays_total",
            "baton_workers_lost_total",
            "baton_handoffs_failed_total",
        ):
            self.assertEqual(c.metric(name), 0, name)
        self.assertEqual(c.metric("baton_workers_left_total"), 1)

    def test_a_decode_worker_that_gets_sigterm_finishes_its_streams(self):
        requests = bodies(8, 40, TOKENS)
        want = undisturbed(requests)
        with Cluster(disaggregated(**LONG)) as c:
            process, name = second(c, "decode")
            streams = Streams(c, requests)
            wait_for("tokens on both", lambda: tokens_of_all(3)(streams) or streams.over())
            process.terminate()
            self.assertEqual(process.wait(600 * SLOW), 0)
            wait_for("its end on /health", lambda: c.worker(name) is None)
            self.assertEqual(streams.texts(), want)
            self.nothing_went_wrong(c)
            c.complete(prompt=prompt_ids(20), max_tokens=4)  # the other one goes on
            c.wait_idle()

    def test_a_prefill_worker_that_is_drained_by_name_hands_over_what_it_has(self):
        requests = bodies(8, 200, 100)
        want = undisturbed(requests)
        with Cluster(disaggregated(decode={"max_seqs": 2}, **LONG)) as c:  # so that KV is parked
            process, name = second(c, "prefill")
            streams = Streams(c, requests)
            wait_for("the first tokens", lambda: max(streams.progress) > 0 or streams.over())
            answer = ctl(c, "drain", name)
            self.assertEqual(answer.returncode, 0, answer)
            self.assertIn(" draining ", answer.stdout)
            self.assertEqual(process.wait(600 * SLOW), 0)
            self.assertEqual(streams.texts(), want)
            self.nothing_went_wrong(c)
            c.wait_idle()

    def test_a_drain_can_be_taken_back_and_says_what_cannot_be(self):
        with Cluster(disaggregated(d=2, **LONG)) as c:
            self.assertEqual(states(c), {"prefill-0": "ready", "decode-0": "ready", "decode-1": "ready"})
            with c.stopped("decode-0"):  # or it would have left before anybody could keep it
                answer = ctl(c, "drain", "decode-0")
                self.assertEqual(answer.returncode, 0, answer)
                self.assertEqual(states(c)["decode-0"], "draining")
                answer = ctl(c, "undrain", "decode-0")
                self.assertEqual(answer.returncode, 0, answer)
                self.assertEqual(states(c)["decode-0"], "ready")
            answer = ctl(c, "drain", "decode-7")
            self.assertEqual(answer.returncode, 1)
            self.assertIn("no worker is called decode-7", answer.stderr)
            self.assertEqual(ctl(c, "drain").returncode, 2)
            self.assertEqual(ctl(c, "stop").returncode, 2)
            c.complete(prompt=prompt_ids(20), max_tokens=4)
            self.assertEqual(states(c)["decode-0"], "ready")
            worker = next(line for line in ctl(c, "workers").stdout.splitlines() if " decode-0 " in line)
            self.assertEqual(ctl(c, "drain", worker.split()[0]).returncode, 0)  # by its id
            wait_for("it has left", lambda: "decode-0" not in states(c))
            self.assertEqual(c.complete(prompt=prompt_ids(20), max_tokens=4)["usage"]["completion_tokens"], 4)
            self.nothing_went_wrong(c)

    def test_a_coordinator_that_gets_sigterm_lets_streams_end_and_takes_no_new_ones(self):
        requests = bodies(8, 40, TOKENS)
        want = undisturbed(requests)
        with Cluster(disaggregated(**LONG)) as c:
            streams = Streams(c, requests)
            wait_for("tokens of all", lambda: tokens_of_all(3)(streams) or streams.over())
            self.assertFalse(streams.over())
            c.process.terminate()
            wait_for("the stop on /ready", lambda: c.get("/ready")[0] == 503)
            status, headers, body = c.request("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})
            self.assertEqual((status, headers["retry-after"], headers["connection"]), (503, "1", "close"))
            self.assertIn("stopping", json.loads(body)["error"]["message"])
            self.assertEqual(streams.texts(), want)
            self.assertEqual(c.process.wait(120 * SLOW), 0)

    def test_a_coordinator_ends_what_does_not_end_in_time_and_says_so(self):
        with Cluster(disaggregated(limits={"drain_ms": 1})) as c, c.stopped("decode-0"):
            streams = Streams(c, bodies(2, 40, TOKENS))
            wait_for("the first token of all", lambda: min(streams.progress) > 0)  # from the prefill worker
            kill(c.pids("baton-coordinator")[0], signal.SIGTERM)
            for events in streams.ends():
                self.assertIn("limits.drain_ms is 1", events[-2]["error"]["message"])

    def test_a_coordinator_that_stops_lets_clients_read_what_it_answered(self):
        body = json.dumps({"prompt": "All work and no play makes Jack a dull boy. " * 150000}).encode()
        for limits in ({"drain_ms": 600000}, {"drain_ms": 1}):
            with self.subTest(limits), Cluster(disaggregated(limits=limits)) as c, socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # most of it stays over there
                s.settimeout(60 * SLOW)
                s.connect(("127.0.0.1", c.http_port))
                head = (
                    b"POST /tokenize HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
                )
                s.sendall(head % len(body) + body)
                raw = s.recv(1024)
                c.process.terminate()
                wait_for("the stop", lambda: "coordinator stopping when" in c.log())
                until = time.monotonic() + 0.5
                while time.monotonic() < until:
                    self.assertTrue(c.pids("baton-coordinator"))
                pieces = [raw]
                while pieces[-1]:
                    pieces.append(s.recv(1 << 20))
                raw = b"".join(pieces)
                answer = json.loads(raw[raw.index(b"\r\n\r\n") :])
                self.assertEqual(len(answer["tokens"]), answer["count"])
                self.assertEqual(c.process.wait(60 * SLOW), 0)

    def test_a_second_sigterm_or_sigint_ends_a_worker_at_once(self):
        requests = bodies(4, 40, 4 * TOKENS)
        for signos in ([signal.SIGTERM, signal.SIGTERM], [signal.SIGTERM, signal.SIGINT], [signal.SIGINT]):
            with self.subTest(signos), Cluster(disaggregated(model={"backend": "ref"}, **LONG)) as c:  # slow
                process, name = second(c, "decode")
                streams = Streams(c, requests)  # nobody waits for their end
                wait_for("work at it", lambda: c.worker(name)["running"] > 0)
                for signo in signos:
                    self.assertIsNone(process.poll())
                    kill(process.pid, signo)
                    wait_for(
                        "the signal is seen",
                        lambda: process.poll() is not None or "was asked to stop" in c.log(),
                    )
                self.assertEqual(process.wait(60 * SLOW), 0)
                self.assertFalse(streams.over())
                streams.leave()

    def test_a_worker_that_has_no_coordinator_ends_at_once(self):
        with Cluster(disaggregated(), start=False) as c:
            process = c.start_worker("decode")
            wait_for("it tries to join", lambda: "does not answer" in c.log())
            process.terminate()
            self.assertEqual(process.wait(60 * SLOW), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
