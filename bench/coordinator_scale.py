#!/usr/bin/env python3
"""What a request and a token cost the coordinator in CPU time, with few workers and with many.

Usage: bench/coordinator_scale.py [--workers 2,8,64,256] [--requests 4000] [--all 20000] [--rate 500]
                                  [--batch 16 | --latency NAME] [--bin build/release/bin] [--quick]
                                  [--saturate] [--colocated] [--concurrency 1000]
Clusters of mock workers serve `baton-bench serve` over the native socket, once
with answers of two tokens and once with answers of --tokens. The CPU time of all the coordinator's threads,
less what it takes idle (heartbeats) in the same time, is then

    requests * (us per request) + tokens * (us per token)

twice, which gives both. Wall time is not used, so another program beside it changes little. Every answer must
have come, with exactly as many tokens as were asked for. With 64 workers --all requests are sent, with the
other counts --requests.

--saturate: no rate, but always --concurrency requests alive; the coordinator has a core of its own,
everything else the others. They are the slower, so the coordinator idles some of the time. A control group
that gives it less of its core (--cgroup) makes it the slower one: then it works as a saturated one does."""

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
parser.add_argument("--saturate", action="store_true", help="as many as there is room for")
parser.add_argument(
    "--concurrency", type=int, default=1000, help="requests alive; a connection may have 1024"
)
parser.add_argument("--colocated", action="store_true", help="workers that do both, without hand-offs")
parser.add_argument("--prompt", type=int, default=64)
parser.add_argument("--tokens", type=int, default=34, help="at least 3")
parser.add_argument("--batch", type=float, default=16, help="requests of a decode step, roughly")
parser.add_argument("--latency", help="mock.latency; default: steps as long as --batch needs")
parser.add_argument("--cgroup", metavar="DIR", help="a control group for the coordinator, with less CPU")
parser.add_argument("--heartbeat-ms", type=int, default=1000)
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

FEW = 2  # tokens: with one the request would end where its prompt was computed, without a hand-off
PROCESSES = 4  # of prefill workers, at most
CORES = sorted(os.sched_getaffinity(0))
if args.saturate:
    os.sched_setaffinity(0, CORES[:-1])


def latency(decode, folder):
    """Decode steps so long that a worker has --batch requests in each: so a message to the coordinator has as
    many tokens whatever the number of workers."""
    if args.latency:
        return args.latency
    path = folder + "/latency.yaml"
    step_ms = 10 if args.saturate else 1000 * args.batch * decode / (args.rate * (args.tokens - 1))
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
    prefill_role = dict(role, token_budget=8192, chunk_tokens=8192)
    if args.colocated:
        decode = workers
        roles = {"colocated": dict(prefill_role, count=workers, policy="chunked")}
    else:
        roles = {"prefill": dict(prefill_role, count=prefill), "decode": dict(role, count=decode)}
    return {
        "model": {"backend": "mock"},
        "mock": {"latency": latency(decode, folder), "workers_per_process": -(-prefill // PROCESSES)},
        **roles,
        "handoff": {"ring_slots": 2, "slot_kb": 16, "segment_kb": 16},
        "limits": {
            "max_workers": workers,
            "max_requests": 32768,
            "max_queue": 32768,
            "heartbeat_ms": args.heartbeat_ms,
        },
    }


def pin(pid):
    """A core of its own for the coordinator: everything else was started on the others."""
    for tid in os.listdir("/proc/%d/task" % pid):
        os.sched_setaffinity(int(tid), CORES[-1:])
    if args.cgroup:
        with open(args.cgroup + "/cgroup.procs", "w") as f:
            f.write(str(pid))


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
    command += ["--num-prompts", str(requests), "--max-concurrency", str(args.concurrency)]
    command += ["--seed", str(tokens)]  # no two runs ask alike: the prefix cache would answer
    command += ["--request-rate", "inf" if args.saturate else str(args.rate)]
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
    if not args.profile or tokens == FEW:
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
        if args.saturate:
            pin(pid)
        serve(cluster, min(requests, 200), args.tokens)  # connections, rings
        cluster.wait_idle()
        meter = Meter(pid)
        time.sleep(args.idle)
        used, seconds = meter.since()
        idle = sum(used.values()) / seconds  # us per second
        shares = {}
        busy, rates, loads = [], [], []
        before = batches(cluster)
        for tokens in (FEW, args.tokens):
            with profile(pid, tokens):
                meter.look()
                serve(cluster, requests, tokens)
                used, seconds = meter.since()
            shares = used
            busy.append((sum(used.values()) - idle * seconds) / requests)
            rates.append(requests / seconds)
            loads.append(sum(used.values()) / seconds / 1e4)
        after = batches(cluster)
        token = (busy[1] - busy[0]) / (args.tokens - FEW)
        batch = (after[0] - before[0]) / max(after[1] - before[1], 1)
        main = shares.get("baton-coordinat", 0) / sum(shares.values())
        print(
            "| %d | %d | %.0f, %.0f | %.0f %%, %.0f %% | %.1f | "
            "%.0f | %.0f | %.0f | **%.0f** | **%.2f** | %.0f %% |"
            % (
                workers,
                requests,
                *rates,
                *loads,
                batch,
                idle,
                *busy,
                busy[0] - FEW * token,
                token,
                100 * main,
            ),
            flush=True,
        )


print(
    "Coordinator's CPU time: mock workers (%s), prompts of %d tokens, answers of 2 and of %d tokens, "
    "%s over the native socket\n"
    % (
        args.latency or ("steps of 10 ms" if args.saturate else "batches of about %g" % args.batch),
        args.prompt,
        args.tokens,
        "%d alive" % args.concurrency if args.saturate else "%g requests/s" % args.rate,
    )
)
print(
    "| workers | requests, twice | requests/s | of a core | rows per decode step | idle us/s | "
    "us per request with 2 tokens | "
    "with %d | us per request besides tokens | us per token | of it the main thread |" % args.tokens
)
print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
for count in args.workers.split(","):
    measure(int(count))
print("\nNone lost: every request was answered with all its tokens.")
