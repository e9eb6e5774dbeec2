"""baton-bench report on made-up experiments: the verdict, the numbers, the links, the figures.

report_test.py PROGRAM     PROGRAM: baton-report, which is baton-bench report alone"""

import math
import os
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

HERE = os.path.dirname(os.path.abspath(__file__))
MAKE = os.path.join(HERE, "..", "tools", "make_experiment.py")
BIN = os.environ.get("BATON_BIN", HERE + "/../../build/test/bin")
KINDS = ("fig1-goodput", "fig2-attainment", "fig3-map", "fig4-latency", "fig6-tails", "fig7-speed")


def run(*args, path=None):
    environment = dict(os.environ, PATH=path) if path else None
    return subprocess.run(
        [BIN + "/baton-bench", "report", *args],
        capture_output=True,
        text=True,
        timeout=240,
        env=environment,
        check=False,
    )


def wilson(good, n):
    """Of seeds that are all alike: "92.0 (90.2 to 93.5)" """
    z = 1.959963984540054
    p, zz = good / n, z * z / n
    middle, half = (p + zz / 2) / (1 + zz), z * math.sqrt(p * (1 - p) / n + zz / 4 / n) / (1 + zz)
    return "%.1f (%.1f to %.1f)" % (100 * p, 100 * max(0.0, middle - half), 100 * min(1.0, middle + half))


class Report:
    """A case of make_experiment.py and what is reported of it."""

    def __init__(self, case, *args):
        self.folder = tempfile.TemporaryDirectory(prefix="baton-report-")
        self.dir = self.folder.name + "/" + case
        subprocess.run([sys.executable, MAKE, case, self.dir], check=True, timeout=240)
        self.run = run(self.dir, *args)
        assert self.run.returncode == 0, self.run.stderr
        self.html = self.read("report.html")
        self.md = self.read("figures/report.md")

    def read(self, name):
        with open(self.dir + "/" + name, encoding="utf-8") as f:
            return f.read()

    def verdicts(self):
        quotes = re.findall(r"^> \*\*(.*?)\.\*\* ((?:.|\n> )*)$", self.md, re.M)
        return [(workload, text.replace("\n> ", " ")) for workload, text in quotes]

    def table(self, head):
        """The fields of the lines of the table whose head begins so, without links."""
        lines = self.md[self.md.index("| " + head) :].split("\n\n")[0].split("\n")[2:]
        plain = [re.sub(r"\[((?:\\.|[^\]])*)\]\([^)]*\)", r"\1", line) for line in lines]
        plain = [re.sub(r'<a id="[^"]*"></a>', "", line).replace("\\", "") for line in plain]
        return [[field.strip() for field in line.strip().strip("|").split(" | ")] for line in plain if line]

    def close(self):
        self.folder.cleanup()


class Known(unittest.TestCase):
    """Attainments that are known to the last digit."""

    @classmethod
    def setUpClass(cls):
        cls.report = Report("exact")

    @classmethod
    def tearDownClass(cls):
        cls.report.close()

    def test_the_verdict_is_said(self):
        self.assertEqual(
            self.report.verdicts(),
            [
                (
                    "w",
                    "Do not disaggregate: the best colocated baseline (chunked) has a higher goodput per "
                    "device than disaggregated at 1 of 2 SLOs; the ratio is 0.50. Undecided at loose: the "
                    "interval of the ratio contains 1, or is open.",
                )
            ],
        )

    def test_goodput_is_exact(self):
        """.99 .97 .92 .86 .60 at 4 to 8 cross .9 at 6 1/3; per device, of which there are two, at 3.17"""
        limited = "TTFT (100 % of misses): queue before prefill"
        self.assertEqual(
            self.report.table("SLO | placement | goodput"),
            [
                [
                    "tight",
                    "disaggregated",
                    "1.58",
                    "1.58 to 1.58",
                    "1.5",
                    "1.75",
                    "20.0",
                    "0.50 (0.50 to 0.50)",
                ]
                + [limited + "; prefill 97 % busy, decode 41 %"],
                [
                    "tight",
                    "chunked",
                    "3.17",
                    "3.17 to 3.17",
                    "3",
                    "3.5",
                    "20.0",
                    "1 (the best baseline)",
                    limited,
                ],
                ["loose", "disaggregated", "> 2", "from 2", "2", "-", "20.0", "unknown"]
                + ["no rate that was run fails; no misses; prefill 97 % busy, decode 41 %"],
                ["loose", "chunked", "> 4", "from 4", "4", "-", "20.0", "1 (the best baseline)"]
                + ["no rate that was run fails; no misses"],
            ],
        )

    def test_attainment_is_exact(self):
        lines = [
            f[2:6] for f in self.report.table("SLO | placement | requests/s") if f[:2] == ["tight", "chunked"]
        ]
        want = [("2", 99), ("2.5", 97), ("3", 92), ("3.5", 86), ("4", 60)]
        all_of = wilson(1000, 1000)
        self.assertEqual(lines, [[r, wilson(10 * a, 1000), wilson(10 * a, 1000), all_of] for r, a in want])
        alike = {f[6] for f in self.report.table("SLO | placement | requests/s")}
        self.assertEqual(alike, {"5, alike"})

    def test_limits_on_itl_and_e2e_are_judged_and_named_apart(self):
        report = Report("exact", "--slo", "ttft:200,tpot:50,itl_max:10,e2e:1000")
        self.addCleanup(report.close)
        line = [f for f in report.table("SLO | placement | requests/s") if f[1:3] == ["chunked", "2"]][0]
        none, most, all_of = wilson(0, 1000), wilson(990, 1000), wilson(1000, 1000)
        self.assertEqual(line[3:], [none, most, all_of, none, all_of, "5, alike", "fail"])
        self.assertIn("| ITL alone, % | E2E alone, % |", report.md)
        limits = {f[1]: f[8] for f in report.table("SLO | placement | goodput")}
        self.assertEqual(limits["chunked"], "ITL (100 % of misses): decode")

    def test_stages_are_means_without_overlap(self):
        """Of decode_ms 80, which begins with the first token, hand-off took 5 and the decode queue 2."""
        line = self.report.table("placement | requests/s per device | queue")[0]
        self.assertEqual(line[0], "disaggregated")
        self.assertEqual(line[3:], ["40.00", "5.00", "2.00", "73.00"])

    def test_one_limit_on_the_command_line_replaces_those_of_the_file(self):
        again = run(self.report.dir, "--slo", "ttft:200,tpot:10", "--out", self.report.dir + "/b.html")
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertIn("No verdict: no placement reaches the target", self.report.read("b.html"))

    def test_the_figures_go_where_they_are_wanted(self):
        folder = self.report.dir + "/elsewhere"
        self.assertEqual(run(self.report.dir, "--figures", folder).returncode, 0)
        self.assertIn("report.md", os.listdir(folder))
        self.assertEqual(len([f for f in os.listdir(folder) if f.endswith(".svg")]), len(KINDS) + 1)


class Whole(unittest.TestCase):
    """Everything that a report has: two workloads, every figure, every kind of trouble."""

    @classmethod
    def setUpClass(cls):
        cls.report = Report("rich")

    @classmethod
    def tearDownClass(cls):
        cls.report.close()

    def test_every_link_ends_in_the_page(self):
        ids = re.findall(r"\bid=[\"']([^\"']*)[\"']", self.report.html)
        self.assertEqual(len(ids), len(set(ids)), "ids are not unique")
        links = set(re.findall(r"href=[\"']([^\"']*)[\"']", self.report.html))
        self.assertGreater(len(links), 60)
        self.assertEqual([link for link in links if link[0] != "#" or link[1:] not in ids], [])

    def test_every_link_ends_in_the_markdown(self):
        ids = re.findall(r'<a id="([^"]*)">', self.report.md)
        self.assertEqual([a for a in re.findall(r"\]\(#([^)]*)\)", self.report.md) if a not in ids], [])
        for name in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", self.report.md):
            self.assertTrue(os.path.exists(self.report.dir + "/figures/" + name), name)

    def test_there_are_no_outside_resources(self):
        text = self.report.html.replace("http://www.w3.org/2000/svg", "").replace(
            "http://www.w3.org/1999/xlink", ""
        )
        self.assertNotRegex(text, r"https?://|<link|<script|<img|@import|src=")
        self.assertEqual(re.findall(r"url\((?!#)", text), [])

    def test_every_figure_is_there_and_well_formed(self):
        files = sorted(f for f in os.listdir(self.report.dir + "/figures") if f.endswith(".svg"))
        for kind in (*KINDS, "fig5-stages"):
            for workload in ("balanced", "prefill-heavy"):
                self.assertIn("%s-%s.svg" % (kind, workload), files)
        self.assertIn("fig9-timeline-balanced-disaggregated.svg", files)
        for name in files:
            xml.etree.ElementTree.parse(self.report.dir + "/figures/" + name)
        inline = re.findall(r"<svg.*?</svg>", self.report.html, re.S)
        self.assertGreater(len(inline), len(files))
        for svg in inline:
            xml.etree.ElementTree.fromstring(svg)

    def test_void_failed_unfinished_and_missing_cells_are_listed_with_their_reasons(self):
        states = {
            (f[0], f[1], f[2]): f[4] for f in self.report.table("workload | placement | requests/s | devices")
        }
        self.assertEqual(states["balanced", "chunked-64", "3"], "void: P99 lateness 7.2 ms > 5 ms")
        self.assertEqual(states["prefill-heavy", "prefill-first", "6"], "failed: the cluster did not start")
        self.assertRegex(states["prefill-heavy", "prefill-first", "5"], "^unfinished: ")
        self.assertEqual(states["prefill-heavy", "chunked-64", "7"], "missing: not run yet")
        self.assertEqual(len(states), 2 * 30 + 2 * 2 + 1)

    def test_lines_of_markdown_are_as_short_as_the_repository_wants_them(self):
        wide = [line for line in self.report.md.split("\n") if len(line) > 120 and line[0] != "|"]
        self.assertEqual(wide, [])
        self.assertNotRegex(self.report.md, "(?m)^ ")

    def test_what_was_run_is_said(self):
        first = self.report.table("placement | what it is")[0]
        self.assertEqual(first, ["disaggregated", "2 workers of some kind", "2", "no", "a.b=1, c=2"])
        first = self.report.table("workload | parameters")[0]
        self.assertEqual(first, ["balanced", "input_len 200", "1, 2.5"])

    def test_a_void_cell_is_shown_and_judges_nothing(self):
        lines = [
            f
            for f in self.report.table("SLO | placement | requests/s")
            if f[1] == "chunked-64" and f[2] == "1.5"
        ]
        self.assertEqual({f[7] for f in lines}, {"void"})

    def test_the_pair_and_the_variants_are_in_the_appendix_only(self):
        goodput = self.report.table("SLO | placement | goodput")
        self.assertEqual({f[1] for f in goodput}, {"disaggregated", "chunked", "prefill-first", "chunked-64"})
        self.assertEqual(len(self.report.table("workload | SLO | goodput per device | again")), 10)
        self.assertRegex(
            self.report.html,
            r"Noise: run a second time, chunked had .* over \d+ of 10 pairs of workload and SLO",
        )
        tried = self.report.table("workload | placement and variant")
        self.assertEqual(
            {tuple(f[1:5]) for f in tried},
            {
                ("chunked~tokens-256", "x.tokens=256", "3", "chosen"),
                ("chunked~tokens-64", "x.tokens=64", "3", "done"),
            },
        )


class Odd(unittest.TestCase):
    """Little, bad or no data."""

    def verdict_of(self, case):
        report = Report(case)
        self.addCleanup(report.close)
        verdicts = report.verdicts()
        self.assertEqual(len(verdicts), len({w for w, _ in verdicts}))
        return report, verdicts[0][1]

    def test_one_seed_decides_nothing(self):
        report, verdict = self.verdict_of("one-seed")
        self.assertRegex(verdict, "^Undecided: with one seed there is no interval")
        self.assertEqual({f[3] for f in report.table("SLO | placement | goodput")}, {"none (1 seed)"})

    def test_one_placement_has_nothing_to_be_compared_with(self):
        _, verdict = self.verdict_of("alone")
        self.assertRegex(verdict, "^No verdict: every placement with data is a baseline")

    def test_rows_without_stages_have_no_figure_of_stages(self):
        report, verdict = self.verdict_of("foreign")
        self.assertRegex(
            verdict, "^Disaggregate: ours has a higher goodput .* at the SLO \\(2.00 times\\)\\.$"
        )
        self.assertIn("no cell has them", report.html)

    def test_a_run_that_never_settled_fails_or_stands_for_nothing(self):
        report, verdict = self.verdict_of("unsteady")
        self.assertRegex(verdict, "^Undecided: the intervals of the ratios contain 1, or are open")
        self.assertEqual(
            [f[:6] for f in report.table("SLO | placement | goodput")],
            [
                ["tight", "disaggregated", "< 1.75", "0 to 1.75", "-", "1.75"],
                ["tight", "chunked", "< 3.5", "0 to 3.5", "-", "3.5"],
                ["loose", "disaggregated", "undecided", "-", "-", "-"],
                ["loose", "chunked", "undecided", "-", "-", "-"],
            ],
        )
        judged = {f[7] for f in report.table("SLO | placement | requests/s")}
        self.assertEqual(judged, {"undecided (steady state not reached)", "fail"})
        self.assertIn("10 of the cells that are done had not settled", report.html)
        self.assertIn("disaggregated (not settled)", report.html)
        self.assertIn("undecided: none has a goodput", report.read("figures/fig3-map-w.svg"))

    def test_no_goodput_lies_beyond_an_unstable_rate_that_attains_the_target(self):
        report, verdict = self.verdict_of("unstable")
        self.assertRegex(verdict, "^Do not disaggregate: .*; the ratio is 0.50\\.$")
        self.assertEqual(
            [f[1:6] + f[7:8] for f in report.table("SLO | placement | goodput")],
            [
                ["disaggregated", "1.5", "1.5 to 1.5", "1.25", "1.5", "0.50 (0.50 to 0.50)"],
                ["chunked", "3", "3 to 3", "2.5", "3", "1 (the best baseline)"],
            ],
        )
        judged = [f[7] for f in report.table("SLO | placement | requests/s")]
        self.assertEqual(judged, ["pass", "pass", "fail (unstable)"] * 2)

    def test_an_undecided_rate_at_the_end_is_neither_a_pass_nor_a_fail(self):
        report, verdict = self.verdict_of("undecided")
        self.assertRegex(verdict, "^Undecided: ")
        self.assertRegex(report.verdicts()[1][1], "^Undecided: ")
        lines = [f[1:3] + f[4:6] for f in report.table("SLO | placement | goodput")]
        self.assertEqual(
            lines,
            [
                ["disaggregated", "undecided above 1.25", "1", "-"],
                ["chunked", "undecided below 2", "-", "2.5"],
            ],
        )

    def test_every_rate_passes(self):
        report, verdict = self.verdict_of("easy")
        self.assertRegex(verdict, "^Undecided: the intervals of the ratios contain 1, or are open")
        self.assertEqual([f[2] for f in report.table("SLO | placement | goodput")], ["> 4", "> 4"])

    def test_no_rate_passes(self):
        report, verdict = self.verdict_of("hard")
        self.assertRegex(verdict, "^No verdict: no placement reaches the target at any rate")
        self.assertEqual([f[2] for f in report.table("SLO | placement | goodput")], ["< 1", "< 1"])

    def test_what_cannot_be_read_is_told_and_the_rest_is_reported(self):
        report, verdict = self.verdict_of("broken")
        self.assertRegex(verdict, "^Do not disaggregate")
        self.assertIn("<h1>Trouble &lt;b&gt;&amp;amp;&lt;/b&gt;</h1>", report.html)
        states = {f[1]: f[4] for f in report.table("workload | placement | requests/s | devices")}
        self.assertEqual(states["cut"], "done, last row cut")
        few = [f for f in report.table("placement | requests/s per device | TTFT P50") if f[0] == "cut"][0]
        self.assertEqual(few[3], "300.0 (>= 300.0, open above)")
        self.assertEqual(few[5], "20.0 (>= 20.0, open above)")
        self.assertRegex(states["unreadable"], r"^failed: .*rows\.jsonl:101: ")
        self.assertEqual(states["empty"], "failed: rows.jsonl has no request of the window")
        self.assertEqual(states["failed"], "failed: the cluster did not start")
        self.assertRegex(states["unfinished"], "^unfinished: no state.json yet")
        self.assertEqual(states["void"], "void: the client's core was 93 % busy")
        self.assertRegex(states["nothing"], "^unfinished: no state.json yet")
        self.assertRegex(states["odd name"], r"^failed: .*state\.json:")

    def test_a_directory_that_is_no_experiment_is_refused(self):
        with tempfile.TemporaryDirectory() as empty:
            for folder, want in (
                (empty, "want an experiment's directory"),
                (empty + "/none", "No such file"),
            ):
                told = run(folder)
                self.assertEqual((told.returncode, told.stdout), (1, ""))
                self.assertIn(folder + "/cells: ", told.stderr)
                self.assertIn(want, told.stderr)
            os.mkdir(empty + "/cells")
            self.assertIn("there is no cell in it", run(empty).stderr)

    def test_without_gnuplot_the_remedy_is_told(self):
        report = Report("alone")
        self.addCleanup(report.close)
        told = run(report.dir, path="/nonexistent")
        self.assertEqual(told.returncode, 1)
        self.assertIn("apt-get install gnuplot-nox", told.stderr)

    def test_a_page_that_cannot_be_written_is_told(self):
        report = Report("alone")
        self.addCleanup(report.close)
        told = run(report.dir, "--out", "/nonexistent/page.html")
        self.assertEqual(told.returncode, 1)
        self.assertIn("/nonexistent/page.html.part: No such file", told.stderr)

    def test_wrong_command_lines_are_refused(self):
        for args, want in (
            ((), "which experiment?"),
            (("a", "b"), "'b' is too much"),
            (("--slo", "ttft:fast", "a"), "--slo ttft:fast: "),
        ):
            told = run(*args)
            self.assertEqual(told.returncode, 2, told.stderr)
            self.assertIn(want, told.stderr)


if __name__ == "__main__":
    unittest.main()
