"""baton-plan profile: a cluster of mock workers is measured as any other, and its latency model is found
again; Ctrl-C leaves nothing; others' points are converted, or refused when no curve fits them."""

import glob
import json
import os
import signal
import statistics
import subprocess
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
BIN = os.environ.get("BATON_BIN", HERE + "/../../build/test/bin")
SLOW = float(os.environ.get("BATON_SLOW", "1"))
MOCK = os.path.join(HERE, "../../deploy/config/mock.yaml")
MODEL = {"prefill": (4, 0.05, 0.00002), "decode": (3, 0.2, 0.001)}
TERMS = "alpha_ms: %g, beta_ms: %g, gamma_ms: %g"


def of_model(phase, x, y):
    alpha, beta, gamma = MODEL[phase]
    return 1e6 * (alpha + beta * x + gamma * y)


def of_point(p, context=1.0):
    """A mixed step pays the larger alpha once. context: the share of it that a step of the point has."""
    if p["phase"] == "prefill":
        return of_model("prefill", p["x"], p["y"])
    if p["phase"] == "decode":
        return of_model("decode", p["x"], context * p["y"])
    both = of_model("prefill", p["x"], p["y"]) + of_model("decode", p["batch"], context * p["context"])
    return both - 1e6 * min(MODEL["prefill"][0], MODEL["decode"][0])


def at(curve, x, y):
    """base(x) + slope(x) * y, as planner/profile/step_cost.h has it."""
    knots = curve["knots"]
    if len(knots) == 1:
        k = knots[0]
        return k["base_ns"] + curve["rise_ns"] * (x - k["x"]) + k["slope_ns"] * y
    i = 0
    while i + 2 < len(knots) and x > knots[i + 1]["x"]:
        i += 1
    a, b = knots[i], knots[i + 1]
    t = (x - a["x"]) / (b["x"] - a["x"])
    return (1 - t) * (a["base_ns"] + a["slope_ns"] * y) + t * (b["base_ns"] + b["slope_ns"] * y)


class Profile(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="baton-profile-test-")
        self.dir = self.folder.name
        self.out = self.dir + "/profile.json"
        with open(self.dir + "/steps.yaml", "w", encoding="utf-8") as f:
            for phase, terms in MODEL.items():
                f.write("%s: {%s}\n" % (phase, TERMS % terms))

    def tearDown(self):
        self.folder.cleanup()

    def command(self, *args):
        sets = [
            "mock.latency=%s/steps.yaml" % self.dir,
            "prefill.token_budget=256",
            "prefill.chunk_tokens=128",
        ]
        sets += ["model.max_context=2048", "decode.max_seqs=16", "prefill.max_seqs=64"]
        sets += ["colocated.max_seqs=16", "colocated.kv_pages=4000"]
        flags = ["--set=" + s for s in sets] + ["-o", self.out]
        return [BIN + "/baton-plan", "profile", MOCK, *flags, *args]

    def run_it(self, command):
        environment = dict(os.environ, TMPDIR=self.dir)
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120 * SLOW, check=False, env=environment
        )

    def wrong(self):
        """Measures, and says what is not as the model has it; None: all is. Other load can only add time, and
        seldom to most steps."""
        done = self.run_it(self.command("--quick", "--seconds=1.5", "--max-error=1000"))
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.out, encoding="utf-8") as f:
            profile = json.load(f)
        points = profile["points"]
        for p in points:
            self.assertGreater(
                p["min_ns"], 0.999 * of_point(p, 1 / 1.5) - 2000, p
            )  # contexts of a point vary
        self.assertEqual([e["roles"] for e in profile["engines"]], [["prefill"], ["decode"], ["colocated"]])
        self.assertEqual([e["kv_pages"] for e in profile["engines"]], [50000, 50000, 4000])
        self.assertEqual(profile["link"]["kv_token_bytes"], 256)
        self.assertEqual(
            {p["phase"] for p in points if p["role"] == "colocated"}, {"prefill", "decode", "mixed"}
        )
        for p in points:
            self.assertNotEqual((p["role"], p["phase"]), ("prefill", "decode"))
        off = statistics.median(p["ns"] / of_point(p) for p in points)
        if off > 1.05:
            return "points are %g of the model's times" % off
        for engine in profile["engines"]:
            for phase, (x, y) in (("prefill", (100, 10000)), ("decode", (6, 1000))):
                curve = engine[phase]
                if not curve:
                    continue
                ratio = at(curve, x, y) / of_model(phase, x, y)
                if not 0.9 < ratio < 1.15:
                    return "%s of %s: %g of the model's time" % (phase, engine["roles"], ratio)
        return None

    def test_the_latency_model_of_mock_workers_is_found_again(self):
        why = self.wrong()
        if why:  # on a busy machine
            why = self.wrong()
        self.assertIsNone(why)
        self.assertEqual(glob.glob(self.dir + "/baton-profile-*"), [])

    def test_ctrl_c_leaves_no_cluster_and_no_file(self):
        environment = dict(os.environ, TMPDIR=self.dir)
        with subprocess.Popen(
            self.command(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as p:
            for line in p.stderr:
                if "warm-up" in line:
                    break
            p.send_signal(signal.SIGINT)
            _, words = p.communicate(timeout=60 * SLOW)
        self.assertEqual(p.returncode, 130, words)
        self.assertEqual(sorted(os.listdir(self.dir)), ["steps.yaml"])
        deadline = time.monotonic() + 10 * SLOW
        while subprocess.run(["pgrep", "-f", self.dir], capture_output=True, check=False).stdout:
            self.assertLess(time.monotonic(), deadline, "processes are left")

    def processes(self, name=""):
        """Those whose command line names the test's folder."""
        found = subprocess.run(
            ["pgrep", "-f", name + ".*" + self.dir], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in found.stdout.split()]

    def test_a_worker_that_dies_ends_the_measuring_and_is_named(self):
        environment = dict(os.environ, TMPDIR=self.dir)
        command = self.command("--seconds=300")
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as p:
            for line in p.stderr:
                if "warm-up" in line:
                    break
            (worker,) = self.processes("^[^ ]*baton-decode")
            os.kill(worker, signal.SIGKILL)
            _, words = p.communicate(timeout=60 * SLOW)
        self.assertEqual(p.returncode, 1, words)
        self.assertIn("lost while it was measured: decode", words)
        self.assertIn("the cluster's last words: ", words)
        self.assertEqual(sorted(os.listdir(self.dir)), ["steps.yaml"])
        deadline = time.monotonic() + 10 * SLOW
        while self.processes():
            self.assertLess(time.monotonic(), deadline, "processes are left")

    def test_an_output_that_cannot_be_written_is_refused_before_any_cluster_starts(self):
        os.mkdir(self.dir + "/folder")
        for out in ("/none/profile.json", "/folder", "/steps.yaml/profile.json"):
            done = self.run_it(self.command() + ["-o", self.dir + out])
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("baton-plan profile: %s%s: " % (self.dir, out), done.stderr)
            self.assertNotIn("starting", done.stderr)
        self.assertEqual(sorted(os.listdir(self.dir)), ["folder", "steps.yaml"])

    def test_readers_that_leave_early_do_not_end_it(self):
        environment = dict(os.environ, TMPDIR=self.dir)
        left, end = os.pipe()
        os.close(left)
        with subprocess.Popen(self.command(), stdout=end, stderr=end, env=environment) as p:
            os.close(end)
            deadline = time.monotonic() + 30 * SLOW
            while p.poll() is None and not glob.glob(self.dir + "/baton-profile-*/cluster.log"):
                self.assertLess(time.monotonic(), deadline)
            p.send_signal(signal.SIGINT)
            self.assertEqual(p.wait(timeout=60 * SLOW), 130)
        self.assertEqual(sorted(os.listdir(self.dir)), ["steps.yaml"])

    def test_what_cannot_be_fitted_is_not_written(self):
        rows = ["phase,tp,pp,x,y,ms"]
        rows += ["prefill,1,1,%d,%d,%d" % (n, n * n, 5 if n % 3 else 500) for n in range(1, 40)]
        rows += ["decode,1,1,%d,%d,%d" % (n, 100 * n, 10 + n) for n in range(1, 9)]
        with open(self.dir + "/points.csv", "w", encoding="utf-8") as f:
            f.write("\n".join(rows) + "\n")
        convert = [BIN + "/baton-plan", "profile", "--from", self.dir + "/points.csv", "-o", self.out]
        done = self.run_it(convert)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("above --max-error 10: nothing is written", done.stderr)
        self.assertIn("give more of them", done.stderr)
        self.assertNotIn("Measure again", done.stderr)
        self.assertFalse(os.path.exists(self.out))
        done = self.run_it(convert + ["--max-error=1000"])
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(os.path.exists(self.out))

    def test_phases_with_too_few_points_to_tell_their_error_are_named(self):
        rows = ["phase,tp,pp,x,y,x2,y2,ms", "mixed,1,1,200,0,2,0,8.5"]
        rows += ["prefill,1,1,%d,0,,,%d" % (100 * n, 1 + n) for n in range(1, 4)]
        rows += ["decode,1,1,%d,0,,,%d" % (n, 4 + n) for n in range(1, 5)]
        with open(self.dir + "/points.csv", "w", encoding="utf-8") as f:
            f.write("\n".join(rows) + "\n")
        done = self.run_it(
            [BIN + "/baton-plan", "profile", "--from", self.dir + "/points.csv", "-o", self.out]
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("prefill leave-one-out error unknown, too few points to tell", done.stdout)
        self.assertIn("mixed   error unknown, too few points to tell", done.stdout)
        self.assertIn("decode  leave-one-out error   0.0 %", done.stdout)

    def test_wrong_usage_and_configs_are_refused_by_name(self):
        program = [BIN + "/baton-plan", "profile"]
        for args, words in (
            ([MOCK], "where does the profile go?"),
            (["-o", self.out], "give the CONFIG of a cluster, or --from FILE"),
            ([MOCK, "-o", self.out, "--seconds=0"], "want a number from 1 to 3600"),
            ([MOCK, "-o", self.out, "--set=prefill.cont=3"], "prefill.cont"),
            ([self.dir + "/none.yaml", "-o", self.out], "none.yaml"),
            (["--from", self.dir + "/none.csv", "-o", self.out], "none.csv"),
        ):
            done = self.run_it(program + args)
            self.assertIn(done.returncode, (1, 2), (args, done.stderr))
            self.assertIn(words, done.stderr)
            self.assertFalse(os.path.exists(self.out))


if __name__ == "__main__":
    unittest.main()
