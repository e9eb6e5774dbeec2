#!/usr/bin/env python3
"""What a cluster is worth when more is asked of it than it can do: goodput by rate, up to three times its
capacity, with admission by time (limits.ttft_goal_ms) and with all let in.

Usage: bench/overload.py [--rates 30,40,...] [--factor 3] [--modes admission,none] [--placement 1p1d|2w]
                         [--window 15] [--warmup 10] [--bin build/release/bin] [--quick]
Mock workers, so that steps take the same time on any machine that is not busy; `baton-bench serve` asks over
HTTP. Goodput: requests per second whose first token came within --ttft and whose later ones came --tpot apart
in the mean. The last rate is --factor times the one with the best goodput. A run that voids itself (its
client was late) says so in the last column and should be repeated."""

import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))

parser = argparse.ArgumentParser()
parser.add_argument("--rates", default="20,30,35,40,45,50,60", help="requests per second")
parser.add_argument(
    "--factor", type=float, default=3, help="the last rate, in those of the best goodput; 0: none"
)
parser.add_argument("--modes", default="admission,none")
parser.add_argument("--placement", default="1p1d", choices=["1p1d", "2w"])
parser.add_argument("--ttft", type=int, default=1000, help="ms; also limits.ttft_goal_ms")
parser.add_argument("--tpot", type=int, default=50, help="ms")
parser.add_argument("--prompt", type=int, default=512, help="tokens; lengths vary by half of it either way")
parser.add_argument("--tokens", type=int, default=16, help="of an answer; likewise")
parser.add_argument("--timeout", type=int, default=10, help="s: clients wait no longer")
parser.add_argument("--peak", type=float, default=0, help="goodput to compare with, known from another call")
parser.add_argument("--warmup", type=int, default=10, help="seconds")
parser.add_argument("--window", type=int, default=15, help="seconds")
parser.add_argument("--bin", help="folder of the programs; default: BATON_BIN, or build/release/bin")
parser.add_argument("--quick", action="store_true", help="one rate, short runs")
args = parser.parse_args()
if args.quick:
    args.rates, args.warmup, args.window = "40", 2, 3
os.environ["BATON_BIN"] = args.bin or os.environ.get(
    "BATON_BIN", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build/release/bin")
)
from harness import *  # noqa: E402

# A prompt of 512 tokens takes 20 ms, a decode step of 16 sequences 11.6 ms.
LATENCY = """prefill: {alpha_ms: 5, beta_ms: 0.03, gamma_ms: 0}
decode: {alpha_ms: 10, beta_ms: 0.1, gamma_ms: 0}
"""


def config(mode, folder):
    with open(folder + "/latency.yaml", "w") as f:
        f.write(LATENCY)
    role = {"kv_pages": 8192, "max_seqs": 64, "token_budget": 1024, "chunk_tokens": 1024}
    roles = {"prefill": dict(role, count=1), "decode": {"count": 1, "kv_pages": 8192, "max_seqs": 64}}
    if args.placement == "2w":
        roles = {"colocated": dict(role, count=2, policy="chunked", token_budget=256, chunk_tokens=256)}
    return {
        "model": {"backend": "mock"},
        "mock": {"latency": folder + "/latency.yaml"},
        **roles,
        "limits": {
            "max_requests": 100000,
            "max_queue": 100000,
            "max_queue_tokens": 100000000,
            "ttft_goal_ms": args.ttft if mode == "admission" else 0,
        },
    }


def run(cluster, rate):
    """What became of the requests of one window, and its goodput."""
    out = tempfile.mkdtemp(prefix="run-", dir=cluster.dir.name)
    command = [BIN + "/baton-bench", "serve", "--backend", "openai", "--port", str(cluster.http_port)]
    command += ["--request-rate", str(rate), "--seeds", "1", "--request-timeout", str(args.timeout)]
    command += ["--warmup", str(args.warmup), "--window", str(args.window)]
    command += ["--random-input-len", str(args.prompt), "--random-output-len", str(args.tokens)]
    command += [
        "--random-range-ratio",
        "0.5",
        "--prompt-ids",
        "300:400",
        "--prompt-salt",
        str(int(rate * 10)),
    ]
    command += ["--goodput", "ttft:%d" % args.ttft, "tpot:%d" % args.tpot]
    command += ["--no-self-test", "--quiet", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 3), done.stdout + done.stderr  # 3: void
    with open(out + "/rows.jsonl") as f:
        rows = [json.loads(line) for line in f]
    with open(out + "/run.json") as f:
        facts = json.load(f)
    counts = {}
    for row in rows:
        if row["phase"] == "window":
            counts[row["outcome"]] = counts.get(row["outcome"], 0) + 1
    return facts["result"], counts, facts["validity"]["reasons"]


def line(mode, rate, peak):
    """One row of the table; returns the goodput."""
    with tempfile.TemporaryDirectory() as folder, Cluster(config(mode, folder), "random:mock") as cluster:
        result, counts, void = run(cluster, rate)
    good = result["request_goodput"]
    total = sum(counts.values())
    shares = [100 * counts.pop(what, 0) / total for what in ("ok", "refused")]
    print(
        "| %s | %g | %.1f | %s | %.0f %% | %.0f %% | %.0f %% | %.0f | %.0f | %s |"
        % (
            mode,
            rate,
            good,
            "%.0f %%" % (100 * good / peak) if peak else "",
            100 * good * args.window / total,
            shares[1],
            100 - sum(shares),
            result["median_ttft_ms"] or 0,
            result["p99_ttft_ms"] or 0,
            "; ".join(void),
        ),
        flush=True,
    )
    return good


if __name__ == "__main__":
    print(
        "Placement %s, prompts of %d and answers of %d tokens (+- 50 %%), good: TTFT <= %d ms and TPOT <= "
        "%d ms; clients leave after %d s.\n"
        % (args.placement, args.prompt, args.tokens, args.ttft, args.tpot, args.timeout)
    )
    print(
        "| mode | requests/s asked | good/s | of the peak | of all | refused | given up | TTFT p50, ms "
        "| p99 | void |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for mode in args.modes.split(","):
        peak, best = args.peak, 0
        for rate in [float(r) for r in args.rates.split(",") if r]:
            good = line(mode, rate, args.peak)
            if good > peak:
                peak, best = good, rate
        if args.factor and best:
            line(mode, args.factor * best, peak)
