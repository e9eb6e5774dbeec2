#!/usr/bin/env python3
"""A rolling restart: each worker is drained and replaced in turn, under load. No client notices."""

import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import *
from fault_test import in_state

CLIENTS = 6


def requests_of(seed):
    random = Random(seed)
    return [
        {
            "prompt": prompt_ids(LENGTHS[random.below(45)], seed=i),
            "max_tokens": 20 + random.below(400),
            "ignore_eos": True,
            "seed": i,
            "temperature": 0.8 * (i % 2),
            "cache_salt": "s%d" % (i // 4),
        }
        for i in range(48)
    ]


class Load:
    """Clients that ask again and again, every other time for a stream, until told to stop."""

    def __init__(self, c, requests, texts):
        self.c, self.requests, self.texts = c, requests, texts
        self.over = threading.Event()
        self.right, self.wrong = [0] * CLIENTS, []
        self.threads = [threading.Thread(target=self.run, args=(i,), daemon=True) for i in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        random = Random(client)
        while not self.over.is_set():
            i = random.below(len(self.requests))
            try:
                text = self.ask(self.requests[i], random.below(2))
            except Exception as e:
                text = e
            if text == self.texts[i]:
                self.right[client] += 1
            else:
                self.wrong.append("request %d: %r, want %r" % (i, text, self.texts[i]))

    def ask(self, body, streams):
        if not streams:
            return self.c.complete(**body)["choices"][0]["text"]
        events = self.c.stream("/v1/completions", body)
        if events[-1] != "[DONE]" or any("error" in e for e in events[:-1]):
            return events
        return "".join(e["choices"][0]["text"] for e in events[:-1] if e["choices"])

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(600 * SLOW)
            assert not thread.is_alive(), "a request has no end"


class RollingRestart(unittest.TestCase):
    def replace(self, c, load, role, name, pid):
        """Drains the one of this name; another takes its place once it has ended."""
        wait_for("work at %s" % name, lambda: c.worker(name)["assigned"] > 0)
        kill(pid, signal.SIGTERM)
        wait_for("the end of the process of %s" % name, lambda: pid not in c.pids("baton-" + role))
        wait_for("its end on /health", lambda: c.worker(name) is None)
        c.start_worker(role)
        wait_for("another %s worker" % role, lambda: len(in_state(c, "ready", role)) == 2)
        before = list(load.right)  # clients go on with the new one there
        wait_for("answers for all", lambda: load.wrong or all(a > b for a, b in zip(load.right, before)))

    def test_each_worker_is_replaced_in_turn_and_no_request_fails(self):
        requests = requests_of(11)
        with Cluster(disaggregated(2, 2, limits={"drain_ms": 600000})) as c:
            workers = [(role, "%s-%d" % (role, i)) for role in ("decode", "prefill") for i in range(2)]
            pids = {name: c.worker_pid(name) for _, name in workers}
            texts = parallel(4, lambda b: c.complete(**b)["choices"][0]["text"], requests)
            load = Load(c, requests, texts)
            try:
                for role, name in workers:
                    self.replace(c, load, role, name, pids[name])
            finally:
                load.stop()
            self.assertEqual(load.wrong, [])
            for name in ("baton_failed_total", "baton_replays_total", "baton_workers_lost_total"):
                self.assertEqual(c.metric(name), 0, name)
            self.assertEqual(c.metric("baton_workers_left_total"), 4)
            wait_for("rest", lambda: not c.busy())


if __name__ == "__main__":
    unittest.main(verbosity=2)
