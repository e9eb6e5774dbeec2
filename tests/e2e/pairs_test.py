"""Pairs of workers choose how KV travels, are tried when the workers join, and fall back when a way fails."""

import os
import signal
import subprocess
import unittest

from harness import Cluster, disaggregated, kill, prompt_ids, wait_for

BODY = {"prompt": prompt_ids(100), "max_tokens": 8, "temperature": 0}


def text(c):
    return c.complete(**BODY)["choices"][0]["text"]


def pairs(c):
    return c.health()[1]["pairs"]


class Pairs(unittest.TestCase):
    def tried(self, c, count, transport):
        """All pairs are open by that transport, with figures."""
        wait_for(
            "%d pairs by %s" % (count, transport),
            lambda: [(p["open"], p["transport"], p["gb_per_s"] > 0) for p in pairs(c)]
            == [(True, transport, True)] * count,
        )
        for p in pairs(c):
            self.assertGreater(p["latency_us"], 0)
            self.assertEqual(p["why"], "")
            labels = {"prefill": p["prefill"], "decode": p["decode"], "transport": transport}
            self.assertEqual(c.metric("baton_pair_up", **labels), 1)
            self.assertGreater(c.metric("baton_pair_bytes_per_second", **labels), 0)
            self.assertGreater(c.metric("baton_pair_latency_seconds", **labels), 0)

    def test_auto_is_shm_on_one_host_and_every_pair_is_tried_before_a_request(self):
        with Cluster(disaggregated(p=2, d=2, transport="auto")) as c:
            self.tried(c, 4, "shm")
            want = text(c)
            kill(c.worker_pid("decode-0"))  # its pairs are forgotten
            wait_for("two pairs", lambda: len(pairs(c)) == 2)
            self.assertEqual(text(c), want)
            c.start_worker("decode")
            self.tried(c, 4, "shm")

    def test_auto_is_zmq_between_hosts(self):
        with Cluster(disaggregated(p=1, d=1, transport="auto")) as c:
            want = text(c)
            os.environ["BATON_HOST_ID"] = "another"  # as a worker of another machine says
            try:
                c.start_worker("decode")
            finally:
                del os.environ["BATON_HOST_ID"]
            wait_for(
                "a pair by zmq",
                lambda: sorted((p["open"], p["transport"]) for p in pairs(c))
                == [(True, "shm"), (True, "zmq")],
            )
            kill(c.worker_pid("decode-0"))
            self.assertEqual(text(c), want)

    def test_a_way_that_fails_when_it_is_tried_is_replaced_by_the_next(self):
        """A worker that claims this host, and whose memory nobody here can open: its pids are its own."""
        if os.geteuid() != 0 or subprocess.run(["unshare", "-pf", "true"], capture_output=True).returncode:
            self.skipTest("needs root and unshare")
        os.environ["BATON_HOST_ID"] = "one"
        self.addCleanup(os.environ.pop, "BATON_HOST_ID")
        with Cluster(disaggregated(p=1, d=1, transport="auto")) as c:
            self.tried(c, 1, "shm")
            want = text(c)
            with open(c.log_path, "a") as log:
                apart = subprocess.Popen(
                    ["unshare", "-pf", "--kill-child", c.bin + "/baton-decode", c.path],
                    stdout=log,
                    stderr=log,
                )
            self.addCleanup(apart.wait)
            self.addCleanup(apart.send_signal, signal.SIGKILL)
            wait_for(
                "a pair by zmq",
                lambda: sorted((p["open"], p["transport"]) for p in pairs(c))
                == [(True, "shm"), (True, "zmq")],
            )
            self.assertIn("the workers must share host, pid namespace and user", c.log())
            kill(c.worker_pid("decode-0"))
            self.assertEqual(text(c), want)

    def test_without_the_self_test_pairs_are_opened_by_the_first_request(self):
        over = {"handoff": {"self_test": False}}
        with Cluster(disaggregated(p=1, d=1, transport="auto", **over)) as c:
            self.assertEqual(pairs(c), [])
            text(c)
            wait_for("a pair", lambda: [p["transport"] for p in pairs(c)] == ["shm"])


if __name__ == "__main__":
    unittest.main()
