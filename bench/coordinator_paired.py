#!/usr/bin/env python3
"""What a request and a token cost one coordinator beside another, by HTTP, in turns.

Usage: bench/coordinator_paired.py --beside FOLDER [--runs 8] [--bin build/release/bin]
       bench/coordinator_paired.py --keys [--runs 8] [--bin build/release/bin]

Each run is a cluster of its own: coordinator, mock workers (1 prefill, 1 decode) and `baton-bench serve` by
HTTP, which streams; the coordinator has a core of its own, everything else the others. --beside: the programs
of another version, in turns with those of --bin, the load generator excepted. --keys: the same programs, in
turns without and with cluster.key_file (CURVE on the control socket). The CPU time, user and system, of all
the coordinator's threads for answers of two tokens and for longer ones gives

    requests * (us per request) + tokens * (us per token)

Printed are the medians of both, and of the ratios of each pair of runs, with the smallest and the largest."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests", "e2e"))

parser = argparse.ArgumentParser()
parser.add_argument("--beside", metavar="FOLDER", help="programs of the other version")
parser.add_argument("--keys", action="store_true")
parser.add_argument("--runs", type=int, default=8)
parser.add_argument("--few", type=int, default=500, help="requests of two tokens")
parser.add_argument("--many", type=int, default=120, help="requests of --tokens")
parser.add_argument("--tokens", type=int, default=130)
parser.add_argument("--bin", help="folder of the programs; default: BATON_BIN, or build/release/bin")
args = parser.parse_args()
if bool(args.beside) == args.keys:
    parser.error("want --beside FOLDER, or --keys")
os.environ["BATON_BIN"] = args.bin or os.environ.get("BATON_BIN", HERE + "/../build/release/bin")
from harness import *  # noqa: E402

FEW = 2
CORES = sorted(os.sched_getaffinity(0))
os.sched_setaffinity(0, CORES[:-1] or CORES)
LATENCY = "prefill: {alpha_ms: 1, beta_ms: 0, gamma_ms: 0}\ndecode: {alpha_ms: 2, beta_ms: 0, gamma_ms: 0}\n"
ROLE = {"count": 1, "kv_pages": 8192, "max_seqs": 64}


def config(folder, keyed):
    over = {
        "model": {"backend": "mock"},
        "mock": {"latency": folder + "/latency.yaml"},
        "prefill": dict(ROLE, token_budget=8192, chunk_tokens=8192),
        "decode": ROLE,
        "handoff": {"ring_slots": 2, "slot_kb": 16, "segment_kb": 16},
    }
    return dict(over, cluster={"key_file": folder + "/keys/cluster.key"}) if keyed else over


def cpu_us(pid):
    """Of all threads so far."""
    total = 0
    for tid in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, tid)) as f:
            total += int(f.read().split()[0])
    return total / 1000


def serve(cluster, requests, tokens, seed):
    """us of CPU time per request. No two runs against one cluster ask alike (seed): the prefix cache would
    answer."""
    (pid,) = cluster.pids("baton-coordinator")
    command = [BIN + "/baton-bench", "serve", "--port", str(cluster.http_port), "--request-rate", "inf"]
    command += ["--num-prompts", str(requests), "--max-concurrency", "8", "--seed", str(seed), "--quiet"]
    command += ["--random-input-len", "64", "--random-output-len", str(tokens), "--prompt-ids", "300:400"]
    out = tempfile.mkdtemp(prefix="run-", dir=cluster.dir.name)
    command += ["--no-self-test", "--out", out]
    before = cpu_us(pid)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 3), done.stdout + done.stderr  # 3: the client was late
    used = cpu_us(pid) - before
    with open(out + "/rows.jsonl") as f:
        rows = [json.loads(line) for line in f]
    good = [r for r in rows if r["outcome"] == "ok" and r["output_tokens"] == tokens]
    assert len(good) == requests, "%d of %d were answered in full" % (len(good), requests)
    return used / requests


def measure(folder, programs, keyed):
    """(us per request besides its tokens, us per token)"""
    cluster = Cluster(config(folder, keyed), "random:mock", start=False)
    cluster.bin = programs
    with cluster:
        cluster.start()
        (pid,) = cluster.pids("baton-coordinator")
        for tid in os.listdir("/proc/%d/task" % pid):
            os.sched_setaffinity(int(tid), CORES[-1:])
        serve(cluster, 50, FEW, 1)  # connections, rings, pages of memory
        few, many = serve(cluster, args.few, FEW, 2), serve(cluster, args.many, args.tokens, 3)
    token = (many - few) / (args.tokens - FEW)
    return few - FEW * token, token


def main():
    here = os.environ["BATON_BIN"]
    sides = [(args.beside or here, False), (here, args.keys)]
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/latency.yaml", "w") as f:
            f.write(LATENCY)
        if args.keys:
            subprocess.run([BIN + "/baton-ctl", "keygen", folder + "/keys"], check=True, capture_output=True)
        seen = ([], [])
        for run in range(args.runs):
            for side in (0, 1) if run % 2 == 0 else (1, 0):
                seen[side].append(measure(folder, *sides[side]))
                print(
                    "run %d, %s: %.1f us per request, %.2f us per token" % (run, "AB"[side], *seen[side][-1])
                )
                sys.stdout.flush()
    names = ("without keys", "with keys") if args.keys else ("beside", "here")
    print(
        "\n| us of CPU time, median of %d | %s | %s | ratio of pairs: median, range |" % (args.runs, *names)
    )
    print("|---|---|---|---|")
    for i, what in enumerate(("a request, its tokens apart", "a token")):
        a, b = ([run[i] for run in side] for side in seen)
        ratios = [y / x for x, y in zip(a, b)]
        row = (what, statistics.median(a), statistics.median(b), statistics.median(ratios))
        print("| %s | %.2f | %.2f | %.3f, %.3f to %.3f |" % (*row, min(ratios), max(ratios)))


main()
