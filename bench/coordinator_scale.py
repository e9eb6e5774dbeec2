#!/usr/bin/env python3
"""What a request and a token cost the coordinator in CPU time, with few workers and with many.

Usage: bench/coordinator_scale.py [--workers 2,8,64,256] [--requests 4000] [--all 20000] [--rate 500]
                                  [--batch 16 | --latency NAME] [--bin build/release/bin] [--quick]
Clusters of mock workers serve `baton-bench serve` over the native socket, once
with answers of one token and once with answers of --tokens. The CPU time of all the coordinator's threads,
less what it takes idle (heartbeats) in the same time, is then

    requests * (us per request) + tokens * (us per token)

twice, which gives both. Wall time is not used, so another program beside it changes little. Every answer must
have come, with exactly as many tokens as were asked for. With 64 workers --all requests are sent, with the
other counts --requests."""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))

parser = argparse.ArgumentParser()
parser.add_argument("--workers", default="2,8,64,256")
parser.add_argument("--requests", type=int, default=4000)
parser.add_argument("--all", type=int, default=20000)
parser.add_argument("--rate", type=float, default=500)
parser.add_argument("--prompt", type=int, default=64)
parser.add_argument("--tokens", type=int, default=33)
parser.add_argument("--batch", type=float, default=16, help="requests of a decode step, roughly")
parser.add_argument("--latency", help="mock.latency; default: steps as long as --batch needs")
parser.add_argument("--idle", type=float, default=5, help="seconds of watching the idle cluster")
parser.add_argument("--bin", help="folder of the programs; default: BATON_BIN, or build/release/bin")
parser.add_argument("--profile", metavar="FILE", help="perf.data of the last cluster's coordinator")
parser.add_argument("--quick", action="store_true", help="2 and 16 workers, 300 requests")
args = parser.parse_args()
if args.quick:
    args.workers, args.requests, args.all, args.idle = "2,16", 300, 300, 0.5
os.environ["BATON_BIN"] = args.bin or os.environ.get(
    "BATON_BIN", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build/release/bin")
)
from harness import *  # noqa: E402

PROCESSES = 4  # of prefill workers, at most


def latency(decode, folder):
    """Decode steps so long that a worker has --batch requests in each: so a message to the coordinator has as
    many tokens whatever the number of workers."""
    if args.latency:
        return args.latency
    path = folder + "/latency.yaml"
    step_ms = 1000 * args.batch * decode / (args.rate * (args.tokens - 1))
    with open(path, "w") as f:
        f.write("prefill: {alpha_ms: 2, beta_ms: 0, gamma_ms: 0}\n")
        f.write("decode: {alpha_ms: %.3f, beta_ms: 0, gamma_ms: 0}\n" % step_ms)
    return path


def mock(workers, folder):
    """One worker in eight decodes, so that with 256 of them one connection may have all requests that are
    alive (1024)."""
    decode = max(workers // 8, 1)
    prefill = workers - decode
    role = {"kv_pages": 8192, "max_seqs": 1024}
    return {
        "model": {"backend": "mock"},
        "mock": {"latency": latency(decode, folder), "workers_per_process": -(-prefill // PROCESSES)},
        "prefill": dict(role, count=prefill, token_budget=8192, chunk_tokens=8192),
        "decode": dict(role, count=decode),
        "handoff": {"ring_slots": 2, "slot_kb": 16, "segment_kb": 16},
        "limits": {"max_workers": workers, "max_requests": 32768, "max_queue": 32768, "heartbeat_ms": 1000},
    }


def cpu_us(pid):
    """CPU time of each thread of the process so far, summed by the thread's name."""
    threads = {}
    for tid in os.listdir("/proc/%d/task" % pid):
        folder = "/proc/%d/task/%s/" % (pid, tid)
        with open(folder + "comm") as f:
            name = f.read().strip()
        with open(folder + "schedstat") as f:
            threads[name] = threads.get(name, 0) + int(f.read().split()[0]) / 1000
    return threads


def serve(cluster, requests, tokens):
    """Sends them; fails unless every one was answered in full."""
    out = tempfile.mkdtemp(prefix="run-", dir=cluster.dir.name)
    command = [BIN + "/baton-bench", "serve", "--backend", "native", "--port", str(cluster.client_port)]
    command += ["--num-prompts", str(requests), "--request-rate", str(args.rate), "--seed", "1"]
    command += ["--max-concurrency", "1000"]  # a connection may have 1024
    command += ["--random-input-len", str(args.prompt), "--random-output-len", str(tokens)]
    command += ["--prompt-ids", "300:400", "--no-self-test", "--quiet", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3600)
    # 3: the client was late, which is nothing to what is measured here.
    assert done.returncode in (0, 3), done.stdout + done.stderr
    with open(out + "/rows.jsonl") as f:
        rows = [json.loads(line) for line in f]
    bad = [r for r in rows if r["outcome"] != "ok" or r["output_tokens"] != tokens]
    assert len(rows) == requests, "%d requests, %d rows" % (requests, len(rows))
    assert not bad, "%d of %d requests were not answered in full: %s" % (len(bad), requests, bad[:3])


class Meter:
    """The coordinator's CPU time between two looks."""

    def __init__(self, pid):
        self.pid = pid
        self.look()

    def look(self):
        self.threads, self.at = cpu_us(self.pid), time.monotonic()

    def since(self):
        now, at = cpu_us(self.pid), time.monotonic()
        used = {name: us - self.threads.get(name, 0) for name, us in now.items()}
        seconds = at - self.at
        self.threads, self.at = now, at
        return used, seconds


@contextlib.contextmanager
def profile(pid, tokens):
    """perf runs beside the block, where it was asked for."""
    if not args.profile or tokens == 1:
        yield
        return
    command = ["perf", "record", "-q", "-g", "-e", "cpu-clock", "-F", "2000"]
    command += ["-o", args.profile, "-p", str(pid)]
    perf = subprocess.Popen(command)
    try:
        yield
    finally:
        perf.send_signal(signal.SIGINT)
        perf.wait(60)


def batches(cluster):
    """Rows and steps of decoding so far, as heartbeats told."""
    return cluster.metric("baton_decode_rows_total"), cluster.metric("baton_decode_steps_total")


def measure(workers):
    requests = args.all if workers == 64 else args.requests
    with tempfile.TemporaryDirectory() as folder, Cluster(mock(workers, folder), "random:mock") as cluster:
        (pid,) = cluster.pids("baton-coordinator")
        serve(cluster, min(requests, 200), args.tokens)  # connections, rings
        cluster.wait_idle()
        meter = Meter(pid)
        time.sleep(args.idle)
        used, seconds = meter.since()
        idle = sum(used.values()) / seconds  # us per second
        shares = {}
        busy = []
        before = batches(cluster)
        for tokens in (1, args.tokens):
            with profile(pid, tokens):
                meter.look()
                serve(cluster, requests, tokens)
                used, seconds = meter.since()
            shares = used
            busy.append((sum(used.values()) - idle * seconds) / requests)
        after = batches(cluster)
        token = (busy[1] - busy[0]) / (args.tokens - 1)
        batch = (after[0] - before[0]) / max(after[1] - before[1], 1)
        main = shares.get("baton-coordinat", 0) / sum(shares.values())
        print(
            "| %d | %d | %.1f | %.0f | %.0f | %.0f | **%.0f** | **%.2f** | %.0f %% |"
            % (workers, requests, batch, idle, busy[0], busy[1], busy[0] - token, token, 100 * main),
            flush=True,
        )


print(
    "Coordinator's CPU time: mock workers (%s), prompts of %d tokens, answers of 1 and of %d tokens, "
    "%g requests/s over the native socket\n"
    % (args.latency or "batches of about %g" % args.batch, args.prompt, args.tokens, args.rate)
)
print(
    "| workers | requests, twice | rows per decode step | idle us/s | us per request with 1 token | "
    "with %d | us per request besides tokens | us per token | of it the main thread |" % args.tokens
)
print("|---|---|---|---|---|---|---|---|---|", flush=True)
for count in args.workers.split(","):
    measure(int(count))
print("\nNone lost: every request was answered with all its tokens.")
