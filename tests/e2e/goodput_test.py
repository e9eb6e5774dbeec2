#!/usr/bin/env python3
"""baton-bench goodput against a cluster of mock workers: a search that finds nothing, one that is open above, going
on, and what is refused.

goodput_test.py [TEST]..."""

import json
import os
import subprocess
import sys
import tempfile

from harness import *

MOCK = merge({"model": {"backend": "mock"}, "mock": {"latency": "instant"}}, colocated("prefill_first"))


def search(out, port, limits, *more):
    """Two windows of one second per rate: as short as a search can be, and never settled."""
    line = [BIN + "/baton-bench", "goodput", "--base-url", "http://127.0.0.1:%d" % port, "--out", out]
    line += ["--goodput", *limits, "--window=1", "--warmup=0.5", "--seed-count=2", "--seed-cap=2"]
    line += ["--start-rate=8", "--random-input-len=24", "--random-output-len=4", "--ignore-eos"]
    line += ["--no-self-test", "--devices=2", *more]
    return subprocess.run(line, capture_output=True, text=True, timeout=120 * SLOW)


def verdicts(out):
    with open(out + "/goodput.json") as f:
        return {p["rate"]: p["verdict"] for p in json.load(f)["points"] if p["verdict"] != "void"}


def test_limits_that_nothing_meets_are_below_the_lowest_rate():
    with Cluster(MOCK, "random:mock") as c, tempfile.TemporaryDirectory() as dir:
        out = dir + "/search"
        r = search(out, c.http_port, ["ttft:0.001"], "--max-probes=3")
        seen = verdicts(out)
        assert seen and set(seen.values()) == {"fail"}, (seen, r.stdout, r.stderr)
        assert r.returncode == 0 and "requests/s (highest PASS none" in r.stdout, r.stdout + r.stderr
        assert "< %g requests/s" % min(seen) in r.stdout, r.stdout

        # The same command goes on: no probe is run again.
        probes = {p: os.stat(out + "/" + p).st_mtime_ns for p in os.listdir(out) if p.startswith("probe-")}
        again = search(out, c.http_port, ["ttft:0.001"], "--max-probes=3")
        assert again.stdout == r.stdout, again.stdout + again.stderr
        assert probes == {p: os.stat(out + "/" + p).st_mtime_ns for p in probes}

        # Probes of other requests say nothing about these.
        other = search(out, c.http_port, ["ttft:0.001"], "--max-probes=3", "--input-cv=0.5")
        assert other.returncode == 2 and out in other.stderr, (other.returncode, other.stderr)


def test_a_rate_that_was_not_settled_does_not_pass():
    with Cluster(MOCK, "random:mock") as c, tempfile.TemporaryDirectory() as dir:
        r = search(dir + "/search", c.http_port, ["ttft:60000", "tpot:60000"], "--max-probes=1")
        seen = verdicts(dir + "/search")
        assert set(seen.values()) <= {"undecided"}, seen
        assert "pass" not in r.stdout.replace("highest PASS none", ""), r.stdout
        assert "not settled after 0.5 s of warm-up" in r.stdout or not seen, r.stdout


def test_a_server_that_is_not_there_is_an_error_that_names_it():
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory() as dir:
        r = search(dir + "/search", port, ["ttft:100"], "--ready-check-timeout-sec=0")
        assert r.returncode == 1 and "127.0.0.1:%d" % port in r.stderr, (r.returncode, r.stderr)


def test_limits_and_a_folder_are_required():
    r = subprocess.run([BIN + "/baton-bench", "goodput"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 2 and "baton-bench goodput" in r.stderr, r.stderr


tests = {name[5:]: fact for name, fact in sorted(globals().items()) if name.startswith("test_")}
for name in sys.argv[1:] or tests:
    tests[name]()
    print("ok: " + name.replace("_", " "), flush=True)
