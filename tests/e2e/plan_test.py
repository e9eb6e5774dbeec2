"""baton-plan simulate and replay: what they write is read by baton-bench report, an experiment that was
simulated is predicted to the last digit by the same profile, and bad input is refused by name."""

import csv
import json
import os
import re
import shutil
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("BATON_BIN", HERE + "/../../build/test/bin")
MOCK = os.path.join(HERE, "../../deploy/config/mock.yaml")
STEPS = (
    "prefill: {alpha_ms: %g, beta_ms: 0.05, gamma_ms: 0.00001}\n"
    "decode: {alpha_ms: %g, beta_ms: 0.2, gamma_ms: 0.0001}\n"
)
PLACEMENTS = {"chunked": ["colocated.policy=chunked"], "prefill-first": ["colocated.policy=prefill_first"]}
RATES = (4, 8, 14)
LOAD = ["--input-len=300", "--output-len=30", "--input-cv=0.5", "--output-cv=0.5", "--input-max=1000"]
WHEN = ["--seeds=1,2,3", "--window=10", "--warmup=30"]


def run(program, *args):
    return subprocess.run(
        [BIN + "/" + program, *args], capture_output=True, text=True, timeout=240, check=False
    )


def sets_of(placement):
    sets = ["prefill.count=0", "decode.count=0", "colocated.count=2", "colocated.kv_pages=4000"]
    return sets + ["colocated.token_budget=256", "colocated.chunk_tokens=128"] + PLACEMENTS[placement]


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def write(text, *path):
    with open(os.path.join(*path), "w", encoding="utf-8") as f:
        f.write(text)


class Plan(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="baton-plan-")
        cls.dir = cls.folder.name
        write(STEPS % (2, 5), cls.dir, "steps.yaml")
        write(STEPS % (4, 10), cls.dir, "slow.yaml")
        cls.make_experiment(cls.dir + "/experiment")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def simulate(cls, placement, rate, *args):
        sets = ["--set=" + s for s in sets_of(placement)]
        profile = "--profile=%s/steps.yaml" % cls.dir
        return run("baton-plan", "simulate", MOCK, profile, *sets, *LOAD, *WHEN, "--rate=%g" % rate, *args)

    @classmethod
    def make_experiment(cls, root):
        """As baton-bench experiment leaves it, but that nobody was asked."""
        cells = []
        for placement in PLACEMENTS:
            for rate in RATES:
                cells.append("%s@w@%g" % (placement, rate))
                cell = root + "/cells/" + cells[-1]
                os.makedirs(cell)
                made = cls.simulate(placement, rate, "--out", cell, "--trace", cell + "/trace.json")
                assert made.returncode == 0, made.stderr
                args = ["--set=" + s for s in sets_of(placement)]
                config = run("baton-coordinator", MOCK, *args, "--check")
                assert config.returncode == 0, config.stderr
                write(config.stdout.split("rank=")[0], cell, "cluster.yaml")
                state = {"state": "done", "reason": "", "placement": placement, "workload": "w", "rate": rate}
                write(json.dumps(dict(state, devices=2, baseline=placement == "chunked")), cell, "state.json")
        slos = [{"name": "tight", "ttft_ms": 60, "tpot_ms": 12}, {"name": "loose", "ttft_ms": 500}]
        named = [{"name": p, "devices": 2, "baseline": p == "chunked"} for p in PLACEMENTS]
        spec = {"schema": "baton-experiment/1", "name": "made", "target": 90, "slos": slos, "cells": cells}
        write(json.dumps(dict(spec, placements=named, workloads=[{"name": "w"}])), root, "experiment.json")

    def replay(self, *args, profile="steps.yaml", root=None, code=0):
        root = root or self.dir + "/experiment"
        done = run("baton-plan", "replay", root, "--profile=%s/%s" % (self.dir, profile), *args)
        self.assertEqual(done.returncode, code, done.stderr)
        return done

    # ---- simulate ----

    def test_the_same_bytes_twice(self):
        told = []
        for name in ("a", "b"):
            out = self.dir + "/same"
            shutil.rmtree(out, ignore_errors=True)
            args = ["--out", out, "--trace", out + ".json", "--save-result", "--result-dir", out + "-result"]
            done = self.simulate("chunked", 8, *args)
            self.assertEqual(done.returncode, 0, done.stderr)
            files = [read(out, f) for f in ("run.json", "rows.jsonl", "rows.csv")] + [read(out + ".json")]
            files += [read(out + "-result", f) for f in sorted(os.listdir(out + "-result"))]
            told.append([done.stdout, *files])
        self.assertEqual(told[0], told[1])
        self.assertEqual(len(told[0]), 6)

    def test_the_table_and_the_keys_are_those_of_serve(self):
        out = self.dir + "/keys"
        limits = ["--goodput", "ttft:100", "tpot:20"]
        args = ["--save-result", "--result-dir", out, "--result-filename", "r.json", *limits]
        done = self.simulate("chunked", 8, *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in (
            "Serving Benchmark Result",
            "Mean TTFT (ms)",
            "P99 TPOT (ms)",
            "Attainment (%)",
            "stable",
        ):
            self.assertIn(line, done.stdout)
        self.assertNotIn("Client:", done.stdout)
        result = json.loads(read(out, "r.json"))
        for key in (
            "date backend label model_id num_prompts request_rate burstiness max_concurrency duration failed "
            "completed total_input_tokens total_output_tokens request_throughput request_goodput valid slo "
            "output_throughput total_token_throughput mean_ttft_ms median_ttft_ms p99_ttft_ms mean_tpot_ms "
            "mean_itl_ms compat"
        ).split():
            self.assertIn(key, result)
        self.assertEqual(result["failed"], 0)
        self.assertEqual(result["date"], "simulated")

    def test_run_json_names_profile_hash_seed_and_version(self):
        info = json.loads(read(self.dir, "experiment/cells/chunked@w@8/run.json"))
        self.assertEqual(info["command"][:2], ["baton-plan", "simulate"])
        server = info["target"]["server"]
        self.assertEqual((server["simulator"], server["noise_seed"]), ("fleet", 1))
        self.assertRegex(server["profile_hash"], "^[0-9a-f]{16}$")
        self.assertRegex(info["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual([s["seed"] for s in info["segments"]], [1, 2, 3])
        self.assertTrue(info["validity"]["valid"])

    def test_the_schedule_is_that_of_serve(self):
        rows = [
            json.loads(line)
            for line in read(self.dir, "experiment/cells/chunked@w@8/rows.jsonl").splitlines()
        ]
        twin = [
            json.loads(line)
            for line in read(self.dir, "experiment/cells/chunked@w@4/rows.jsonl").splitlines()
        ]
        at = {(r["seed"], r["index"]): r for r in rows if r["phase"] == "window"}
        for r in twin:
            if r["phase"] != "window" or r["seed"] != 1:
                continue
            same = at[r["seed"], r["index"]]
            self.assertEqual(r["prompt_asked"], same["prompt_asked"])  # the same requests at every rate,
            gap = (r["scheduled_ns"] - 3e10) / (same["scheduled_ns"] - 3e10)
            self.assertAlmostEqual(gap, 2, places=5)  # twice as far apart at half of it
            self.assertEqual(r["sent_ns"], r["scheduled_ns"])
            self.assertEqual(len(r["events"]), r["output_tokens"])

    def test_the_trace_is_chrome_json(self):
        path = self.dir + "/trace.json"
        self.assertEqual(self.simulate("chunked", 8, "--trace", path).returncode, 0)
        events = json.loads(read(path))["traceEvents"]
        names = {e["args"]["name"] for e in events if e["name"] == "process_name"}
        self.assertEqual(names, {"coordinator", "colocated-0", "colocated-1"})
        steps = [e for e in events if e.get("cat") == "step"]
        self.assertGreater(len(steps), 1000)
        for pid in {e["pid"] for e in steps}:
            ends = 0
            for e in sorted((e for e in steps if e["pid"] == pid), key=lambda e: e["ts"]):
                self.assertGreaterEqual(e["ts"], ends - 1.001)  # steps are kept in whole microseconds
                ends = e["ts"] + e["dur"]

    def test_a_run_that_fails_leaves_no_rows_beside_an_earlier_result(self):
        out, profile = self.dir + "/again", self.dir + "/small.csv"
        write(
            "phase,tp,pp,x,y,ms\n"
            + "".join(
                "%s,1,1,%d,%d,%g\n" % (phase, x, y, 1 + x / 100)
                for phase, xs in (("prefill", (1, 64, 256)), ("decode", (1, 8, 64)))
                for x in xs
                for y in (x, 100 * x)
            ),
            profile,
        )
        args = ["--input-len=100", "--num-prompts=20", "--rate=5", "--out", out, "--profile", profile]
        sets = ["--set=" + s for s in sets_of("chunked")]
        self.assertEqual(run("baton-plan", "simulate", MOCK, *sets, "--output-len=4", *args).returncode, 0)
        self.assertEqual(sorted(os.listdir(out)), ["rows.csv", "rows.jsonl", "run.json"])
        done = run("baton-plan", "simulate", MOCK, *sets, "--output-len=8000", "--input-len=9000", *args[1:])
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(os.listdir(out), [])

    def test_a_link_that_is_given_parts_prefill_and_decode(self):
        told = []
        for link in ("1e15,1", "1e6,1000"):
            out = self.dir + "/link"
            args = ["--profile=%s/steps.yaml" % self.dir, "--num-prompts=50", "--rate=2", "--out", out, *LOAD]
            done = run("baton-plan", "simulate", MOCK, *args, "--link", link)
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = [json.loads(line) for line in read(out, "rows.jsonl").splitlines()]
            told.append({r["index"]: r["stages"]["handoff_ms"] for r in rows if r["output_asked"] > 1})
        self.assertTrue(all(ms < 0.01 for ms in told[0].values()), told[0])
        self.assertTrue(all(ms >= 9 for ms in told[1].values()), told[1])  # 10 tokens are 10 ms

    def test_many_ends_of_a_link_do_not_wait_for_each_other(self):
        took = []
        for prefill, decode, rate in ((5, 3, 290), (20, 12, 1160)):  # as much for each worker
            out = self.dir + "/ends"
            sets = ["prefill.count=%d" % prefill, "decode.count=%d" % decode, "mock.workers_per_process=1"]
            sets += ["prefill.token_budget=3072", "prefill.chunk_tokens=3072"]
            args = [
                "--input-len=512",
                "--output-len=128",
                "--input-cv=0.5",
                "--output-cv=0.5",
                "--rate=%d" % rate,
            ]
            args += [
                "--profile=h200-8b",
                "--link=20e9,131072,0.3,32",
                "--seeds=1",
                "--window=4",
                "--warmup=6",
            ]
            done = run("baton-plan", "simulate", MOCK, *["--set=" + s for s in sets], *args, "--out", out)
            self.assertEqual(done.returncode, 0, done.stderr)
            rows = [json.loads(line) for line in read(out, "rows.jsonl").splitlines()]
            times = [(r["stages"] or {}).get("handoff_ms") for r in rows if r["phase"] == "window"]
            self.assertNotIn(None, times)
            took.append(sum(times) / len(times))
            shutil.rmtree(out)
        self.assertLess(took[1], 1.2 * took[0])

    # ---- search ----

    def search(self, *args):
        load = ["--workload=random", "--input-len=512", "--output-len=128", "--slo=ttft:200,tpot:7"]
        quick = ["--quick", "--no-sensitivity", "--kv-pages=50000", "--link=20e9,131072,0.3,32"]
        return run("baton-plan", "search", "--profile=h200-8b", *load, *quick, *args)

    def test_many_devices_get_the_answer_of_few(self):
        for devices in (8, 20):
            done = self.search("--devices=%d" % devices)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertRegex(done.stdout.splitlines()[-1], "^disaggregate: .* colocated ")

    def test_a_rate_that_no_placement_reaches_is_infeasible(self):
        out = self.dir + "/short"
        done = self.search("--devices=2", "--rate=100000", "-o", out)
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("100000 requests/s: more than 2 devices are needed", done.stdout)
        self.assertNotIn("winner.yaml", os.listdir(out))

    # ---- replay ----

    def test_windows_that_cannot_be_leave_their_cell_out(self):
        root = self.dir + "/odd"
        shutil.copytree(self.dir + "/experiment", root, ignore=shutil.ignore_patterns("predicted"))
        path = root + "/cells/chunked@w@8/run.json"
        for key, value in (("end_s", -5), ("end_s", 1e300), ("begin_s", 1e300), ("seed", 1)):
            info = json.loads(read(self.dir, "experiment/cells/chunked@w@8/run.json"))
            for s in info["segments"]:
                s[key] = value
            write(json.dumps(info), path)
            done = self.replay("--out", self.dir + "/odd-out", root=root)
            self.assertIn("chunked@w@8 is left out", done.stderr)
            self.assertIn("run.json", done.stderr)

    def test_steps_of_a_machine_that_is_twice_as_fast_are_told_and_taken(self):
        double = "prefill: {alpha_ms: 4, beta_ms: 0.1, gamma_ms: 0.00002}\n"
        write(double + "decode: {alpha_ms: 10, beta_ms: 0.4, gamma_ms: 0.0002}\n", self.dir, "double.yaml")
        for own, error in ((False, 0.9), (True, 0)):
            out = self.dir + "/double"
            shutil.rmtree(out, ignore_errors=True)
            self.replay("--out", out, *(["--cell-steps"] if own else []), profile="double.yaml")
            told = json.loads(read(out, "replay.json"))
            for cell in told["cells"]:
                for share in cell["steps"].values():
                    if share is not None:
                        self.assertAlmostEqual(share, 0.5, delta=0.001)
                if own:
                    self.assertAlmostEqual(cell["tpot_mean_ms"]["error"], 0, delta=0.005)
                    self.assertAlmostEqual(cell["ttft_mean_ms"]["error"], 0, delta=0.02)
                else:
                    self.assertGreater(cell["tpot_mean_ms"]["error"], error)
            self.assertIn("each cell's own" if own else "fleet", told["simulator"])

    def test_a_profile_that_is_right_has_no_error(self):
        done = self.replay()
        self.assertIn("Errors of the", done.stdout)
        json_text = json.loads(read(self.dir, "experiment/predicted/replay.json"))
        self.assertEqual(json_text["schema"], "baton-replay/1")
        self.assertEqual(len(json_text["cells"]), 6)
        self.assertEqual(json_text["left_out"], 0)
        for cell in json_text["cells"]:
            for key in ("ttft_p50_ms", "ttft_p99_ms", "tpot_mean_ms", "tpot_p99_ms", "requests_per_s"):
                self.assertEqual(cell[key]["error"], 0, (cell["cell"], key))
                self.assertEqual(cell[key]["predicted"], cell[key]["measured"])
            for slo in ("tight", "loose"):
                self.assertEqual(cell["attainment"][slo]["error"], 0)
            self.assertGreater(cell["load"], 0)
        self.assertEqual(len(json_text["winners"]), 2)
        self.assertTrue(all(w["agrees"] for w in json_text["winners"]))
        self.assertTrue(all(w["predicted"] == w["measured"] for w in json_text["winners"]))
        lines = list(csv.DictReader(read(self.dir, "experiment/predicted/replay.csv").splitlines()))
        self.assertEqual(len([r for r in lines if r["cell"]]), 6 * (9 + 2))
        self.assertEqual({float(r["error"]) for r in lines if r["cell"]}, {0.0})

    def test_what_is_predicted_is_an_experiment_that_report_reads(self):
        out = self.dir + "/again"
        self.replay("--out", out)
        made = run("baton-bench", "report", out)
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertIn("chunked", read(out, "figures/report.md"))

    def test_the_figure_and_the_page_are_there(self):
        out = self.dir + "/page"
        told = self.replay("--out", out).stdout
        self.assertIn(out + "/replay.html", told)
        svg = xml.etree.ElementTree.parse(out + "/figures/predicted-measured.svg").getroot()
        text = " ".join(t.strip() for t in svg.itertext() if t.strip())
        for word in ("chunked", "prefill-first", "within 5 %", "TTFT, P99", "predicted (ms)"):
            self.assertIn(word, text)
        page = read(out, "figures/report.md")
        self.assertIn("Goodput per device", page)
        self.assertIn("predicted-measured.svg", page)

    def test_a_slower_profile_predicts_slower(self):
        out = self.dir + "/slow"
        told = self.replay("--out", out, "--quiet", profile="slow.yaml")
        self.assertEqual(told.stderr, "")
        for cell in json.loads(read(out, "replay.json"))["cells"]:
            self.assertGreater(cell["tpot_p50_ms"]["error"], 0.3)
            self.assertGreater(cell["ttft_p50_ms"]["error"], 0.01)

    def test_other_limits_and_changed_keys(self):
        out = self.dir + "/other"
        self.replay("--out", out, "--slo=ttft:50", "--set=colocated.count=1")
        json_text = json.loads(read(out, "replay.json"))
        self.assertEqual(list(json_text["cells"][0]["attainment"]), ["TTFT 50 ms"])
        self.assertGreater(json_text["cells"][2]["ttft_p50_ms"]["error"], 0)

    # ---- bad input ----

    def copy_of_one_cell(self, name):
        root = self.dir + "/" + name
        shutil.copytree(self.dir + "/experiment/cells/chunked@w@8", root + "/cells/chunked@w@8")
        return root, root + "/cells/chunked@w@8"

    def test_a_cut_row_is_left_out_and_told(self):
        root, cell = self.copy_of_one_cell("cut")
        write(read(cell, "rows.jsonl")[:-40], cell, "rows.jsonl")
        done = self.replay(root=root)
        self.assertIn("the last row of rows.jsonl is cut off and left out", done.stderr)

    def test_a_broken_row_leaves_the_cell_out(self):
        root, cell = self.copy_of_one_cell("broken")
        write("{}\n" + read(cell, "rows.jsonl"), cell, "rows.jsonl")
        done = self.replay(root=root, code=2)
        self.assertRegex(done.stderr, r"chunked@w@8 is left out: it is failed: .*rows\.jsonl:1")
        self.assertIn("no cell could be simulated: chunked@w@8", done.stderr)

    def test_a_cell_without_its_config_is_left_out(self):
        root, cell = self.copy_of_one_cell("bare")
        os.remove(cell + "/cluster.yaml")
        self.assertIn("cluster.yaml", self.replay(root=root, code=2).stderr)

    def test_a_directory_without_cells(self):
        os.makedirs(self.dir + "/empty", exist_ok=True)
        done = self.replay(root=self.dir + "/empty", code=2)
        self.assertIn("want an experiment's directory, as baton-bench experiment makes it", done.stderr)

    def test_cells_that_were_measured_are_not_overwritten(self):
        root, cell = self.copy_of_one_cell("kept")
        before = read(cell, "rows.jsonl")
        done = self.replay("--out", root, root=root, code=2)
        self.assertIn("has cells that are not of a replay: choose another --out", done.stderr)
        self.assertEqual(read(cell, "rows.jsonl"), before)

    def test_usage(self):
        steps = "--profile=%s/steps.yaml" % self.dir
        for args, words in (
            (["simulate", MOCK], "--profile is wanted"),
            (["simulate", steps], "which cluster?"),
            (["simulate", MOCK, "--profile=nowhere"], "nowhere"),
            (["simulate", self.dir + "/no.yaml", steps], "no.yaml"),
            (["simulate", MOCK, steps, "--max-concurrency=3"], "only open loops are simulated"),
            (["simulate", MOCK, steps, "--num-warmups=3"], "nothing to warm up"),
            (["simulate", MOCK, steps, "--set=prefill.cont=3"], "prefill.cont"),
            (["simulate", MOCK, steps, "--rate=-1"], "is no number of"),
            (["simulate", MOCK, steps, "--workload=chess"], "chess"),
            (["simulate", MOCK, steps, "--profile-error=x"], "is no percentage"),
            (["simulate", MOCK, steps, MOCK], "is no option"),
            (["simulate", MOCK, steps], "the profile has no link, which prefill and decode apart need"),
            (["simulate", MOCK, steps, "--link=1e9"], "want the KV bytes of a token, too"),
            (["simulate", MOCK, steps, "--link=0,256"], "link '0,256': bytes per second: want a number"),
            (["simulate", MOCK, steps, "--link=1e9,256,1,1,1"], "too many numbers"),
            (["simulate", MOCK, steps, "--link=1e9,256,1,2.9"], "pieces: want a whole number"),
            (["simulate", MOCK, steps, "--link=1,1e9"], "the KV of a token would take 2.78e+05 hours"),
            (["replay", steps], "which experiment?"),
            (["replay", self.dir + "/experiment", steps, "--slo=ttft"], "--slo ttft"),
            (["plan"], "there is no command 'plan'"),
            ([], "usage: baton-plan COMMAND"),
        ):
            done = run("baton-plan", *args)
            self.assertEqual(done.returncode, 2, (args, done.stderr))
            self.assertIn(words, done.stderr)

    def test_the_help_tells_the_exit_codes(self):
        for command in ([], ["simulate"], ["replay"]):
            done = run("baton-plan", *command, "--help")
            self.assertEqual(done.returncode, 0)
            self.assertTrue(re.search(r"Exit status:\s+0", done.stdout), done.stdout)


if __name__ == "__main__":
    unittest.main()
