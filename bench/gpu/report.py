#!/usr/bin/env python3
"""Makes one table of what deploy/gpu-check.sh ran, and writes it as JSON and Markdown.

report.py WORK OUT     WORK: parts.tsv (part, status, seconds, detail), facts.tsv (name, value) and PART.jsonl
                       of every part
report.py --test       checks the rules below on made-up figures

Every figure has its value, the ceiling of the same run and the ratio to it, PyTorch's figure and the ratio to
that, and where there is a target, the target and the verdict: met, not met, or not run. Nothing is claimed
without a run. Exit status: 0 when all parts passed, else 1; a missed target is a line of the table, no error.
"""

import json
import os
import re
import sys

OF_CEILING, OF_PEER, VALUE, BELOW, OK = "of ceiling", "of PyTorch", "value", "below", "ok"

# What it is called when nothing was measured; the figures' keys and mode; how they are judged; bound. Without
# a figure: "not run".
TARGETS = [
    ("prefill attention, 2k", r"attend_prefill causal d128 32/8 batch 8 seq 2048", "default", VALUE, 220),
    ("prefill attention, 8k", r"attend_prefill causal d128 32/8 batch 2 seq 8192", "default", VALUE, 300),
    (
        "decode attention, batch 64, 4k",
        r"attend_decode d128 32/8 batch 64 ctx 4096",
        "default",
        OF_CEILING,
        0.80,
    ),
    # Which kernel the product takes by the number of rows: LINEAR_FEW_ROWS in kernels/cuda/launch.h.
    ("linear, up to 32 rows", r"linear .* rows (1|2|4|8|16|17|32)", "own", OF_PEER, 0.95),
    ("linear, more rows", r"linear .* rows (64|128|256|512|2048)", "gemm_lt", OF_PEER, 0.95),
    ("8B, decode of one sequence", r"model llama-3.1-8b decode batch 1 ctx \d+", "default", OF_CEILING, 0.75),
    ("8B, prefill of 2k tokens", r"model llama-3.1-8b prefill batch 1 ctx 2048", "default", OF_CEILING, 0.65),
    (
        "8B, host time per step",
        r"model llama-3.1-8b host time per step batch 1 ctx \d+",
        "default",
        BELOW,
        50,
    ),
    ("logits in bf16", r"logits cuda .* bf16", "default", OK, "< 2e-2"),
    ("logits in f32", r"logits cuda .* f32", "default", OK, "< 1e-4"),
    ("logits of every family", r"family .*", "", OK, "the stored answers"),
    ("1P+1D against colocated", r"serve bytes: .*", "deterministic", OK, "equal"),
    ("1P+1D by default", r"serve answers, .*", "default", OK, "all"),
    ("op tests", r"op test .*", "", OK, "all pass"),
    ("op tests under memcheck", r"memcheck .*", "", OK, "no error"),
    ("op tests under racecheck", r"racecheck .*", "", OK, "no error"),
]


def read_jsonl(path):
    out = []
    if os.path.exists(path):
        with open(path, errors="replace") as f:
            for line in f:
                if line.startswith("{"):
                    try:
                        out.append(json.loads(line))
                    except ValueError:
                        pass  # cut off by a time limit
    return out


def read_tsv(path):
    with open(path) as f:
        return [line.rstrip("\n").split("\t") for line in f]


def lower_is_better(row):
    return row["unit"] in ("us", "ms")


def best(rows):
    if not rows:
        return None
    return (
        min(rows, key=lambda r: r["value"])
        if lower_is_better(rows[0])
        else max(rows, key=lambda r: r["value"])
    )


def with_ratios(lines):
    """Baton's figures, each with its ceiling and PyTorch's figure beside it."""
    peers = [r for r in lines if r["by"] == "torch" and "error" not in r]
    ours = [dict(r) for r in lines if r["by"] == "baton" and "error" not in r and "value" in r]
    ceilings = {"copy": "copy", "gemm": "gemm 8192"}
    for row in ours:
        ceiling = best([r for r in ours + peers if r["key"] == ceilings.get(row.get("ceiling"))])
        if ceiling and ceiling["value"] > 0:
            row["ceiling_value"] = ceiling["value"]
            row["of_ceiling"] = row["value"] / ceiling["value"]
        peer = best([r for r in peers if r["key"] == row["key"] and r["unit"] == row["unit"]])
        if peer and peer["value"] > 0 and row["value"] > 0:
            row["torch"], row["torch_how"] = peer["value"], peer.get("how", "")
            row["of_torch"] = (
                peer["value"] / row["value"] if lower_is_better(row) else row["value"] / peer["value"]
            )
            if peer.get("us") and row.get(
                "us"
            ):  # the same work may be counted with other bytes: PyTorch's output head writes bf16
                row["of_torch"] = peer["us"] / row["us"]
    return ours


def judged(row, how, bound):
    """(text of the target, verdict)"""
    if how == OK:
        return str(bound), "met" if row["ok"] else "not met"
    measured = {
        VALUE: row["value"],
        BELOW: row["value"],
        OF_CEILING: row.get("of_ceiling"),
        OF_PEER: row.get("of_torch"),
    }[how]
    text = {
        VALUE: ">= %g %s" % (bound, row["unit"]),
        BELOW: "< %g %s" % (bound, row["unit"]),
        OF_CEILING: ">= %.0f %% of ceiling" % (100 * bound),
        OF_PEER: ">= %.0f %% of PyTorch" % (100 * bound),
    }[how]
    if measured is None:
        return text, "not run"
    met = measured < bound if how == BELOW else measured >= bound
    return text, "met" if met else "not met"


def add_verdicts(rows):
    """Sets target and verdict; returns the targets that nothing was measured for."""
    missing = []
    for name, pattern, mode, how, bound in TARGETS:
        hits = [r for r in rows if re.fullmatch(pattern, r["key"]) and r.get("mode") == mode]
        for row in hits:
            row["target"], row["verdict"] = judged(row, how, bound)
        if not hits:
            missing.append({"key": name, "mode": mode, "verdict": "not run"})
    return missing


def short(x):
    return "" if x is None else "%.3g" % x


def percent(x):
    return "" if x is None else "%.0f %%" % (100 * x)


COLUMNS = ["figure", "mode", "value", "unit", "ceiling", "of it", "PyTorch", "of it", "target", "verdict"]


def cells(row):
    return [
        row["key"],
        row.get("mode", ""),
        short(row.get("value")),
        row.get("unit", ""),
        short(row.get("ceiling_value")),
        percent(row.get("of_ceiling")),
        short(row.get("torch")),
        percent(row.get("of_torch")),
        row.get("target", ""),
        row.get("verdict", row.get("note", "")),
    ]


def text_table(header, rows):
    widths = [max(len(r[i]) for r in [header] + rows) for i in range(len(header))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip() for r in [header] + rows)


def markdown_table(header, rows):
    return "\n".join("| " + " | ".join(r) + " |" for r in [header, ["---"] * len(header)] + rows)


def write(work, out):
    parts = [
        dict(zip(["part", "status", "seconds", "detail"], r + [""] * 4))
        for r in read_tsv(os.path.join(work, "parts.tsv"))
    ]
    facts = dict(r[:2] for r in read_tsv(os.path.join(work, "facts.tsv")) if len(r) > 1)
    lines = []
    for part in parts:
        for line in read_jsonl(os.path.join(work, part["part"] + ".jsonl")):
            lines.append(dict(line, part=part["part"]))
    rows = with_ratios(lines)
    missing = add_verdicts(rows)
    errors = [r for r in lines if "error" in r]
    peers = [r for r in lines if r["by"] == "torch"]

    stem = os.path.join(out, "gpu-check-" + facts["date"])
    os.makedirs(out, exist_ok=True)
    with open(stem + ".json", "w") as f:
        json.dump(
            {
                "facts": facts,
                "parts": parts,
                "figures": rows,
                "targets_not_run": missing,
                "errors": errors,
                "torch": peers,
            },
            f,
            indent=1,
        )
        f.write("\n")
    part_rows = [[p["part"], p["status"], p["seconds"], p["detail"]] for p in parts]
    figure_rows = [cells(r) for r in rows] + [cells(r) for r in missing]
    error_rows = [[r["by"], r["key"], r.get("mode", r.get("how", "")), r["error"]] for r in errors]
    part_header, error_header = ["part", "result", "s", ""], ["by", "figure", "", "error"]
    with open(stem + ".md", "w") as f:
        f.write("# GPU check, %s\n\n" % facts["date"])
        f.write("".join("- %s: %s\n" % item for item in facts.items()) + "\n")
        f.write(
            "Ceilings are the best of this run, by us or by PyTorch. "
            "Times of one GPU that both roles share show the code path only.\n\n"
        )
        f.write(markdown_table(part_header, part_rows) + "\n\n" + markdown_table(COLUMNS, figure_rows) + "\n")
        if error_rows:
            f.write("\n" + markdown_table(error_header, error_rows) + "\n")
    print(text_table(COLUMNS, figure_rows))
    if error_rows:
        print("\n" + text_table(error_header, error_rows))
    print("\n" + text_table(part_header, part_rows))
    verdicts = [r["verdict"] for r in rows + missing if r.get("verdict")]
    print(
        "\ntargets: %d met, %d not met, %d not run"
        % tuple(verdicts.count(v) for v in ("met", "not met", "not run"))
    )
    print("written: %s.json and .md" % stem)
    return exit_status([p["status"] for p in parts])


def exit_status(results):
    """1 for a part that failed or hung, or when none passed; a missed target is a figure, not a failure."""
    return 1 if "passed" not in results or {"failed", "timed out"} & set(results) else 0


def test():
    def ours(key, value, unit="TB/s", mode="default", ceiling="copy", **more):
        return dict(
            {"by": "baton", "key": key, "value": value, "unit": unit, "mode": mode, "ceiling": ceiling},
            **more
        )

    def theirs(key, value, unit="TB/s"):
        return {"by": "torch", "key": key, "value": value, "unit": unit, "how": "x"}

    decode = "attend_decode d128 32/8 batch 64 ctx 4096"
    lines = [
        ours("copy", 4.0, ceiling=""),
        theirs("copy", 4.2),
        ours(decode, 3.4),
        ours(decode, 2.0, mode="deterministic"),
        ours("linear o 4096x4096 rows 1", 3.0, mode="own"),
        ours("linear o 4096x4096 rows 1", 2.0, mode="gemm_lt"),
        theirs("linear o 4096x4096 rows 1", 3.1),
        ours("sample greedy", 5.0, unit="us", ceiling=""),
        theirs("sample greedy", 10.0, unit="us"),
        ours("logits cuda a bf16", 0.5, unit="", ceiling="", ok=False),
        {"by": "baton", "key": "x", "mode": "", "error": "e"},
    ]
    rows = with_ratios(lines)
    missing = add_verdicts(rows)
    by = {(r["key"], r["mode"]): r for r in rows}
    assert (
        by[decode, "default"]["verdict"] == "met"
        and abs(by[decode, "default"]["of_ceiling"] - 3.4 / 4.2) < 1e-12
    )
    assert "verdict" not in by[decode, "deterministic"]
    assert by["linear o 4096x4096 rows 1", "own"]["verdict"] == "met"
    assert "verdict" not in by["linear o 4096x4096 rows 1", "gemm_lt"]
    assert by["sample greedy", "default"]["of_torch"] == 2.0
    timed = with_ratios(
        [ours("linear x rows 1", 4.0, mode="own", us=10.0), dict(theirs("linear x rows 1", 3.0), us=9.0)]
    )
    assert timed[0]["of_torch"] == 0.9, "time decides, not the bytes that each side counts"
    assert by["logits cuda a bf16", "default"]["verdict"] == "not met"
    assert {"8B, decode of one sequence", "1P+1D against colocated"} <= {m["key"] for m in missing}
    assert all(m["verdict"] == "not run" for m in missing) and len(missing) == len(TARGETS) - 3
    slow = with_ratios([ours("copy", 4.0, ceiling=""), ours(decode, 3.0)])
    add_verdicts(slow)
    assert slow[1]["verdict"] == "not met"
    alone = with_ratios([ours(decode, 3.0)])
    add_verdicts(alone)
    assert alone[0]["verdict"] == "not run", "without a ceiling nothing is claimed"
    assert [exit_status(r) for r in (["passed"], ["passed", "not run"])] == [0, 0]
    assert [exit_status(r) for r in (["passed", "failed"], ["passed", "timed out"], ["not run"])] == [1, 1, 1]
    print("report: rules hold")


if __name__ == "__main__":
    if sys.argv[1:] == ["--test"]:
        sys.exit(test())
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(write(sys.argv[1], sys.argv[2]))
