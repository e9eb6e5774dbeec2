#!/usr/bin/env python3
"""KV over nccl between real processes, with the emulated GPU and its emulated library: every pair opens and
is tried, a damaged byte is caught, and workers that are killed or frozen take nothing with them but their own
pairs, and come back."""

import unittest

from fault_test import a_queue, caught, in_state, tokens_of_all
from harness import *

SHARE = {"memory_fraction": 0.25}  # of the one GPU, which all of them have
CUDA = {
    # Prompts come again and must still take their time.
    "model": {"backend": "cuda", "deterministic": True, "max_context": 512, "prefix_cache": False},
    "prefill": dict(SHARE, token_budget=16, chunk_tokens=16),
    "decode": SHARE,
}


def nccl(**over):
    return merge(disaggregated(transport="nccl", **over), CUDA)


def requests(count, prompt, tokens):
    return [
        {
            "prompt": prompt_ids(prompt + i),
            "max_tokens": tokens,
            "ignore_eos": True,
            **({"temperature": 0} if i % 2 == 0 else {"temperature": 0.8, "seed": i}),
        }
        for i in range(count)
    ]


DECODES, PROMPTS = requests(3, 20, 32), requests(5, 120, 3)


def text(c, body):
    return c.complete(**body)["choices"][0]["text"]


UNDISTURBED = {}


def undisturbed(c, bodies):
    """The first cluster's texts, before anything happens to it."""
    for body in bodies:
        key = json.dumps(body)
        UNDISTURBED[key] = UNDISTURBED.get(key) or text(c, body)
    return [UNDISTURBED[json.dumps(body)] for body in bodies]


class Nccl(unittest.TestCase):
    def tried(self, c, count):
        wait_for(
            "%d pairs by nccl" % count,
            lambda: [(p["open"], p["transport"], p["gb_per_s"] > 0) for p in c.health()[1]["pairs"]]
            == [(True, "nccl", True)] * count,
        )

    def test_auto_is_zmq_between_hosts_where_one_has_no_library(self):
        with Cluster(merge(disaggregated(transport="auto"), CUDA)) as c:
            pairs = lambda: {p["transport"] for p in c.health()[1]["pairs"] if p["open"]}
            want = text(c, DECODES[0])
            os.environ.update(BATON_HOST_ID="another", BATON_EMU_NCCL="absent")
            try:
                c.start_worker("decode")
            finally:
                del os.environ["BATON_HOST_ID"], os.environ["BATON_EMU_NCCL"]
            wait_for("a pair by zmq", lambda: "zmq" in pairs())
            kill(c.worker_pid("decode-0"))
            self.assertEqual(text(c, DECODES[0]), want)

    def test_a_flipped_byte_is_caught(self):
        with Cluster(nccl(handoff={"test_flip_segment": 0})) as c:
            status, answer = c.post("/v1/completions", DECODES[0])
            self.assertEqual(status, 500, answer)
            self.assertIn("checksum", answer["error"]["message"])
            c.wait_idle()

    def killed(self, c, role, bodies, begun, want):
        streams, name, pid = caught(c, role, bodies, begun)
        kill(pid)
        self.assertEqual(streams.texts(), want, role)
        self.assertGreater(c.metric("baton_replays_total"), 0)
        c.start_worker(role)
        self.tried(c, 4)
        self.assertEqual(text(c, bodies[0]), want[0])
        c.wait_idle()

    def frozen(self, c, role, bodies, begun, want):
        streams, name, pid = caught(c, role, bodies, begun)
        try:
            wait_for("the frozen worker to be gone", lambda: not c.worker(name))
            self.assertEqual(streams.texts(), want, role)
        finally:
            kill(pid, signal.SIGCONT)
        wait_for("it to join again", lambda: len(in_state(c, "ready")) == 4)
        self.tried(c, 4)
        self.assertEqual(text(c, bodies[0]), want[0])
        c.wait_idle()

    def test_kill_9_of_either_side_changes_no_byte_and_the_worker_comes_back(self):
        with Cluster(nccl(p=2, d=2)) as c:
            self.tried(c, 4)
            self.killed(c, "decode", DECODES, tokens_of_all(6), undisturbed(c, DECODES))
            self.killed(c, "prefill", PROMPTS, a_queue(c), undisturbed(c, PROMPTS))

    def test_a_frozen_worker_of_either_side_is_gone_and_comes_back(self):
        limits = {"heartbeat_ms": 100, "suspect_ms": 1000, "gone_ms": 3000}
        with Cluster(nccl(p=2, d=2, limits=limits)) as c:
            self.tried(c, 4)
            self.frozen(c, "decode", DECODES, tokens_of_all(6), undisturbed(c, DECODES))
            self.frozen(c, "prefill", PROMPTS, a_queue(c), undisturbed(c, PROMPTS))


if __name__ == "__main__":
    unittest.main(verbosity=2)
