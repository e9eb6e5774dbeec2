#!/usr/bin/env python3
"""The cluster with backend cuda, its kernels on the host emulation, deterministic: the same request gives the
same bytes over every transport, beside any neighbours, colocated, after preemption, and after kill -9 of a
decode worker. Rows of prompts go through a stand-in for cuBLASLt whose bits differ from those of the kernels
of generated rows, so that a token computed again as the wrong one of the two would show."""

import unittest

from fault_test import Streams, caught, in_state, tokens_of_all
from harness import *
from load_test import together

TOKENS = 10
LENGTHS_HERE = [1, 15, 16, 17, 33, 70]
# All workers share the one emulated GPU.
SHARES = {role: {"memory_fraction": 0.25} for role in ("prefill", "decode", "colocated")}
CUDA = merge(SHARES, {"model": {"backend": "cuda", "deterministic": True, "max_context": 512}})
CELLS = [
    ("disaggregated shm", disaggregated(transport="shm")),
    ("disaggregated zmq", disaggregated(transport="zmq")),
    ("disaggregated ipc", disaggregated(transport="ipc")),
    ("disaggregated nccl", disaggregated(transport="nccl")),
    ("colocated", colocated("chunked")),
    ("prefill first", colocated("prefill_first")),
]


def bodies():
    out = []
    for i, length in enumerate(LENGTHS_HERE):
        body = {"prompt": prompt_ids(length), "max_tokens": TOKENS, "ignore_eos": True}
        out.append(dict(body, temperature=0, logprobs=1))
        out.append(dict(body, temperature=0.9, top_p=0.95, seed=1000 + i))
    return out


def start_with(c, role, **environment):
    os.environ.update(environment)
    try:
        return c.start_worker(role)
    finally:
        for name in environment:
            del os.environ[name]


class Cuda(unittest.TestCase):
    def answers(self, c, at_once):
        return parallel(at_once, lambda b: c.complete(**b)["choices"], bodies())

    def test_every_cell_gives_the_same_bytes(self):
        want = None
        for name, config in CELLS:
            with Cluster(merge(config, CUDA)) as c:
                for at_once in (1, 6):
                    got = self.answers(c, at_once)
                    want = want or got
                    self.assertEqual(got, want, "%s, %d at a time" % (name, at_once))
                c.wait_idle()
                moved = c.metric("baton_handoffs_verified_total")
                self.assertEqual(moved, 2 * len(want) if name.startswith("disaggregated") else 0, name)
                status, raw = c.get("/version")
                self.assertEqual(status, 200)
                version = json.loads(raw)
                self.assertRegex(version["path"], "^cuda/sm_[0-9]+/bf16/det-lt0.0.0-emulated/split[0-9]+$")
                self.assertIs(version["deterministic"], True)
        self.assertGreater(min(len(set(w[0]["logprobs"]["tokens"])) for w in want[::2]), TOKENS // 2)

    def test_prefixes_change_no_byte_and_generated_rows_are_none(self):
        """A page with generated rows would have other bytes than the prompt that it is found for."""
        body = {"max_tokens": 24, "ignore_eos": True, "logprobs": 1, "return_token_ids": True, "seed": 3}
        first = dict(body, prompt=prompt_ids(40))
        off = {"model": {"prefix_cache": False}}
        want = None
        for config in (merge(colocated(), off), colocated(), disaggregated()):
            with Cluster(merge(config, CUDA)) as c:
                got = [c.complete(**first)]
                answer = got[0]["choices"][0]["token_ids"]
                then = dict(body, prompt=first["prompt"] + answer + prompt_ids(30, 2))
                got += [c.complete(**b) for b in (then, then, first)]
                cached = [a["usage"]["prompt_tokens_details"]["cached_tokens"] for a in got]
                want = want or [a["choices"] for a in got]
                self.assertEqual([a["choices"] for a in got], want)
                self.assertEqual(cached, [0, 0, 0, 0] if "model" in config else [0, 32, 80, 32])
                c.wait_idle()

    def test_the_default_mode_answers_with_pools_of_what_the_gpu_has_left(self):
        config = merge(
            disaggregated(transport="zmq"),
            {
                "model": {"backend": "cuda", "max_context": 512},
                "prefill": {"kv_memory_mb": 0, "memory_fraction": 0.45},
                "decode": {"kv_memory_mb": 0, "memory_fraction": 0.45},
            },
        )
        with Cluster(config) as c:
            got = self.answers(c, 6)
            self.assertEqual([len(choices) for choices in got], [1] * len(got))
            self.assertEqual({choices[0]["finish_reason"] for choices in got}, {"length"})
            self.assertEqual(c.metric("baton_handoffs_verified_total"), len(got))
            version = json.loads(c.get("/version")[1])
            self.assertRegex(version["path"], "^cuda/sm_[0-9]+/bf16/fast-timed$")
            self.assertIs(version["deterministic"], False)
            self.assertIn("takes a GPU", c.log())
            c.wait_idle()

    def test_kill_9_of_a_decode_worker_changes_no_byte(self):
        requests = [
            {
                "prompt": prompt_ids(30 + i),
                "max_tokens": 24,
                "ignore_eos": True,
                **({"temperature": 0} if i % 2 == 0 else {"temperature": 0.8, "seed": i}),
            }
            for i in range(4)
        ]
        with Cluster(merge(disaggregated(d=2), CUDA)) as c:
            want = parallel(1, lambda b: c.complete(**b)["choices"][0]["text"], requests)
            streams, _, pid = caught(c, "decode", requests, tokens_of_all(6))
            kill(pid)
            self.assertEqual(streams.texts(), want)
            self.assertGreater(c.metric("baton_replays_total"), 0)
            c.wait_idle()

    def test_a_flipped_byte_between_gpus_is_caught_by_the_checksum(self):
        body = {"prompt": prompt_ids(40), "max_tokens": 4, "ignore_eos": True, "temperature": 0}
        broken = disaggregated(transport="ipc", handoff={"test_flip_segment": 0})
        with Cluster(merge(broken, CUDA)) as c:
            status, answer = c.post("/v1/completions", body)
            self.assertEqual(status, 500)
            self.assertIn("checksum", answer["error"]["message"])
            self.assertGreater(c.metric("baton_handoffs_failed_total"), 0)
            c.wait_idle()

    def test_auto_copies_between_gpus_where_it_can(self):
        body = {"prompt": prompt_ids(40), "max_tokens": 4, "ignore_eos": True, "temperature": 0}
        with Cluster(merge(disaggregated(transport="auto"), CUDA)) as c:
            ways = lambda: sorted((p["open"], p["transport"]) for p in c.health()[1]["pairs"])
            wait_for("a pair by ipc", lambda: ways() == [(True, "ipc")])
            want = c.complete(**body)["choices"]
            start_with(c, "prefill", BATON_EMU_VMM="absent")  # and meets the other in the host's memory
            wait_for("a pair by shm", lambda: ways() == [(True, "ipc"), (True, "shm")])
            kill(c.worker_pid("prefill-0"))
            self.assertEqual(parallel(4, lambda b: c.complete(**b)["choices"], 4 * [body]), 4 * [want])
            c.wait_idle()

    def test_workers_that_freeze_or_die_by_ipc_change_no_byte(self):
        requests = [
            {"prompt": prompt_ids(30 + i), "max_tokens": 24, "ignore_eos": True, "temperature": 0}
            for i in range(4)
        ]
        config = disaggregated(
            p=2, d=2, transport="ipc", limits={"heartbeat_ms": 100, "suspect_ms": 1000, "gone_ms": 3000}
        )
        with Cluster(merge(config, CUDA)) as c:
            want = parallel(1, lambda b: c.complete(**b)["choices"][0]["text"], requests)
            streams, name, pid = caught(c, "decode", requests, tokens_of_all(6))
            wait_for("%s is gone" % name, lambda: c.metric("baton_workers_lost_total") == 1)
            self.assertEqual(streams.texts(), want)
            kill(pid, signal.SIGCONT)  # it drops everything, and joins anew
            wait_for("it is back", lambda: len(in_state(c, "ready", "decode")) == 2)
            self.assertEqual(parallel(4, lambda b: c.complete(**b)["choices"][0]["text"], requests), want)
            kill(c.worker_pid("prefill-0"))
            self.assertEqual(parallel(4, lambda b: c.complete(**b)["choices"][0]["text"], requests), want)
            streams, _, pid = caught(c, "decode", requests, tokens_of_all(6))
            kill(pid)
            self.assertEqual(streams.texts(), want)
            c.wait_idle()

    def test_preemption_changes_no_byte(self):
        # 9 pages of 16 tokens; four sequences grow from 31 to 71 tokens: no two of them fit to their ends.
        requests = [
            {
                "prompt": prompt_ids(31),
                "max_tokens": 40,
                "ignore_eos": True,
                "temperature": 0.8,
                "seed": i,
                "logprobs": 1,
            }
            for i in range(4)
        ]
        with Cluster(merge(disaggregated(decode={"kv_pages": 9}), CUDA)) as c:
            want = parallel(1, lambda b: c.complete(**b)["choices"], requests)
            self.assertEqual(c.metric("baton_preemptions_total"), 0)
            got = together(c, "decode-0", lambda b: c.complete(**b)["choices"], requests)
            self.assertEqual(got, want)
            self.assertGreater(c.metric("baton_preemptions_total"), 0)
            c.wait_idle()

    def test_a_worker_without_the_library_is_refused_by_its_path(self):
        with Cluster(merge(disaggregated(), CUDA)) as c:
            other = start_with(c, "decode", BATON_EMU_CUBLASLT="absent")
            wait_for("the worker left", lambda: other.poll() is not None)
            self.assertNotEqual(other.returncode, 0)
            self.assertRegex(c.log(), "rows of prompts go through our own kernels.*BATON_EMU_CUBLASLT")
            self.assertRegex(c.log(), "path.*det-own/split")
            self.assertEqual(len(c.complete(prompt=prompt_ids(20), max_tokens=3)["choices"]), 1)

    def test_a_worker_whose_device_fails_says_why_and_may_come_back(self):
        requests = [{"prompt": prompt_ids(30), "max_tokens": 24, "ignore_eos": True, "temperature": 0}]
        # Trying a pair runs kernels too, as many as there is time for.
        config = disaggregated(model={"check_ops": True}, handoff={"self_test": False})
        with Cluster(merge(config, CUDA)) as c:
            want = [c.complete(**requests[0])["choices"][0]["text"]]
            kill(c.worker_pid("decode-0"))
            wait_for("the decode worker is gone", lambda: c.metric("baton_workers_lost_total") == 1)
            # Of its kernels: after a prompt's row at its start, some way into the decoding.
            broken = start_with(c, "decode", BATON_EMU_FAULT="90")
            streams = Streams(c, requests)
            wait_for("the worker left", lambda: broken.poll() is not None)
            self.assertEqual(broken.returncode, 1)
            wait_for("its end was noticed", lambda: c.metric("baton_workers_lost_total") == 2)
            health = c.health()[1]
            self.assertEqual(health["workers_lost"], 2)
            self.assertRegex(health["last_lost"]["worker"], "^decode-")
            self.assertRegex(
                health["last_lost"]["why"],
                r"^step of 1 rows on cuda/.* (embed|norm|linear|attend|gate_up|sample): .*IllegalAddress",
            )
            wait_for("what it had sent", lambda: streams.progress[0] > 1)  # it had begun, and goes on
            c.start_worker("decode")
            self.assertEqual(streams.texts(), want)
            c.wait_idle()


if __name__ == "__main__":
    unittest.main(verbosity=2)
