#!/usr/bin/env python3
"""baton-bench serve against real clusters of the small checkpoint, over each front.

Requests are due all at once where a run must be valid: how late a client sends depends on the machine."""

import json
import os
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from harness import BIN, SLOW, Cluster, colocated, disaggregated, wait_for

# The same prompts are asked again and again, and a run whose prompts were known is void.
COLD = {"prefix_cache": False}


class Bench:
    def __init__(self, *args, wait=True, self_test=False):
        self.dir = tempfile.TemporaryDirectory(prefix="baton-bench-")
        self.out = self.dir.name + "/run"
        command = [
            BIN + "/baton-bench",
            "serve",
            *([] if self_test else ["--no-self-test"]),
            "--random-input-len",
            "24",
            "--out",
            self.out,
        ]
        self.process = subprocess.Popen(
            command + list(args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        if wait:
            self.end()

    def end(self):
        try:
            self.stdout, self.stderr = self.process.communicate(timeout=300 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("baton-bench did not end: " + self.process.communicate()[1])
        self.code = self.process.returncode
        assert not harness.sanitizer_reports(self.stderr), self.stderr

    def rows(self):
        with open(self.out + "/rows.jsonl") as f:
            return [json.loads(line) for line in f]

    def info(self):
        with open(self.out + "/run.json") as f:
            return json.load(f)

    def check(self, count, tokens):
        """A valid run of `count` answers with so many tokens each, and all that their rows should tell."""
        assert self.code == 0, self.stdout + self.stderr
        rows = self.rows()
        assert len(rows) == count, len(rows)
        assert {(row["seed"], row["index"]) for row in rows} == {(0, i) for i in range(count)}
        for row in rows:
            assert (row["outcome"], row["finish"], row["error"]) == ("ok", "length", None), row
            assert (row["output_tokens"], row["output_asked"]) == (tokens, tokens), row
            assert sum(n for _, n in row["events"]) == tokens, row
            assert (
                row["scheduled_ns"] <= row["sent_ns"] < row["first_ns"] <= row["last_ns"] <= row["end_ns"]
            ), row
            stages = row["stages"]
            assert stages["queue_ms"] >= 0 and stages["prefill_ms"] > 0 and stages["total_ms"] > 0, row
            assert (stages["attempts"], stages["replays"]) == (1, 0), row
        return self.info()


def server(cluster):
    return "http://127.0.0.1:%d" % cluster.http_port


def native(cluster):
    return "tcp://127.0.0.1:%d" % cluster.client_port


def test_every_front_gives_every_row(cluster):
    for args in (
        ["--backend", "openai", "--base-url", server(cluster)],
        ["--backend", "native", "--base-url", native(cluster), "--metrics-url", server(cluster)],
    ):
        bench = Bench(
            *args, "--num-prompts", "30", "--random-output-len", "6", "--goodput", "ttft:1e6", "tpot:1e6"
        )
        info = bench.check(30, 6)
        assert info["target"]["kind"] == args[1], info["target"]
        assert "same bytes" in info["target"]["server"]["numerics"], info["target"]
        assert info["result"]["completed"] == 30 and info["result"]["total_output_tokens"] == 180
        assert info["slo"][0]["attainment"] == 1
        roles = sorted(worker["role"] for worker in info["workers"])
        assert roles == ["decode", "prefill"], info["workers"]
        for worker in info["workers"]:
            assert worker["pages_total"] > 0
            assert worker["prefill_share"] >= 0 and worker["decode_share"] >= 0, worker
        assert info["server"]["preemptions"] == 0 and info["server"]["replays"] == 0, info["server"]
        assert info["server"]["coordinator_cpu_share"] > 0, info["server"]
        # The native socket leaves a stage out that took no time, as a hand-off may.
        assert any(row["stages"].get("handoff_ms", 0) > 0 for row in bench.rows())
        with open(bench.out + "/rows.csv") as f:
            assert len(f.readlines()) == 31
        cluster.wait_idle()


def test_both_fronts_ask_the_same(cluster):
    """(seed, index) names a request: the same lengths, over whichever front."""
    shape = lambda bench: sorted((r["index"], r["prompt_tokens"], r["output_tokens"]) for r in bench.rows())
    common = [
        "--num-prompts",
        "12",
        "--input-cv",
        "0.5",
        "--output-cv",
        "0.5",
        "--output-max",
        "9",
        "--seed",
        "7",
    ]
    common += ["--random-output-len", "5"]
    one = Bench("--base-url", server(cluster), *common)
    two = Bench("--backend", "native", "--base-url", native(cluster), *common)
    assert one.code == 0 and two.code == 0, one.stderr + two.stderr
    assert shape(one) == shape(two)
    assert len({prompt for _, prompt, _ in shape(one)}) > 3


def test_a_run_over_the_native_socket_says_what_the_client_can_do_over_http(cluster):
    run = ["--backend", "native", "--base-url", native(cluster), "--num-prompts", "3"]
    bench = Bench(*run, "--random-output-len", "4", self_test=True)
    assert bench.code == 0, bench.stdout + bench.stderr
    assert bench.info()["client"]["largest_rate"] > 0
    assert "Client against its own server (over HTTP, as a bound): up to" in bench.stdout, bench.stdout
    cluster.wait_idle()


def test_a_window_for_each_seed(cluster):
    bench = Bench(
        *["--base-url", server(cluster), "--request-rate", "20", "--random-output-len", "4"],
        *["--seeds", "1,2", "--window", "2", "--warmup", "1", "--trace", "/dev/null"],
    )
    assert bench.code in (0, 3), bench.stderr  # a busy machine makes the client late
    info = bench.info()
    assert [segment["seed"] for segment in info["segments"]] == [1, 2]
    members = [row for row in bench.rows() if row["phase"] == "window"]
    assert {row["seed"] for row in members} == {1, 2}
    assert all(row["outcome"] == "ok" for row in members)
    assert info["steady"]["g_limit"] > 0
    assert "Steady state" in bench.stdout
    cluster.wait_idle()


def test_ctrl_c_keeps_the_rows_and_frees_the_server(cluster):
    bench = Bench(
        *["--base-url", server(cluster), "--num-prompts", "5000", "--max-concurrency", "4"],
        *["--random-output-len", "8"],
        wait=False,
    )

    def rows():
        path = bench.out + "/rows.jsonl"
        return os.path.exists(path) and open(path).read().count("\n") > 20

    wait_for("twenty rows", rows)
    bench.process.send_signal(signal.SIGINT)
    bench.end()
    assert bench.code == 130, bench.stderr
    outcomes = [row["outcome"] for row in bench.rows()]
    assert len(outcomes) == 5000
    assert outcomes.count("ok") > 20 and outcomes.count("failed") == 0
    assert outcomes.count("unfinished") <= 4 and "unsent" in outcomes
    assert bench.info()["interrupted"] is True
    cluster.wait_idle()


def cluster_that_ends(kind):
    with Cluster(colocated(model=COLD)) as cluster:
        bench = Bench(
            *["--backend", kind, "--base-url", native(cluster) if kind == "native" else server(cluster)],
            *[
                "--num-prompts",
                "100000",
                "--request-rate",
                "500",  # or a client whose requests are all refused at once is through with them before that
                "--max-concurrency",
                "4",
                "--random-output-len",
                "8",
                "--stall-timeout",
                "2",
            ],
            wait=False,
        )
        path = bench.out + "/rows.jsonl"
        wait_for("twenty rows", lambda: os.path.exists(path) and open(path).read().count("\n") > 20)
        cluster.stop()
        bench.end()
        assert bench.code == 1, bench.stdout + bench.stderr
        assert "nothing succeeded for 2 s" in bench.stderr, bench.stderr
        assert sum(row["outcome"] == "ok" for row in bench.rows()) > 20


def test_a_cluster_that_ends_leaves_its_rows_over_http():
    cluster_that_ends("openai")


def test_a_cluster_that_ends_leaves_its_rows_over_the_native_socket():
    cluster_that_ends("native")


def test_a_chat_of_the_real_model_has_the_length_asked():
    if not os.path.exists(harness.SMOL):
        print("skipped: no " + harness.SMOL)
        return
    with Cluster(colocated(model=COLD), model=harness.SMOL) as cluster:
        bench = Bench(
            *["--backend", "openai-chat", "--base-url", server(cluster), "--num-prompts", "4"],
            *["--random-output-len", "3"],
        )
        bench.check(4, 3)
        extra = {row["prompt_tokens"] - row["prompt_asked"] for row in bench.rows()}
        assert len(extra) == 1 and extra.pop() > 0, "what the template adds is the same for all"


def main():
    wanted = sys.argv[1:]
    shared, own = [], []
    for name, test in list(globals().items()):
        if name.startswith("test_") and (not wanted or any(w in name for w in wanted)):
            (shared if test.__code__.co_argcount else own).append((name, test))
    if shared:
        with Cluster(disaggregated(model=COLD)) as cluster:
            for name, test in shared:
                test(cluster)
                print("ok " + name[5:].replace("_", " "), flush=True)
    for name, test in own:
        test()
        print("ok " + name[5:].replace("_", " "), flush=True)


if __name__ == "__main__":
    main()
