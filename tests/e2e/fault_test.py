#!/usr/bin/env python3
"""Workers that die, freeze and come back, under live streams: the same bytes, or the documented error."""
import unittest

from harness import *


def bodies(count, prompt, tokens):
    return [{"prompt": prompt_ids(prompt + i), "max_tokens": tokens, "ignore_eos": True,
             **({"temperature": 0} if i % 2 == 0 else {"temperature": 0.8, "seed": i})} for i in range(count)]


def undisturbed(config, requests):
    with Cluster(config) as c:
        return parallel(len(requests), lambda b: c.complete(**b)["choices"][0]["text"], requests)


class Streams:
    """Streams read in the background; progress[i] counts the tokens of stream i."""

    def __init__(self, c, requests):
        self.progress = [0] * len(requests)
        self.pool = concurrent.futures.ThreadPoolExecutor(len(requests))

        def run(i):
            def count(event):
                self.progress[i] += 1
            return c.stream("/v1/completions", requests[i], count)
        self.futures = [self.pool.submit(run, i) for i in range(len(requests))]

    def texts(self):
        out = []
        for f in self.futures:
            events = f.result(120 * SLOW)
            assert events[-1] == "[DONE]", events[-3:]
            errors = [e for e in events[:-1] if "error" in e]
            assert not errors, errors
            out.append("".join(e["choices"][0]["text"] for e in events[:-1] if e["choices"]))
        return out

    def ends(self):
        return [f.result(120 * SLOW) for f in self.futures]


class Faults(unittest.TestCase):
    def test_kill_9_of_a_decode_worker_changes_no_byte(self):
        requests = bodies(8, 50, 2000)
        want = undisturbed(disaggregated(), requests)
        with Cluster(disaggregated(d=2)) as c:
            streams = Streams(c, requests)
            wait_for("a quarter of every stream", lambda: min(streams.progress) >= 500)
            worst = max(c.health()[1]["workers"], key=lambda w: w["assigned"] if w["role"] == "decode" else -1)
            kill(c.worker_pid(worst["name"]))
            self.assertEqual(streams.texts(), want)
            self.assertGreater(c.metric("baton_replays_total"), 0)
            c.wait_idle()

    def test_kill_9_of_the_worker_that_carries_all_streams(self):
        # One decode worker at first: it carries all 8. The second joins by hand before the kill.
        requests = bodies(8, 50, 2000)
        want = undisturbed(disaggregated(), requests)
        with Cluster(disaggregated()) as c:
            streams = Streams(c, requests)
            wait_for("the first tokens", lambda: min(streams.progress) >= 1)
            c.start_worker("decode")
            wait_for("a second decode worker", lambda: sum(w["role"] == "decode" and w["state"] == "ready" for w in c.health()[1]["workers"]) == 2)
            wait_for("a quarter of every stream", lambda: min(streams.progress) >= 500)
            kill(c.worker_pid("decode-0"))
            self.assertEqual(streams.texts(), want)
            self.assertEqual(c.metric("baton_replays_total"), 8)
            c.wait_idle()

    def test_kill_9_of_a_prefill_worker_during_prompts(self):
        requests = bodies(8, 1000, 20)
        want = undisturbed(disaggregated(), requests)
        with Cluster(disaggregated(p=2)) as c:
            streams = Streams(c, requests)
            busy = wait_for("a busy prefill worker", lambda: [w for w in c.health()[1]["workers"] if w["role"] == "prefill" and w["running"] > 0])
            kill(c.worker_pid(busy[0]["name"]))
            self.assertEqual(streams.texts(), want)
            c.wait_idle()

    def test_a_frozen_worker_is_gone_and_comes_back_as_a_new_one(self):
        requests = bodies(4, 50, 3000)
        want = undisturbed(disaggregated(), requests)
        limits = {"heartbeat_ms": 100, "suspect_ms": 400, "gone_ms": 1000}
        for role in ("decode", "prefill"):
            with Cluster(disaggregated(p=2, d=2, limits=limits)) as c:
                streams = Streams(c, requests)
                wait_for("some tokens", lambda: min(streams.progress) >= 20)
                pid = c.worker_pid(role + "-0")
                kill(pid, signal.SIGSTOP)
                try:
                    wait_for("the frozen worker to be gone", lambda: sum(w["state"] == "ready" for w in c.health()[1]["workers"]) == 3)
                    self.assertEqual(streams.texts(), want)
                finally:
                    kill(pid, signal.SIGCONT)
                wait_for("it to join again", lambda: sum(w["state"] == "ready" for w in c.health()[1]["workers"]) == 4)
                c.wait_idle()

    def test_with_none_left_the_error_comes_after_the_deadline_and_service_after_a_new_worker(self):
        with Cluster(disaggregated(limits={"wait_prefill_ms": 1500})) as c:
            streams = Streams(c, bodies(2, 50, 4000))
            wait_for("some tokens", lambda: min(streams.progress) >= 20)
            kill(c.worker_pid("decode-0"))
            for events in streams.ends():
                self.assertEqual(events[-1], "[DONE]")
                self.assertEqual(events[-2]["error"]["code"], 503, events[-2])
                self.assertIn("decode", events[-2]["error"]["message"])
            status, answer = c.post("/v1/completions", {"prompt": "x", "max_tokens": 4})
            self.assertEqual(status, 503, answer)
            self.assertEqual(c.health()[0], 503)
            c.start_worker("decode")
            wait_for("service", lambda: c.health()[0] == 200)
            self.assertEqual(c.complete(prompt="x", max_tokens=4, ignore_eos=True)["usage"]["completion_tokens"], 4)
            c.wait_idle()

    def test_the_coordinator_dies_and_the_workers_leave(self):
        with Cluster(disaggregated(limits={"rejoin_ms": 1000, "lease_ms": 1000})) as c:
            workers = c.pids("baton-prefill") + c.pids("baton-decode")
            self.assertEqual(len(workers), 2)
            kill(c.pids("baton-coordinator")[0])
            wait_for("the workers to exit", lambda: not c.pids("baton-prefill") + c.pids("baton-decode"), 60)
            c.process.wait(30 * SLOW)
            c.process = None


if __name__ == "__main__":
    unittest.main()
