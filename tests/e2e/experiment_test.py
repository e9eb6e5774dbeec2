#!/usr/bin/env python3
"""Experiments end to end: clusters start and stop, cells are measured, an experiment that was killed goes on,
and what fails is recorded while the others go on."""

import glob
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from harness import *

BENCH = BIN + "/baton-bench"
TEXT = """
name: small
base: %s/deploy/config/local.yaml
set: ["model.path=%s", cluster.oversubscribe=true, limits.step_age_ms=300000, limits.gone_ms=300000,
      limits.suspect_ms=200000, limits.lease_ms=300000]
placements:
  - {name: split, prefill: {count: 1}, decode: {count: 1}}
  - {name: colo, baseline: true, colocated: {count: 1}%s}
workloads:
  - {name: w, input_len: 24, output_len: 4, rates: [6, 12]}
slos: [{name: loose, ttft: 100000, tpot: 100000}]
seeds: [1, 2]
warmup_s: 1
window_s: 2
start_timeout_s: %d
stop_timeout_s: %d
"""
# In the place of `baton-bench serve`: notes that it was started, and does what the file BEHAVE beside it says
# for the cell.
FAKE = """#!%s
import json, os, sys, time
a = dict(zip(sys.argv[2::2], sys.argv[3::2]))
here = os.path.dirname(os.path.abspath(__file__))
with open(here + "/started", "a") as f:
    f.write(a["--name"] + "\\n")
behave = json.load(open(here + "/behave")) if os.path.exists(here + "/behave") else {}
how = behave.get(a["--name"], "")
if how == "hang":
    time.sleep(1000)
if how == "fail":
    print("the disk of this test is full")
    sys.exit(1)
open(a["--out"] + "/rows.jsonl", "w").close()
valid = how != "void"
with open(a["--out"] + "/run.json", "w") as f:
    validity = {"valid": valid, "reasons": [] if valid else ["sent late"]}
    json.dump({"schema": "baton-bench/1", "validity": validity}, f)
sys.exit(0 if valid else 3)
"""
CELLS = ["split@w@6", "colo@w@6", "colo@w@12", "split@w@12"]


class Experiment(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="baton-experiment-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.out = self.folder + "/out"
        self.file = self.folder + "/small.yaml"
        self.write()
        self.fake = self.folder + "/fake"
        with open(self.fake, "w") as f:
            f.write(FAKE % sys.executable)
        os.chmod(self.fake, 0o755)

    def write(self, more=""):
        with open(self.file, "w") as f:
            f.write(TEXT % (ROOT, TINY, more, 120 * SLOW, 60 * SLOW))

    def behave(self, **how):
        with open(self.folder + "/behave", "w") as f:
            json.dump({cell: word for word, cells in how.items() for cell in cells}, f)

    def started(self):
        try:
            with open(self.folder + "/started") as f:
                return f.read().split()
        except FileNotFoundError:
            return []

    def command(self, *more, fake=True):
        serve = ["--bench", self.fake] if fake else []
        return [BENCH, "experiment", self.file, "--out", self.out, *serve, *more]

    def run_it(self, *more, code=0, fake=True):
        """code: the exit status; None = cells may be void."""
        out = subprocess.run(
            self.command(*more, fake=fake), capture_output=True, text=True, timeout=600 * SLOW, cwd=ROOT
        )
        self.assertIn(out.returncode, (0, 3) if code is None else (code,), out.stdout + out.stderr)
        self.assertEqual(sanitizer_reports(out.stderr), [], out.stderr)
        return out.stdout + out.stderr

    def state(self, cell):
        with open("%s/cells/%s/state.json" % (self.out, cell)) as f:
            return json.load(f)

    def nothing_runs(self):
        out = subprocess.run(["pgrep", "-f", self.out + "/cells/"], capture_output=True, text=True)
        return not out.stdout

    def test_every_cell_is_measured_and_nothing_is_left_running(self):
        text = self.run_it(fake=False, code=None)
        for cell in CELLS:
            state = self.state(cell)
            # Void: this machine was too busy for the client to send in time.
            self.assertIn(state["state"], ("done", "void"), state)
            self.assertEqual(state["attempts"], 1, state)
            for name in ("run.json", "rows.jsonl", "cluster.yaml", "cluster.log", "serve.log"):
                self.assertTrue(os.path.exists("%s/cells/%s/%s" % (self.out, cell, name)), (cell, name))
        void = sum(self.state(cell)["state"] == "void" for cell in CELLS)
        self.assertIn("%d done, %d void, 0 failed, 0 left" % (4 - void, void), text)
        self.assertEqual(self.state("colo@w@6")["devices"], 1)
        self.assertEqual(self.state("split@w@12")["devices"], 2)
        with open(self.out + "/machine.json") as f:
            self.assertGreaterEqual(json.load(f)["cores"], 1)
        self.assertTrue(self.nothing_runs())
        # All placements got the same requests.
        asked = {}
        for cell in CELLS:
            with open("%s/cells/%s/rows.jsonl" % (self.out, cell)) as f:
                rows = [json.loads(line) for line in f]
            members = sorted((r["seed"], r["index"]) for r in rows if r["phase"] == "window")
            asked.setdefault(cell.rsplit("@", 1)[1], []).append(members)
        for rate, lists in asked.items():
            self.assertEqual(lists[0], lists[1], rate)
            self.assertTrue(lists[0], rate)
        self.assertEqual(self.run_it(fake=False, code=None).count("is there: "), 4)

    def test_an_experiment_that_was_killed_goes_on_without_the_cells_that_are_finished(self):
        self.behave(hang=["colo@w@6"])
        process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, cwd=ROOT)
        wait_for("the second cell", lambda: self.started() == CELLS[:2], 300)
        text = self.run_it(code=2)
        self.assertIn("another experiment runs in this directory", text)
        process.kill()
        process.wait()
        self.assertFalse(os.path.exists(self.out + "/cells/colo@w@6/state.json"))
        self.behave()
        self.assertIn("4 done, 0 void, 0 failed, 0 left", self.run_it())
        self.assertEqual(self.started(), CELLS[:2] + CELLS[1:])
        self.assertTrue(self.nothing_runs())

    def test_ctrl_c_stops_the_cluster_and_the_same_command_goes_on(self):
        self.behave(hang=["colo@w@6"])
        process = subprocess.Popen(self.command(), stdout=subprocess.PIPE, text=True, cwd=ROOT)
        wait_for("the second cell", lambda: self.started() == CELLS[:2], 300)
        process.send_signal(signal.SIGINT)
        text, _ = process.communicate(timeout=200 * SLOW)
        self.assertEqual(process.returncode, 130, text)
        self.assertIn("1 done, 0 void, 0 failed, 3 left", text)
        self.assertTrue(self.nothing_runs())
        self.behave()
        self.assertIn("4 done", self.run_it())

    def test_a_failed_cell_is_tried_again_recorded_and_the_others_go_on(self):
        self.behave(fail=["colo@w@6"], void=["colo@w@12"])
        self.assertIn("2 done, 1 void, 1 failed, 0 left", self.run_it(code=1))
        self.assertEqual(self.started(), ["split@w@6", "colo@w@6", "colo@w@6", "colo@w@12", "split@w@12"])
        state = self.state("colo@w@6")
        self.assertEqual((state["state"], state["attempts"]), ("failed", 2))
        self.assertIn("the disk of this test is full", state["reason"])
        self.assertEqual(self.state("colo@w@12")["reason"], "sent late")
        self.assertEqual(len(glob.glob(self.out + "/failed/colo@w@6.*")), 1)
        self.behave()
        self.assertIn("--retry-failed runs them again", self.run_it(code=1))  # only told
        self.assertEqual(len(self.started()), 5)
        self.assertIn("4 done, 0 void, 0 failed, 0 left", self.run_it("--retry-failed"))
        self.assertEqual(self.started()[5:], ["colo@w@6", "colo@w@12"])
        self.assertEqual(self.state("colo@w@6")["attempts"], 3)
        self.assertEqual(self.state("colo@w@12")["attempts"], 2)
        # What a void attempt left is kept, too.
        self.assertEqual(len(glob.glob(self.out + "/failed/colo@w@12.*")), 1)

    def test_a_cluster_that_cannot_start_fails_its_cell_with_its_last_words(self):
        self.write(", set: ['model.path=/nowhere.gguf']")
        self.assertIn("2 done, 0 void, 2 failed", self.run_it(code=1))
        self.assertIn("/nowhere.gguf", self.state("colo@w@6")["reason"])
        self.assertEqual(self.started(), ["split@w@6", "split@w@12"])

    def test_what_cannot_be_is_refused_all_at_once_before_anything_starts(self):
        self.write(", set: [colocated.polcy=chunked]")
        with open(self.file) as f:
            text = f.read().replace("decode: {count: 1}", "decode: {count: 0}")
        with open(self.file, "w") as f:
            f.write(text)
        text = self.run_it(code=2)
        self.assertIn("placement split: ", text)
        self.assertIn('placement colo: --set: unknown key "colocated.polcy"', text)
        self.assertFalse(os.path.exists(self.out))

    def test_another_file_is_refused_with_what_differs_unless_forced(self):
        self.run_it("--only", "split@w@6")
        self.assertEqual(self.started(), ["split@w@6"])
        with open(self.file, "a") as f:
            f.write("target: 80\n")
        text = self.run_it(code=2)
        self.assertIn("experiment.yaml differs", text)
        self.assertIn("target: 80", text)
        self.run_it("--force", "--only", "split@*")
        self.assertEqual(self.started(), ["split@w@6", "split@w@12"])

    def test_cells_of_another_build_are_refused_unless_forced(self):
        self.run_it("--only", "split@w@6")
        build = self.state("split@w@6")["build"]
        self.assertEqual(len(build["programs"]), 16, build)
        with open(self.out + "/cells/split@w@6/state.json") as f:
            text = f.read().replace(build["programs"], "0123456789abcdef")
        with open(self.out + "/cells/split@w@6/state.json", "w") as f:
            f.write(text)
        text = self.run_it("--only", "split@*", code=2)
        self.assertIn("1 cell is here of another build: give another --out, or --force to mix them", text)
        self.assertIn("programs 0123456789abcdef; now ", text)
        self.assertEqual(self.started(), ["split@w@6"])
        self.run_it("--only", "split@*", "--force")
        self.assertEqual(self.started(), ["split@w@6", "split@w@12"])
        self.assertEqual(self.state("split@w@12")["build"], build)

    def test_list_tells_the_cells_and_starts_nothing(self):
        text = self.run_it("--list")
        self.assertIn("warning: warmup_s is 1, below the 30 s", text)
        self.assertEqual([line.split()[0] for line in text.splitlines()[:4]], CELLS)
        self.assertIn("4 cells, about 1 min", text)
        self.assertFalse(os.path.exists(self.out))


if __name__ == "__main__":
    unittest.main(verbosity=2)
