#!/usr/bin/env python3
"""What the coordinator adds to a request's times.

Usage: bench/coordinator_latency.py [--requests 200] [--bin build/release/bin]
       bench/coordinator_latency.py --idle 512 [--active 64] [--tokens 200] [--bin build/release/bin]

The first form sends requests one after the other, each when the one before has ended, by the native
socket and by HTTP, to two mock workers, and reads the coordinator's own stamps (baton_route_seconds: a prompt
was ids until a worker's connection had its PREFILL; baton_answer_seconds: the first token came until the
client's connection had its text; baton_added_seconds: both of one request).

The second form measures the gaps between tokens that --active streams see by HTTP, beside one other and
beside --idle others, whose decode worker takes 20 s for a step. The coordinator has a core of its own,
everything else the others."""

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))

parser = argparse.ArgumentParser()
parser.add_argument("--requests", type=int, default=200)
parser.add_argument("--idle", type=int, default=0, help="streams that wait for a slow worker")
parser.add_argument("--active", type=int, default=64)
parser.add_argument("--tokens", type=int, default=200)
parser.add_argument("--step-ms", type=float, default=10, help="of a decode worker")
parser.add_argument("--bin", help="folder of the programs; default: BATON_BIN, or build/release/bin")
args = parser.parse_args()
os.environ["BATON_BIN"] = args.bin or os.environ.get(
    "BATON_BIN", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build/release/bin")
)
from harness import *  # noqa: E402

CORES = sorted(os.sched_getaffinity(0))
SLOW_STEP_MS = 20000


def config(folder, name, step_ms, seqs):
    path = "%s/%s.yaml" % (folder, name)
    with open(path, "w") as f:
        f.write("prefill: {alpha_ms: 2, beta_ms: 0, gamma_ms: 0}\n")
        f.write("decode: {alpha_ms: %g, beta_ms: 0, gamma_ms: 0}\n" % step_ms)
    role = {"kv_pages": 65536, "max_seqs": seqs}
    return {
        "model": {"backend": "mock"},
        "mock": {"latency": path},
        "prefill": dict(role, count=1, token_budget=8192, chunk_tokens=8192),
        "decode": dict(role, count=1),
        "handoff": {"ring_slots": 2, "slot_kb": 16, "segment_kb": 16},
        "limits": {"max_workers": 3, "heartbeat_ms": 1000},
    }


@contextlib.contextmanager
def pinned(settings):
    """A cluster whose coordinator has a core of its own."""
    os.sched_setaffinity(0, CORES[:-1] or CORES)
    with Cluster(settings, "random:mock") as cluster:
        (pid,) = cluster.pids("baton-coordinator")
        for tid in os.listdir("/proc/%d/task" % pid):
            os.sched_setaffinity(int(tid), CORES[-1:])
        yield cluster


def serve(cluster, backend, requests, concurrency, tokens):
    """Runs the load generator; its result as vLLM's JSON."""
    port = cluster.client_port if backend == "native" else cluster.http_port
    command = [BIN + "/baton-bench", "serve", "--backend", backend, "--port", str(port)]
    command += ["--num-prompts", str(requests), "--request-rate", "inf", "--seed", "1", "--quiet"]
    command += ["--max-concurrency", str(concurrency), "--prompt-ids", "300:400", "--no-self-test"]
    command += [
        "--random-input-len",
        "64",
        "--random-output-len",
        str(tokens),
        "--metric-percentiles",
        "50,99",
    ]
    command += ["--percentile-metrics", "ttft,itl"]
    command += ["--save-result", "--result-dir", cluster.dir.name, "--result-filename", "result.json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode in (0, 3), done.stdout + done.stderr  # 3: the client was late
    with open(cluster.dir.name + "/result.json") as f:
        result = json.load(f)
    assert result["completed"] == requests, result
    return result


def buckets(cluster, name):
    """Observations so far up to each bound."""
    out = {}
    for series, value in cluster.metrics().items():
        if series.startswith(name + "_bucket"):
            bound = series.split('le="')[1].split('"')[0]
            out[float("inf") if bound == "+Inf" else float(bound)] = value
    return out


def quantile(before, after, q):
    """The bound that a share q of the observations between two looks is not above, in microseconds."""
    total = after[float("inf")] - before[float("inf")]
    assert total >= args.requests, "%g observations" % total
    return min(bound for bound in after if after[bound] - before[bound] >= q * total) * 1e6


def one_at_a_time(folder):
    print(
        "| front | requests | route, 50 % | 99 % | answer, 50 % | 99 % | both, 50 % | 99 % | "
        "client's TTFT p50 |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    with Cluster(config(folder, "fast", args.step_ms, 64), "random:mock") as cluster:
        for backend in ("native", "openai"):
            serve(cluster, backend, 20, 1, 4)
            names = ("baton_route_seconds", "baton_answer_seconds", "baton_added_seconds")
            before = [buckets(cluster, name) for name in names]
            result = serve(cluster, backend, args.requests, 1, 4)
            after = [buckets(cluster, name) for name in names]
            bounds = [quantile(b, a, q) for b, a in zip(before, after) for q in (0.5, 0.99)]
            print(
                "| %s | %d | %s | %.2f ms |"
                % (
                    backend,
                    args.requests,
                    " | ".join("< %.0f us" % bound for bound in bounds),
                    result["p50_ttft_ms"],
                ),
                flush=True,
            )


def open_stream(cluster):
    """Asks for a stream and reads until its first token came."""
    s = socket.create_connection(("127.0.0.1", cluster.http_port), timeout=300)
    body = json.dumps({"model": "random:mock", "prompt": [300] * 64, "max_tokens": 1000, "stream": True})
    s.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body.encode())
    )
    got = b""
    while b"\ndata: " not in got:
        piece = s.recv(65536)
        assert piece, got
        got += piece
    assert got.startswith(b"HTTP/1.1 200"), got
    return s


def gaps(cluster, idle):
    result = serve(cluster, "openai", 2 * args.active, args.active, args.tokens)
    print(
        "| %d | %d | %d | %.2f ms | **%.2f ms** | **%.2f ms** |"
        % (
            idle,
            args.active,
            result["total_output_tokens"],
            result["mean_itl_ms"],
            result["p50_itl_ms"],
            result["p99_itl_ms"],
        ),
        flush=True,
    )


def beside(folder, count):
    """One decode worker is filled with the idle ones, and a second one has room for the active ones."""
    config(folder, "fast", args.step_ms, args.active)
    with pinned(config(folder, "slow", SLOW_STEP_MS, count)) as cluster:
        idle = [open_stream(cluster) for _ in range(count)]
        second = dict(cluster.config, mock={"latency": folder + "/fast.yaml"})
        second["decode"] = dict(second["decode"], max_seqs=args.active)
        path = folder + "/second.yaml"
        with open(path, "w") as f:
            f.write(yaml(second))
        command = [BIN + "/baton-decode", path]
        with open(cluster.log_path, "a") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        cluster.extra.append(process)
        ready = lambda: cluster.metric("baton_worker_up", state="ready")  # noqa: E731
        wait_for("the second decode worker", lambda: ready() == 3)
        gaps(cluster, count)
        for s in idle:
            s.close()


def beside_idle_ones(folder):
    print("| idle streams | active | tokens | ITL mean | p50 | p99 |")
    print("|---|---|---|---|---|---|", flush=True)
    for count in (1, args.idle) * 2:
        beside(folder, count)


with tempfile.TemporaryDirectory() as scratch:
    beside_idle_ones(scratch) if args.idle else one_at_a_time(scratch)
