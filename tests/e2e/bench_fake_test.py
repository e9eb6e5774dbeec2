#!/usr/bin/env python3
"""baton-bench serve against servers that do what a script says: what makes a run void, or fail; its options.

No fact depends on how fast anything is: the scripts order what happens, and the rows say what came of it. All
requests are due at once unless a test says otherwise, so that no run is void because the machine was busy."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from bench_run import Run, equal, run_tests
from fake_server import Server, answer, plain
from harness import BIN, SLOW, wait_for

# ---- validity ----


def void(script, *args):
    with Server(script) as s:
        r = Run(s, *args)
        equal(r.code, 3, r.stdout + r.stderr)
        equal(r.outcomes(), ["ok"] * 6)
        return r.reasons()


def test_other_lengths_than_asked_void_the_run():
    text = void(lambda q, n: answer(q, tokens=3) if n == 4 else answer(q))
    assert "1 of 6 answers had another length than asked" in text and "3 tokens, asked 4" in text, text
    text = void(lambda q, n: answer(q, prompt=9))
    assert "6 of 6 prompts had another length than asked" in text and "9 tokens, asked 8" in text, text
    text = void(lambda q, n: answer(q, finish="stop"))
    assert "6 of 6 answers ended by 'stop'" in text, text
    text = void(lambda q, n: [p for p in answer(q) if '"usage"' not in p])
    assert "6 of 6 answers came without usage" in text, text


def test_answers_that_end_by_themselves_are_valid_where_that_was_asked():
    with Server(lambda q, n: answer(q, tokens=2, finish="stop")) as s:
        r = Run(s, "--no-ignore-eos")
        equal(r.code, 0, r.stdout + r.stderr)
        equal("ignore_eos" in s.requests[1], False)


def test_prompts_from_a_cache_void_the_run():
    text = void(lambda q, n: answer(q, cached=4))
    assert "50.0 % of the prompt tokens came from a prefix cache" in text, text


def test_hits_of_a_cache_that_only_the_metrics_tell_void_the_run():
    asked = []

    def metrics():
        asked.append(1)
        counts = (100, 0) if len(asked) == 1 else (148, 12)
        return "vllm:prefix_cache_queries_total %d\nvllm:prefix_cache_hits_total %d\n" % counts

    with Server() as s:
        page = s.page
        s.page = lambda path: plain(200, metrics())[0] if path == "/metrics" else page(path)
        r = Run(s)
        equal(r.code, 3, r.stdout + r.stderr)
        equal(len(asked), 2)
        assert "25.0 % of the prompt tokens that the server looked up" in r.reasons(), r.reasons()


# ---- failures of the run ----


def test_an_unreachable_server_is_named():
    port = harness.free_ports(1)[0]
    r = Run("http://127.0.0.1:%d" % port, "--ready-check-timeout-sec", "0.5")
    equal(r.code, 1)
    assert "no server at http://127.0.0.1:%d within 0.5 s" % port in r.stderr, r.stderr
    assert "--base-url" in r.stderr


def test_a_result_that_cannot_be_written_is_told_before_anything_is_sent():
    with Server() as s, tempfile.TemporaryDirectory() as folder:
        with open(folder + "/file", "w"):
            pass
        for args in (["--result-dir", folder + "/file"], ["--result-dir", folder + "/file/below"]):
            r = Run(s, "--save-result", *args)
            equal(r.code, 1, r.stdout + r.stderr)
            assert folder + "/file" in r.stderr and "--result-dir" in r.stderr, r.stderr
        r = Run(s, "--save-result", "--result-filename", "no/such/folder.json")
        equal(r.code, 1, r.stdout + r.stderr)
        assert "no/such/folder.json" in r.stderr and "--result-dir" in r.stderr, r.stderr
        equal(s.requests, [])


def test_the_folder_of_results_is_made_and_holds_the_result_alone():
    with Server() as s, tempfile.TemporaryDirectory() as folder:
        r = Run(s, "--result-dir", folder + "/a/b", "--save-result", "--result-filename", "r.json")
        equal(r.code, 0, r.stdout + r.stderr)
        equal(os.listdir(folder + "/a/b"), ["r.json"])
        r = Run(s, "--result-dir", folder + "/c", "--save-result")
        equal(r.code, 0, r.stdout + r.stderr)
        equal([name.endswith(".json") for name in os.listdir(folder + "/c")], [True])


def test_a_server_that_is_not_ready_is_waited_for():
    seen = []

    def script(request, number):
        seen.append(number)
        return plain(503, "not yet") if number < 3 else answer(request)

    with Server(script) as s:
        r = Run(s)
        equal(r.code, 0, r.stdout + r.stderr)
        equal(len(s.requests), 4 + 6)


def test_a_server_that_dies_leaves_the_rows_and_ends_the_run():
    server = None

    def script(request, number):
        return [server.die] if number == 4 else answer(request)

    with Server(script) as server:
        r = Run(server, "--stall-timeout", "1", count=4000, rate="50")
        equal(r.code, 1, r.stdout + r.stderr)
        assert "nothing succeeded for 1 s" in r.stderr, r.stderr
        rows = r.rows()
        equal(len(rows), 4000)
        equal([row["outcome"] for row in rows].count("ok"), 3)
        assert any("refused" in row["error"] for row in rows if row["outcome"] == "failed")
        equal(rows[-1]["outcome"], "unsent")
        equal(r.info()["result"]["completed"], 3)


def test_a_run_that_fails_goes_to_its_end_before_the_stall_limit():
    with Server(lambda q, n: plain(500, "no") if n else answer(q)) as s:
        r = Run(s, "--stall-timeout", "600")
        equal(r.code, 3, r.stdout + r.stderr)
        equal(r.outcomes(), ["failed"] * 6)


def test_ctrl_c_keeps_what_was_measured():
    reached, gone = threading.Event(), threading.Event()

    def script(request, number):
        if number < 4:
            return answer(request)
        reached.set()
        return answer(request)[:3] + [lambda: gone.wait(100 * SLOW)]

    with Server(script) as s:
        r = Run(s, count=500, rate="20", wait=False)
        assert reached.wait(100 * SLOW)
        wait_for("four requests were asked", lambda: len(s.requests) > 4)
        r.process.send_signal(signal.SIGINT)
        r.end()
        gone.set()
        equal(r.code, 130, r.stdout + r.stderr)
        outcomes = r.outcomes()
        equal(len(outcomes), 500)
        equal(outcomes.count("ok"), 3)
        assert outcomes.count("unfinished") >= 1 and outcomes[-1] == "unsent"
        assert (
            "INTERRUPTED" in r.stdout and "Successful requests:                     3 " in r.stdout
        ), r.stdout
        equal(r.info()["interrupted"], True)
        assert "the run was interrupted: 3 of 500 requests had ended" in r.reasons(), r.reasons()


def test_a_full_disk_ends_the_run_and_keeps_whole_rows():
    with Server() as s:
        r = Run(s, count=400, limit=20000)
        equal(r.code, 1, r.stdout)
        assert "rows" in r.stderr and r.out in r.stderr, r.stderr
        with open(r.out + "/rows.jsonl") as f:
            text = f.read()
        assert text.endswith("\n") and len(text) <= 20000
        assert all(json.loads(line)["seed"] == 0 for line in text.splitlines())
        assert "Successful requests:" in r.stdout


# ---- steady state ----


def test_windows_follow_each_other_and_load_goes_on_until_the_last_member_ended():
    with Server() as s:
        r = Run(s, "--seeds", "5,6", "--window", "1.5", "--warmup", "0.5", count=None, rate="20")
        assert r.code in (0, 3), r.stderr
        info = r.info()
        equal(
            [(g["seed"], g["begin_s"], g["end_s"]) for g in info["segments"]], [(5, 0.5, 2.0), (6, 2.0, 3.5)]
        )
        rows = r.rows()
        members = [row for row in rows if row["phase"] == "window"]
        equal({row["seed"] for row in members}, {5, 6})
        for row in members:
            begin = 0.5 if row["seed"] == 5 else 2.0
            assert begin <= row["scheduled_ns"] / 1e9 < begin + 1.5
        others = {row["seed"] for row in rows if row["phase"] != "window"}
        equal(others & {5, 6}, set(), "seeds of warm-up and tail are others")
        again = Run(s, "--seeds", "5,6", "--window", "1.5", "--warmup", "0.5", count=None, rate="20")
        shape = lambda run: [
            (q["seed"], q["index"], q["scheduled_ns"]) for q in run.rows() if q["phase"] == "window"
        ]
        equal(sorted(shape(r)), sorted(shape(again)), "the same seeds give the same arrivals")


def test_the_server_is_asked_for_its_workers():
    asked = []

    def health():
        asked.append(1)
        busy = {"prefill": 1.0 * len(asked), "decode": 0, "mixed": 0}
        worker = {"name": "w", "role": "colocated", "pages": {"used": 1, "total": 9}, "busy_s": busy}
        return json.dumps({"workers": [worker]})

    with Server() as s:
        page = s.page
        text = 'vllm:num_preemptions_total{model_name="m"} 3\nbaton_replays_total 2\n'
        text += "process_cpu_seconds_total 5\n"
        s.page = lambda path: (
            plain(200, health())[0]
            if path == "/health"
            else plain(200, text)[0] if path == "/metrics" else page(path)
        )
        r = Run(s, count=30, rate="20")
        assert r.code in (0, 3), r.stdout + r.stderr
        worker = r.info()["workers"][0]
        equal((worker["name"], worker["role"], worker["pages_total"]), ("w", "colocated", 9))
        assert worker["prefill_share"] > 0 and worker["decode_share"] == 0
        equal(r.info()["server"]["preemptions"], 0)
        equal(r.info()["server"]["coordinator_cpu_share"], 0)


# ---- usage ----


def test_wrong_usage_ends_with_2_and_says_what_is_wrong():
    cases = [
        (["--backend", "grpc"], "'grpc' is none of openai, openai-chat, native"),
        (["--goodput", "latency:5"], "latency"),
        (["--goodput", "ttft:fast"], "ttft"),
        (["--request-rate", "0"], "--request-rate"),
        (["--seeds", "1,x", "--window", "5"], "'1,x'"),
        (["--window", "5", "--request-rate", "inf"], "finite --request-rate"),
        (["--seeds", "1"], "need --window"),
        (["--metadata", "x"], "KEY=VALUE"),
        (["stray"], "'stray' is no option"),
        (["--workload", "poem"], "poem"),
        (["--dataset-name", "hf"], "'hf'"),
        (["--workload", "/no/such/file.csv"], "/no/such/file.csv"),
        (["--no-such-option"], "no-such-option"),
        (["--metric-percentiles", "101"], "101"),
        (["--arrivals", "weekly"], "weekly"),
        (["--ramp-up-strategy", "linear"], "--ramp-up-start-rps"),
    ]
    for args, text in cases:
        p = subprocess.run(
            [BIN + "/baton-bench", "serve", *args], capture_output=True, text=True, timeout=60 * SLOW
        )
        equal(p.returncode, 2, (args, p.stderr))
        assert text in p.stderr, (args, p.stderr)
    p = subprocess.run([BIN + "/baton-bench"], capture_output=True, text=True, timeout=60 * SLOW)
    equal(p.returncode, 2)
    p = subprocess.run(
        [BIN + "/baton-bench", "serve", "--help"], capture_output=True, text=True, timeout=60 * SLOW
    )
    equal(p.returncode, 0)
    for flag in "--base-url --request-rate --goodput --seeds --out --request-timeout".split():
        assert flag in p.stdout, flag


def test_the_client_measures_itself():
    command = [
        BIN + "/baton-bench",
        "serve",
        "--self-test",
        "--random-input-len",
        "64",
        "--random-output-len",
        "16",
    ]
    p = subprocess.run(command, capture_output=True, text=True, timeout=120 * SLOW)
    equal(p.returncode, 0, p.stderr)
    for line in (
        r"largest rate +\d+ requests/s, \d+ tokens/s",
        r"added latency +[\d.]+ ms",
        r"CPU per token +[\d.]+ us",
    ):
        assert re.search(line, p.stdout), p.stdout


if __name__ == "__main__":
    run_tests(globals())
