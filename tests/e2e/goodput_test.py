#!/usr/bin/env python3
"""baton-bench goodput: searches with a `serve` that is told what it measures, one with the real one against a
cluster of mock workers, going on, and what is refused.

goodput_test.py [TEST]..."""

import json
import os
import signal
import subprocess
import sys
import tempfile

from harness import *

MOCK = merge({"model": {"backend": "mock"}, "mock": {"latency": "instant"}}, colocated("prefill_first"))
# In the place of `baton-bench serve`: notes its flags, and writes a run as the file `behave` beside it says.
# good: per rate, the parts of the requests of a seed that are good, in turn; else all of them, and none above
# the rate `capacity`.
FAKE = """#!%s
import json, os, sys, time
a = dict(w[2:].split("=", 1) for w in sys.argv[2:] if "=" in w)
here = os.path.dirname(os.path.abspath(__file__))
with open(here + "/started", "a") as f:
    f.write(json.dumps(a) + "\\n")
with open(here + "/behave") as f:
    behave = json.load(f)
rate = a["request-rate"]
if rate in behave.get("hang", []):
    time.sleep(1000)
if rate in behave.get("fail", []):
    print("the disk of this test is full")
    sys.exit(1)
parts = behave.get("good", {}).get(rate, [float(float(rate) <= behave.get("capacity", 1e9))])
row = {"phase": "window", "outcome": "ok", "http": 200, "error": None, "finish": "length", "scheduled_ns": 0,
       "sent_ns": 0, "prompt_asked": 1, "output_asked": 1, "prompt_tokens": 1, "output_tokens": 1,
       "cached_tokens": 0, "stages": None}
with open(a["out"] + "/rows.jsonl", "w") as f:
    for seed in map(int, a["seeds"].split(",")):
        for i in range(200):
            at = 10**7 if i < round(200 * parts[(seed - 1) %% len(parts)]) else 10**9
            times = {"first_ns": at, "last_ns": at, "end_ns": at, "events": [[at, 1]]}
            f.write(json.dumps({**row, **times, "seed": seed, "index": i}) + "\\n")
valid = rate not in behave.get("void", [])
with open(a["out"] + "/run.json", "w") as f:
    json.dump({"schema": "baton-bench/1", "warmup_s": float(a["warmup"]),
               "validity": {"valid": valid, "reasons": [] if valid else ["sent late"]},
               "steady": {"reached": behave.get("settled", True), "unstable": False}}, f)
sys.exit(0 if valid else 3)
"""


def command(out, limits, *more):
    return [BIN + "/baton-bench", "goodput", "--out", out, "--goodput", *limits, "--devices=2", *more]


class Told:
    """A folder with the fake serve, and searches with it for 90 % within 100 ms."""

    def __init__(self, dir, **behave):
        self.dir = dir
        self.out = dir + "/search"
        self.behave(**behave)
        with open(dir + "/fake", "w") as f:
            f.write(FAKE % sys.executable)
        os.chmod(dir + "/fake", 0o755)

    def behave(self, **behave):
        with open(self.dir + "/behave", "w") as f:
            json.dump(behave, f)

    def command(self, *more):
        return command(self.out, ["ttft:100"], "--bench=" + self.dir + "/fake", "--start-rate=8", *more)

    def search(self, *more, code=0):
        r = subprocess.run(self.command(*more), capture_output=True, text=True, timeout=120 * SLOW)
        assert r.returncode == code, (r.returncode, r.stdout, r.stderr)
        assert sanitizer_reports(r.stderr) == [], r.stderr
        return r

    def started(self):
        try:
            with open(self.dir + "/started") as f:
                return [json.loads(line) for line in f]
        except FileNotFoundError:
            return []

    def result(self):
        with open(self.out + "/goodput.json") as f:
            return json.load(f)

    def verdicts(self):
        return [(p["rate"], p["verdict"]) for p in self.result()["points"]]


def test_the_rate_between_pass_and_fail_is_found_and_each_probe_has_its_own_prompts():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, capacity=20)
        r = t.search()
        want = [(8, "pass"), (16, "pass"), (32, "fail"), (24, "fail")]
        want += [(20, "pass"), (22, "fail"), (21, "fail")]
        assert t.verdicts() == want, t.verdicts()
        assert "(highest PASS 20, lowest FAIL 21)" in r.stdout, r.stdout
        assert "by Wilson, seeds are all alike; 5 seeds, narrow enough" in r.stdout, r.stdout
        found = t.result()
        assert (found["whole"], found["ended"]) == (True, "the two rates are close enough"), found
        assert {p["seeds_ended"] for p in found["points"]} == {"width"}, found
        assert 0.99 < found["points"][0]["low"] < 1 == found["points"][0]["high"], found
        salts = {run["prompt-salt"] for run in t.started()}
        assert len(salts) == len(want) and all(int(s) > 0 for s in salts), salts

        # The same command goes on: no probe is run again.
        again = t.search()
        assert again.stdout == r.stdout, again.stdout + again.stderr
        assert len(t.started()) == len(want)

        # Probes of other requests say nothing about these.
        other = t.search("--input-cv=0.5", code=2)
        assert t.out in other.stderr, other.stderr


def test_limits_that_nothing_meets_are_below_the_lowest_rate():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, capacity=0)
        r = t.search("--max-probes=3")
        assert t.verdicts() == [(8, "fail"), (4, "fail"), (2, "fail")], t.verdicts()
        assert "< 2 requests/s (highest PASS none, lowest FAIL 2)" in r.stdout, r.stdout
        assert "per device (2): < 1 requests/s" in r.stdout, r.stdout


def test_a_wide_interval_gets_seeds_up_to_the_cap_although_its_verdict_is_there():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, good={"8": [1.0, 0.92, 1.0, 0.97, 1.0]})
        r = t.search("--max-probes=1", "--seed-cap=12")
        (point,) = t.result()["points"]
        assert (point["seeds"], point["seeds_ended"], point["verdict"]) == (12, "cap", "pass"), point
        assert [run["seeds"] for run in t.started()] == ["1,2,3,4,5", "6,7,8,9,10", "11,12"]
        assert "5 seeds, more follow)  pass" in r.stdout and "12 seeds, the cap)  pass" in r.stdout, r.stdout


def test_a_rate_that_was_not_settled_does_not_pass():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, settled=False)
        r = t.search("--max-probes=1", "--warmup=0.5", code=3)
        assert t.verdicts() == [(8, "undecided")], t.verdicts()
        assert (t.result()["points"][0]["settled"], t.result()["highest_pass"]) == (False, None)
        assert "goodput at 90 %: unknown requests/s" in r.stdout, r.stdout
        assert "undecided: not settled after 0.5 s of warm-up: give a longer --warmup" in r.stdout, r.stdout


def test_a_void_rate_is_tried_twice_with_other_prompts_and_then_looked_below():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, void=["16"])
        r = t.search("--max-probes=3")
        assert t.verdicts() == [(8, "pass"), (16, "void"), (12, "pass")], t.verdicts()
        tries = [run["prompt-salt"] for run in t.started() if run["request-rate"] == "16"]
        assert len(set(tries)) == 2, tries
        assert "void, not used: sent late" in r.stdout, r.stdout


def test_a_probe_that_fails_ends_the_search_with_what_was_measured():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, fail=["32"])
        r = t.search(code=1)
        assert "the disk of this test is full" in r.stderr, r.stderr
        assert "(highest PASS 16, lowest FAIL none)" in r.stdout, r.stdout
        assert "not finished: the same command goes on" in r.stdout, r.stdout
        assert t.verdicts() == [(8, "pass"), (16, "pass")], t.verdicts()
        assert (t.result()["whole"], t.result()["ended"]) == (False, "a probe failed"), t.result()
        t.behave(capacity=30)
        t.search("--max-probes=3")
        assert t.verdicts() == [(8, "pass"), (16, "pass"), (32, "fail")], t.verdicts()
        assert t.result()["whole"], t.result()
        assert [run["request-rate"] for run in t.started()] == ["8", "16", "32", "32"]


def test_ctrl_c_tells_what_was_measured_and_the_same_command_goes_on():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, hang=["16"])
        process = subprocess.Popen(t.command(), stdout=subprocess.PIPE, text=True)
        wait_for("the second probe", lambda: len(t.started()) == 2, 120)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=120 * SLOW)
        assert process.returncode == 130, text
        assert "(highest PASS 8, lowest FAIL none)" in text and "the same command goes on" in text, text
        assert (t.result()["whole"], t.result()["ended"]) == (False, "it was stopped"), t.result()
        t.behave()
        t.search("--max-probes=2")
        assert t.verdicts() == [(8, "pass"), (16, "pass")], t.verdicts()


def test_the_real_serve_takes_the_flags_of_a_probe():
    """Five windows of one second, which are void on a busy machine: that is then what is said."""
    with Cluster(MOCK, "random:mock") as c, tempfile.TemporaryDirectory() as dir:
        line = command(dir + "/search", ["ttft:0.001"], "--base-url=http://127.0.0.1:%d" % c.http_port)
        line += ["--max-probes=1", "--window=1", "--warmup=0.5", "--start-rate=8", "--seed-cap=5"]
        line += ["--random-input-len=24", "--random-output-len=4", "--ignore-eos", "--no-self-test"]
        r = subprocess.run(line, capture_output=True, text=True, timeout=120 * SLOW)
        assert r.returncode in (0, 3), (r.returncode, r.stdout, r.stderr)
        with open(dir + "/search/goodput.json") as f:
            (point,) = json.load(f)["points"]
        assert point["verdict"] in ("fail", "void") and point["good"] == 0, (point, r.stdout)
        with open(dir + "/search/probe-8/run.json") as f:
            words = json.load(f)["command"]
        assert [w for w in words if w.startswith("--prompt-salt=")], words


def test_the_values_of_headers_reach_serve_and_stand_in_no_file_of_the_search():
    with tempfile.TemporaryDirectory() as dir:
        t = Told(dir, capacity=1)
        t.search("--max-probes=1", "--header=Authorization=Bearer sesame")
        with open(t.out + "/command") as f:
            text = f.read()
        assert "--header=Authorization=***\n" in text and "sesame" not in text, text
        assert t.started()[0]["header"] == "Authorization=Bearer sesame", t.started()


def test_a_server_that_is_not_there_is_an_error_that_names_it():
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory() as dir:
        line = command(dir + "/search", ["ttft:100"], "--base-url=http://127.0.0.1:%d" % port)
        line += ["--ready-check-timeout-sec=0", "--no-self-test"]
        r = subprocess.run(line, capture_output=True, text=True, timeout=120 * SLOW)
        assert r.returncode == 1 and "127.0.0.1:%d" % port in r.stderr, (r.returncode, r.stderr)
        assert not os.path.exists(dir + "/search/goodput.json"), r.stdout


def test_limits_a_folder_and_five_seeds_are_required():
    r = subprocess.run([BIN + "/baton-bench", "goodput"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 2 and "baton-bench goodput" in r.stderr, r.stderr
    for flag in ("seed-count", "seed-cap"):
        line = command("/tmp/never", ["ttft:100"], "--%s=4" % flag)
        r = subprocess.run(line, capture_output=True, text=True, timeout=60)
        assert r.returncode == 2 and "--%s 4: want a number from 5" % flag in r.stderr, r.stderr


tests = {name[5:]: fact for name, fact in sorted(globals().items()) if name.startswith("test_")}
for name in sys.argv[1:] or tests:
    tests[name]()
    print("ok: " + name.replace("_", " "), flush=True)
