#!/usr/bin/env python3
"""What a user gets wrong before the first request: each is one clear error that names the thing and the
remedy, and an exit."""

import os
import re
import subprocess
import unittest

from harness import *


class Startup(unittest.TestCase):
    def setUp(self):
        self.c = Cluster(disaggregated(), start=False)
        self.addCleanup(self.c.dir.cleanup)

    def run_program(self, program, *args):
        out = subprocess.run(
            [BIN + "/" + program, *args],
            capture_output=True,
            text=True,
            timeout=120 * SLOW,
            stdin=subprocess.DEVNULL,
        )
        self.assertEqual(sanitizer_reports(out.stderr), [], out.stderr)
        return out.returncode, out.stdout + out.stderr

    def refused(self, words, *args, program="baton-coordinator", code=None):
        status, text = self.run_program(program, *args)
        self.assertNotEqual(status, 0, text)
        self.assertGreater(status, 0, "died of a signal: " + text)
        if code is not None:
            self.assertEqual(status, code, text)
        for word in words:
            self.assertIn(word, text)

    def test_a_misspelt_key_is_named_with_file_line_and_column(self):
        with open(self.c.path, "a") as f:
            f.write("handof:\n  transport: shm\n")
        with open(self.c.path) as f:
            lines = f.read().count("\n")
        self.refused(["%s:%d:1: handof" % (self.c.path, lines - 1)], self.c.path, "--check", code=2)

    def test_a_value_out_of_range_is_named(self):
        self.refused(
            ["handoff.transport", "pigeon"], self.c.path, "--set", "handoff.transport=pigeon", "--check"
        )
        self.refused(["decode.tp"], self.c.path, "--set", "decode.tp=2", "--check")
        self.refused(["nonsense"], self.c.path, "--set", "decode.nonsense=2", "--check")

    def test_more_cores_than_there_are(self):
        self.refused(
            ["cores", "oversubscribe"],
            self.c.path,
            "--set",
            "cluster.oversubscribe=false",
            "--set",
            "decode.count=50",
            "--check",
        )

    def test_no_such_config_and_no_such_model(self):
        self.refused(["/nowhere.yaml"], "/nowhere.yaml")
        self.refused(["/nowhere.gguf"], self.c.path, "--set", "model.path=/nowhere.gguf")
        self.refused(
            ["/nowhere.gguf"], self.c.path, "--set", "model.path=/nowhere.gguf", program="baton-decode"
        )

    def test_a_truncated_or_hostile_model_file(self):
        with open(TINY, "rb") as f:
            data = f.read()
        for name, content in (
            ("cut", data[: len(data) // 2]),
            ("head", data[:20]),
            ("empty", b""),
            ("text", b"hello" * 100),
            ("counts", data[:8] + b"\xff" * 16 + data[24:]),
        ):
            path = self.c.dir.name + "/" + name + ".gguf"
            with open(path, "wb") as f:
                f.write(content)
            for program in ("baton-coordinator", "baton-prefill"):
                self.refused([name + ".gguf"], self.c.path, "--set", "model.path=" + path, program=program)

    def test_backend_cuda_without_a_gpu(self):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # nor with one
        self.addCleanup(os.environ.pop, "CUDA_VISIBLE_DEVICES")
        words = (
            ["no CUDA device was found", "backend: cpu"]
            if os.environ.get("BATON_HAS_CUDA") == "ON"
            else ["cuda", "cpu, ref"]
        )
        for program in ("baton-prefill", "baton-decode", "baton-colocated"):
            self.refused(words, self.c.path, "--set", "model.backend=cuda", program=program)

    def test_a_port_in_use(self):
        with Cluster(disaggregated()) as other:
            self.refused(
                [str(other.http_port), "in use"],
                self.c.path,
                "--set",
                "cluster.http=127.0.0.1:%d" % other.http_port,
            )
            self.refused(
                [str(other.control_port), "in use"],
                self.c.path,
                "--set",
                "cluster.control=tcp://127.0.0.1:%d" % other.control_port,
            )

    def test_a_whole_cluster_on_a_port_in_use_ends_by_itself(self):
        with Cluster(disaggregated()) as other:
            env = dict(os.environ, BATON_BIN=BIN, BATON_RUN=self.c.dir.name)
            out = subprocess.run(
                [ROOT + "/deploy/up.sh", self.c.path, "--set", "cluster.http=127.0.0.1:%d" % other.http_port],
                env=env,
                capture_output=True,
                text=True,
                timeout=120 * SLOW,
                stdin=subprocess.DEVNULL,
            )
            self.assertEqual(out.returncode, 1, out.stdout + out.stderr)
            self.assertIn("127.0.0.1:%d is in use" % other.http_port, out.stdout + out.stderr)
            wait_for(
                "no worker is left", lambda: not self.c.pids("baton-prefill") + self.c.pids("baton-decode")
            )
            self.assertEqual(other.health()[0], 200)

    def test_a_cluster_whose_workers_all_fail_at_the_start_ends_by_itself(self):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        self.addCleanup(os.environ.pop, "CUDA_VISIBLE_DEVICES")
        env = dict(os.environ, BATON_BIN=BIN, BATON_RUN=self.c.dir.name)
        out = subprocess.run(
            [ROOT + "/deploy/up.sh", self.c.path, "--set", "model.backend=cuda"],
            env=env,
            capture_output=True,
            text=True,
            timeout=120 * SLOW,
            stdin=subprocess.DEVNULL,
        )
        self.assertEqual(out.returncode, 1, out.stdout + out.stderr)
        self.assertIn("every worker ended before it could join", out.stderr)
        self.assertEqual(self.c.pids("baton-coordinator"), [])

    def test_a_worker_without_a_coordinator_says_so_and_leaves(self):
        self.refused(
            ["127.0.0.1:%d" % self.c.control_port],
            self.c.path,
            "--set",
            "limits.rejoin_ms=1000",
            program="baton-decode",
            code=1,
        )

    def test_unlike_numerics_are_refused_naming_the_field(self):
        with Cluster(disaggregated()) as other:
            self.refused(["kv_dtype"], other.path, "--set", "model.kv_dtype=f32", program="baton-decode")
            self.assertEqual(other.health()[0], 200)

    def memory_of(self, text, worker):
        """What a worker printed at its start: {what: {key: value}}."""
        found = re.findall(r" %s memory (what=.*)" % worker, text)
        rows = [dict(pair.split("=", 1) for pair in line.split()) for line in found]
        return {row["what"]: row for row in rows}

    def mapped(self, pid, ending):
        """KiB of a process's mappings of such a file: resident, its share of them, and how many mappings."""
        rss = pss = parts = 0
        here = False
        with open("/proc/%d/smaps" % pid) as f:
            for line in f:
                if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    here = line.rstrip().endswith(ending)
                    parts += here
                elif here and line.startswith("Rss:"):
                    rss += int(line.split()[1])
                elif here and line.startswith("Pss:"):
                    pss += int(line.split()[1])
        return rss, pss, parts

    def test_workers_say_what_their_memory_is_for_and_share_repacked_weights(self):
        cache = self.c.dir.name + "/cache"
        config = merge(disaggregated(), {"model": {"weight_cache": cache}})
        found = []
        for start in range(2):
            with Cluster(config) as c:
                text = c.log()
                for pid in c.pids("baton-prefill") + c.pids("baton-decode"):
                    rss, pss, parts = self.mapped(pid, ".weights")
                    self.assertGreater(rss, 0)
                    # Two share each page, whatever of it is rounded.
                    self.assertAlmostEqual(pss, rss / 2, delta=parts)
                rows = [self.memory_of(text, name) for name in ("prefill-0", "decode-0")]
            for memory in rows:
                repacked = memory["repacked_weights"]
                self.assertEqual(repacked["shared"], "yes")
                self.assertEqual(os.path.dirname(repacked["in"]), cache)
                self.assertTrue(os.path.exists(repacked["in"]))
                found.append(repacked["found"])
                kv = memory["kv_pages"]
                self.assertEqual(int(kv["tokens"]), 16 * int(kv["pages"]))
                context = int(memory["total"]["max_context"])
                self.assertEqual(
                    int(kv["requests_of_full_context"]), int(kv["pages"]) // ((context + 15) // 16)
                )
                parts = [float(memory[what]["mib"]) for what in ("weights", "kv_pages", "activations")]
                if "receive_rings" in memory:
                    rings = memory["receive_rings"]
                    self.assertEqual(float(rings["mib"]), int(rings["senders"]) * float(rings["mib_each"]))
                    parts.append(float(rings["mib"]))
                self.assertAlmostEqual(float(memory["total"]["mib"]), sum(parts), delta=0.3)
        # One worker of the first start repacked.
        self.assertEqual(sorted(found), ["no", "yes", "yes", "yes"])
        self.assertEqual(len(os.listdir(cache)), 1)

    def test_a_worker_that_can_keep_no_file_says_why_and_serves(self):
        config = merge(disaggregated(), {"model": {"weight_cache": "/proc/nowhere"}})
        with Cluster(config) as c:
            rows = [self.memory_of(c.log(), name) for name in ("prefill-0", "decode-0")]
            self.assertIn('model.weight_cache', c.log())
            self.assertEqual(c.health()[0], 200)
        for memory in rows:
            self.assertEqual(memory["repacked_weights"]["in"], "own_memory")

    def test_check_prints_the_ranks(self):
        status, text = self.run_program("baton-coordinator", self.c.path, "--check")
        self.assertEqual(status, 0, text)
        ranks = [line for line in text.splitlines() if line.startswith("rank=")]
        self.assertEqual(len(ranks), 3)
        self.assertIn("role=coordinator", ranks[0])

    def test_version(self):
        for program in (
            "baton-coordinator",
            "baton-prefill",
            "baton-decode",
            "baton-colocated",
            "baton-bench",
            "baton-plan",
            "baton-ask",
            "baton-ctl",
        ):
            status, text = self.run_program(program, "--version")
            self.assertEqual(status, 0)
            self.assertRegex(text, r"\d+\.\d+\.\d+")


if __name__ == "__main__":
    unittest.main()
