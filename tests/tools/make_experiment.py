#!/usr/bin/env python3
"""Makes up an experiment's directory, as baton-bench experiment leaves it, without running anything:

  make_experiment.py CASE DIR

exact      attainments known to the last digit: chunked crosses 90 % at 6 1/3, disaggregated at half of that
rich       two workloads, four placements, an A/A pair, tuning; every kind of trouble once; for looking at
one-seed   rich with one seed; its variants were compared with others
alone      one placement, which is the baseline
foreign    another server's rows: no stages, no workers
broken     unreadable, cut, empty, failed, unfinished cells
unsteady   exact, but no run reached its steady state
unstable   every rate attains the target, and the highest is unstable
undecided  chunked's lowest rate may be below the target, disaggregated's highest above it; under "low" no
           placement decides its lowest rate
easy       every rate passes
hard       no rate passes
"""

import json
import math
import os
import random
import sys

MS = 1000000


def row(seed, index, at_ms, ttft_ms, gaps_ms, stages, phase="window", outcome="ok", late_ms=0.05):
    """A request that is sent late_ms after its time; times are whole microseconds."""
    at = int(at_ms * 1000) * 1000
    events, t = [[at + int(ttft_ms * 1000) * 1000, 1]], at + int(ttft_ms * 1000) * 1000
    for gap in gaps_ms:
        t += int(gap * 1000) * 1000
        events.append([t, 1])
    ok = outcome == "ok"
    return {
        "seed": seed,
        "index": index,
        "phase": phase,
        "outcome": outcome,
        "http": 200 if ok else 503,
        "error": None if ok else "no room",
        "finish": "length" if ok else "",
        "scheduled_ns": at,
        "sent_ns": at + int(late_ms * MS),
        "first_ns": events[0][0] if ok else None,
        "last_ns": t if ok else None,
        "end_ns": t if ok else at + 3 * MS,
        "prompt_asked": 100,
        "output_asked": len(events),
        "prompt_tokens": 100 if ok else 0,
        "output_tokens": len(events) if ok else 0,
        "cached_tokens": 0,
        "events": events if ok else [],
        "stages": stages if ok else None,
    }


def stages_of(queue, prefill, handoff, wait, decode):
    """decode: from the first token to the last, so with hand-off and decode queue in it"""
    return {
        "queue_ms": queue,
        "prefill_ms": prefill,
        "handoff_ms": handoff,
        "decode_wait_ms": wait,
        "decode_ms": decode,
        "first_token_ms": queue + prefill,
        "total_ms": queue + prefill + decode,
        "attempts": 1,
        "replays": 0,
        "preemptions": 0,
    }


class Experiment:
    def __init__(self, folder, name, title, placements, workloads, slos, cells=()):
        """cells: names of cells that the experiment would run besides those that it has"""
        self.folder = folder
        self.cells = list(cells)
        self.spec = {
            "schema": "baton-experiment/1",
            "name": name,
            "title": title,
            "target": 90.0,
            "seeds": [1, 2, 3, 4, 5],
            "warmup_s": 30.0,
            "window_s": 30.0,
            "placements": [
                {
                    "name": p,
                    "words": "2 workers of some kind",
                    "devices": 2,
                    "baseline": p != "disaggregated",
                    "set": ["a.b=1", "c=2"],
                }
                for p in placements
            ],
            "workloads": [
                {"name": w, "rates": [1, 2.5], "parameters": {"input_len": "200"}} for w in workloads
            ],
            "slos": [{"name": n, "ttft_ms": t, "tpot_ms": p, "e2e_ms": None} for n, t, p in slos],
        }
        os.makedirs(folder + "/cells", exist_ok=True)
        self.put("experiment.json", self.spec)
        measured = {"core_round_trip_ns": 212.5, "read_gb_s_one_core": 11.5}
        self.put("machine.json", {"cpu": "made up", "cores": 2, "isa": ["avx2"], "measured": measured})

    def put(self, name, value):
        with open(self.folder + "/" + name, "w", encoding="utf-8") as f:
            f.write(value if isinstance(value, str) else json.dumps(value, indent=1) + "\n")

    def cell(self, placement, workload, rate, rows, baseline=False, devices=2, seeds=(), window_s=30, **over):
        """over: state, reason, workers, steady, validity, run (False: no run.json), rows_text, trace"""
        name = "%s@%s@%g" % (placement, workload, rate)
        self.cells.append(name)
        self.put("experiment.json", dict(self.spec, cells=self.cells))
        name = ("tune/" if "~" in placement else "cells/") + name
        os.makedirs(self.folder + "/" + name, exist_ok=True)
        state = {
            "state": over.get("state", "done"),
            "reason": over.get("reason", ""),
            "placement": placement,
            "workload": workload,
            "rate": rate,
            "devices": devices,
            "baseline": baseline,
            "attempts": 1,
            "variant": over.get("variant", ""),
            "tuning": "~" in placement,
            "again_of": placement[: -len("-again")] if placement.endswith("-again") else None,
        }
        if over.get("state") != "running":
            self.put(name + "/state.json", state)
        text = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in rows)
        self.put(name + "/rows.jsonl", over.get("rows_text", text))
        if "trace" in over:
            self.put(name + "/trace.json", over["trace"])
        if not over.get("run", True):
            return
        begin = over.get("warmup_s", 30.0)
        self.put(
            name + "/run.json",
            {
                "schema": "baton-bench/1",
                "command": ["baton-bench", "serve", "--seeds", ",".join(map(str, seeds))],
                "date": "2026-11-28T08:31:00Z",
                "version": "0.1.0",
                "name": "",
                "target": {"kind": "native", "url": "tcp://127.0.0.1:9000", "model": "tiny", "server": None},
                "rate": rate,
                "warmup_s": begin,
                "window_s": window_s,
                "segments": [
                    {"seed": s, "begin_s": begin + i * window_s, "end_s": begin + (i + 1) * window_s}
                    for i, s in enumerate(seeds)
                ],
                "client": over.get(
                    "client",
                    {
                        "cpu_share": 0.03,
                        "lateness_ms": {"p50": 0.05, "p99": 0.2, "max": 0.4},
                        "achieved_rate": rate,
                        "largest_rate": 900.0,
                        "added_latency_ms": 0.04,
                    },
                ),
                "validity": over.get("validity", {"valid": True, "reasons": []}),
                "steady": over.get(
                    "steady",
                    {
                        "reached": True,
                        "warmup_needed_s": 11.5,
                        "unstable": False,
                        "g": 0.003,
                        "g_limit": 0.03,
                    },
                ),
                "workers": over.get("workers", []),
                "server": {"preemptions": 0, "replays": 0, "coordinator_cpu_share": 0.02},
                "interrupted": False,
                "duration_s": begin + len(seeds) * window_s + 3,
            },
        )


# ---- exact ----


def exact_rows(seeds, members, good, ttft_bad_ms=300.0):
    """`good` of `members` requests of every seed have TTFT 100 ms, the others ttft_bad_ms; TPOT is 20 ms.
    good: a number, or one per seed"""
    rows = []
    each = good if isinstance(good, tuple) else (good,) * len(seeds)
    for k, (seed, good) in enumerate(zip(seeds, each)):
        for i in range(members):
            ttft = 100.0 if i < good else ttft_bad_ms
            at = 30000 + k * 30000 + i * 30000.0 / members
            rows.append(row(seed, i, at, ttft, [20.0] * 4, stages_of(ttft - 40, 40, 5, 2, 80)))
    return rows


EXACT = [(4, 99), (5, 97), (6, 92), (7, 86), (8, 60)]
PREFILL = {
    "name": "prefill-0",
    "role": "prefill",
    "prefill_share": 0.97,
    "decode_share": 0.0,
    "mixed_share": 0.0,
}
DECODE = {
    "name": "decode-0",
    "role": "decode",
    "prefill_share": 0.0,
    "decode_share": 0.41,
    "mixed_share": 0.0,
}


def exact(folder, **over):
    seeds = (1, 2, 3, 4, 5)
    e = Experiment(
        folder,
        "exact",
        "Known numbers",
        ["disaggregated", "chunked"],
        ["w"],
        [("tight", 200, 50), ("loose", 400, 50)],
    )
    for rate, good in EXACT:
        e.cell("chunked", "w", rate, exact_rows(seeds, 200, 2 * good), True, 2, seeds, **over)
        e.cell(
            "disaggregated",
            "w",
            rate / 2,
            exact_rows(seeds, 200, 2 * good),
            False,
            2,
            seeds,
            workers=[PREFILL, DECODE],
            **over
        )


# ---- rich ----


def workers_of(placement, load):
    pages = {"pages_used_max": int(30 + 150 * min(1, load)), "pages_total": 256}
    if placement == "disaggregated":
        return [
            dict(PREFILL, prefill_share=min(0.99, load), **pages),
            dict(DECODE, decode_share=min(0.95, 0.5 * load), **pages),
        ]
    name = {"name": "colocated-%d", "role": "colocated"}
    return [
        dict(
            name,
            name="colocated-%d" % i,
            prefill_share=0.3 * load,
            decode_share=0.3 * load,
            mixed_share=0.3 * load,
            **pages
        )
        for i in range(2)
    ]


# placement: capacity in requests/s, prefill ms, decode ms per token, hand-off ms, how prefill stalls decode
MODELS = {
    "disaggregated": (4.4, 70, 21, 9, 0.0),
    "chunked": (5.6, 60, 24, 0, 0.25),
    "chunked-again": (5.6, 60, 24, 0, 0.25),
    "prefill-first": (5.5, 58, 23, 0, 0.9),
    "chunked-64": (5.0, 66, 23, 0, 0.15),
}


def rich_rows(rng, placement, heavy, rate, seeds, window_s, warmup_s):
    capacity, prefill, token, handoff, stall = MODELS[placement]
    capacity *= 0.7 if heavy else 1.0
    load = rate / capacity
    rows, t, index, free = [], 0.0, 0, 0.0
    end = warmup_s + window_s * len(seeds)
    while t < end + 4:
        t += rng.expovariate(rate)
        service = 1 / capacity * rng.uniform(0.8, 1.2)
        wait = max(0.0, free - t)
        free = max(free, t) + service
        ttft = wait * 1000 + prefill * rng.uniform(0.8, 1.3) * (2 if heavy else 1)
        gaps, gap_load = [], min(1, load)
        for _ in range(16):
            gap = token * (1 + 0.7 * gap_load) * rng.uniform(0.85, 1.15)
            if rng.random() < stall * gap_load * 0.3:
                gap += prefill * rng.uniform(0.3, 1.2) * (2 if heavy else 1)
            gaps.append(gap)
        queue_wait = rng.uniform(0.5, 3) * (1 + 4 * gap_load) if handoff else math.nan
        inside = t < end and t >= warmup_s
        seed = seeds[int((t - warmup_s) / window_s)] if inside else 999
        if handoff:
            gaps[0] += handoff + queue_wait
        st = stages_of(wait * 1000, ttft - wait * 1000, handoff, queue_wait, sum(gaps))
        for key in ("handoff_ms", "decode_wait_ms"):
            if not handoff:
                st[key] = None
        phase = "window" if inside else "warmup" if t < warmup_s else "tail"
        outcome = "refused" if rng.random() < 0.001 else "ok"
        rows.append(row(seed, index, t * 1000, ttft, gaps, st, phase, outcome, rng.expovariate(8)))
        index += 1
    return rows, load


def trace_of(rng, placement):
    events, workers = [], (
        ["prefill-0", "decode-0"] if placement == "disaggregated" else ["colocated-0", "colocated-1"]
    )
    for i, name in enumerate(workers):
        events.append({"ph": "M", "pid": i + 1, "name": "process_name", "args": {"name": name}})
        t = 1000000.0
        while t < 9000000:
            kind = {"prefill-0": "prefill", "decode-0": "decode"}.get(name) or rng.choice(
                ["decode", "decode", "mixed"]
            )
            long = {"prefill": 70000, "decode": 21000, "mixed": 45000}[kind] * rng.uniform(0.7, 1.3)
            if rng.random() < 0.75:
                args = {
                    "prefill_rows": 64 if kind != "decode" else 0,
                    "decode_rows": 3 if kind != "prefill" else 0,
                }
                events.append(
                    {"ph": "X", "pid": i + 1, "tid": 1, "name": kind, "ts": t, "dur": long, "args": args}
                )
                if kind == "prefill":
                    events.append(
                        {"ph": "X", "pid": 2, "tid": 2, "name": "hand-off", "ts": t + long, "dur": 9000.0}
                    )
            t += long + 500
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def rich(folder, seeds=(1, 2, 3, 4, 5), window_s=20, trouble=True):
    rng = random.Random(7)
    slos = [
        ("loose", 2000, 80),
        ("chat", 800, 50),
        ("fast first token", 400, 60),
        ("smooth", 1200, 38),
        ("tight", 300, 34),
    ]
    e = Experiment(
        folder,
        "rich",
        "One prefill and one decode worker against two colocated workers",
        ["disaggregated", "chunked", "prefill-first", "chunked-64"],
        ["balanced", "prefill-heavy"],
        slos,
        ["chunked-64@prefill-heavy@7"],
    )
    tune, tune_seeds = [], (101, 102)
    for workload in ("balanced", "prefill-heavy"):
        for placement in MODELS:
            for rate in (1, 2, 3, 4, 5, 6):
                heavy = workload != "balanced"
                rows, load = rich_rows(rng, placement, heavy, rate, seeds, window_s, 20)
                over = {"workers": workers_of(placement, load), "window_s": window_s, "warmup_s": 20.0}
                if load > 1:
                    over["steady"] = {"reached": True, "unstable": True, "g": 0.3, "g_limit": 0.03}
                if trouble and placement == "chunked-64" and rate == 3 and not heavy:
                    over["state"], over["reason"] = "void", "P99 lateness 7.2 ms > 5 ms"
                    over["validity"] = {"valid": False, "reasons": ["P99 lateness 7.2 ms > 5 ms"]}
                if trouble and placement == "prefill-first" and rate == 6 and heavy:
                    over["state"], over["reason"], over["run"], rows = (
                        "failed",
                        "the cluster did not start",
                        False,
                        [],
                    )
                if trouble and placement == "prefill-first" and rate == 5 and heavy:
                    over["state"], over["run"], rows = "running", False, rows[: len(rows) // 3]
                if rate == 3 and placement in ("disaggregated", "chunked"):
                    over["trace"] = trace_of(rng, placement)
                e.cell(placement, workload, rate, rows, placement != "disaggregated", 2, seeds, **over)

        for variant, placement in (("tokens-256", "chunked"), ("tokens-64", "chunked-64")):
            rows, _ = rich_rows(rng, placement, workload != "balanced", 3, tune_seeds, window_s, 20)
            name = "chunked~" + variant
            tried = {
                "variant": variant,
                "cell": "%s@%s@3" % (name, workload),
                "set": ["x.tokens=" + variant[7:]],
            }
            tune.append(
                {"placement": "chunked", "workload": workload, "chosen": "tokens-256", "tried": [tried]}
            )
            over = {"variant": variant, "window_s": window_s, "warmup_s": 20.0}
            e.cell(name, workload, 3, rows, True, 2, tune_seeds, **over)
    e.put("tune.json", tune)


# ---- small ones ----


def one_seed(folder):
    rich(folder, (1,), 30, False)


def alone(folder):
    seeds = (1, 2, 3, 4, 5)
    e = Experiment(folder, "alone", "One placement", ["chunked"], ["w"], [("tight", 200, 50)])
    for rate, good in EXACT:
        e.cell("chunked", "w", rate, exact_rows(seeds, 100, good), True, 2, seeds)


def foreign(folder):
    seeds = (1, 2, 3, 4, 5)
    e = Experiment(folder, "foreign", "Another server", ["theirs", "ours"], ["w"], [("tight", 200, 50)])
    for rate, good in EXACT:
        rows = [dict(r, stages=None) for r in exact_rows(seeds, 100, good)]
        e.cell("theirs", "w", rate, rows, True, 1, seeds)
        e.cell("ours", "w", rate * 2, rows, False, 1, seeds)


def broken(folder):
    exact(folder)
    e = Experiment(
        folder, "broken", "Trouble <b>&amp;</b>", ["disaggregated", "chunked"], ["w"], [("tight", 200, 50)]
    )
    seeds = (1, 2, 3, 4, 5)
    rows = exact_rows(seeds, 20, 19)
    text = "".join(json.dumps(r) + "\n" for r in rows)
    e.cell("cut", "w", 1, [], False, 2, seeds, rows_text=text[:-40])
    e.cell("unreadable", "w", 1, [], False, 2, seeds, rows_text=text + "{nonsense\n" + text)
    e.cell("empty", "w", 1, [], False, 2, seeds)
    e.cell(
        "failed", "w", 1, [], False, 2, seeds, state="failed", reason="the cluster did not start", run=False
    )
    e.cell("unfinished", "w", 1, rows[:30], False, 2, seeds, state="running", run=False)
    e.cell("void", "w", 1, rows, False, 2, seeds, state="void", reason="the client's core was 93 % busy")
    os.makedirs(folder + "/cells/nothing@w@1", exist_ok=True)
    os.makedirs(folder + "/cells/odd name", exist_ok=True)
    e.put("cells/odd name/state.json", "{")
    e.put("cells/odd name/run.json", "[1]")


def all_rates(folder, good):
    seeds = (1, 2, 3, 4, 5)
    e = Experiment(
        folder, "same", "Every rate alike", ["disaggregated", "chunked"], ["w"], [("tight", 200, 50)]
    )
    for rate in (2, 4, 8):
        e.cell("chunked", "w", rate, exact_rows(seeds, 100, good), True, 2, seeds)
        e.cell("disaggregated", "w", rate, exact_rows(seeds, 100, good), False, 2, seeds)


def unstable(folder):
    seeds = (1, 2, 3, 4, 5)
    e = Experiment(
        folder, "unstable", "Queues that grow", ["disaggregated", "chunked"], ["w"], [("tight", 200, 50)]
    )
    for rate, good in ((4, 99), (5, 97), (6, 95)):
        steady = {"reached": True, "unstable": rate == 6, "g": 0.2, "g_limit": 0.03}
        for placement, part in (("chunked", 1), ("disaggregated", 2)):
            rows = exact_rows(seeds, 100, good)
            e.cell(placement, "w", rate / part, rows, part == 1, 2, seeds, steady=steady)


def undecided(folder):
    seeds = (1, 2, 3, 4, 5)
    e = Experiment(
        folder,
        "undecided",
        "Wide intervals",
        ["disaggregated", "chunked"],
        ["w", "low"],
        [("tight", 200, 50)],
    )
    below, above = (84, 92, 86, 94, 84), (88, 96, 90, 97, 89)
    for placement, workload, points in (
        ("chunked", "w", ((4, below), (5, 60))),
        ("disaggregated", "w", ((2, 99), (2.5, above))),
        ("chunked", "low", ((4, below), (5, 60))),
        ("disaggregated", "low", ((4, below), (5, 60))),
    ):
        for rate, good in points:
            rows = exact_rows(seeds, 100, good)
            e.cell(placement, workload, rate, rows, placement == "chunked", 2, seeds)


CASES = {
    "exact": exact,
    "rich": rich,
    "one-seed": one_seed,
    "alone": alone,
    "foreign": foreign,
    "broken": broken,
    "unsteady": lambda folder: exact(folder, steady={"reached": False, "unstable": False}),
    "unstable": unstable,
    "undecided": undecided,
    "easy": lambda folder: all_rates(folder, 100),
    "hard": lambda folder: all_rates(folder, 10),
}

if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in CASES:
        sys.exit(__doc__)
    CASES[sys.argv[1]](sys.argv[2])
