#!/usr/bin/env python3
"""What `vllm bench serve` (commit 009e6d4) reports for given timestamps.

  vllm_serve.py --rows     writes vllm/rows.jsonl: made-up requests with every kind of stream and of failure
  vllm_serve.py            writes vllm/numbers.json and vllm/table.txt from vllm/rows.jsonl
  vllm_serve.py --check    compares them with what is there

The formulas of its client and of its calculate_metrics in plain Python: the first event of any kind is the
first token, every later event a gap, the last one ends the request; only requests that had an event count."""

import json
import math
import os
import random
import sys

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vllm")
DURATION, RATE, CONCURRENCY = 41.5, 2.5, 8
GOODPUT = {"ttft": 300.0, "tpot": 36.0, "e2el": 2500.0}
PERCENTILES = [50.0, 90.0, 99.0, 99.9]
NS = 1e9


def make_row(rng, index, scheduled):
    sent = scheduled + rng.randrange(0, 3_000_000)
    row = {"seed": 1, "index": index, "phase": "window", "outcome": "ok", "http": 200, "error": None}
    row |= {"finish": "length", "scheduled_ns": scheduled, "sent_ns": sent, "first_ns": None, "last_ns": None}
    row |= {"end_ns": None, "prompt_asked": rng.randrange(5, 400), "output_asked": rng.randrange(1, 60)}
    row |= {"prompt_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "events": [], "stages": None}
    at, events = sent + rng.randrange(20_000_000, 500_000_000), []
    kind = index % 12
    if kind in (1, 5, 9):  # chat: a role chunk first
        events.append([at, 0])
        at += rng.randrange(1_000_000, 90_000_000)
    left = 1 if kind == 3 else row["output_asked"]
    row["output_tokens"] = left
    while left and kind != 7:
        tokens = min(left, 3 if kind == 5 and rng.random() < 0.3 else 1)
        events.append([at, tokens])
        left -= tokens
        at += rng.randrange(5_000_000, 60_000_000)
    if kind in (1, 2, 3):  # an empty chunk with the finish
        events.append([at, 0])
    if kind == 7:  # refused, broken, or nothing came
        row |= {"outcome": rng.choice(["refused", "failed", "ok"]), "error": "no", "output_tokens": 0}
    if kind == 8:  # broken in the middle
        row |= {"outcome": "failed", "error": "connection reset", "output_tokens": 0}
    if kind != 4:  # the server says how long the prompt was
        row["prompt_tokens"] = row["prompt_asked"] + 1
    content = [e[0] for e in events if e[1]]
    if content:
        row |= {"first_ns": content[0], "last_ns": content[-1]}
    return row | {"events": events, "end_ns": (events[-1][0] if events else at) + 500_000}


def make_rows():
    rng, scheduled, rows = random.Random(9), 250_000_000, []
    for index in range(100):
        rows.append(make_row(rng, index, scheduled))
        scheduled += int(rng.expovariate(RATE) * NS)
    rng.shuffle(rows)  # rows stand in the order of their ends, or in any other
    with open(os.path.join(HERE, "rows.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r, separators=(",", ":")) + "\n" for r in rows)


def percentile(values, q):
    """numpy.percentile: linear between the nearest ranks"""
    values = sorted(values)
    at = (len(values) - 1) * q / 100
    low = math.floor(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def output_of(row):
    """What its client measures, s"""
    sent, times = row["sent_ns"] / NS, [e[0] / NS for e in row["events"]]
    out = {"success": row["outcome"] == "ok" and bool(times), "start": sent, "ttft": 0.0, "latency": 0.0}
    out |= {"itl": [b - a for a, b in zip(times, times[1:])], "tokens": row["output_tokens"]}
    out |= {"prompt": row["prompt_tokens"] or row["prompt_asked"]}
    out |= {"queue": (row["sent_ns"] - row["scheduled_ns"]) / NS}
    if times:
        out |= {"ttft": times[0] - sent, "latency": times[-1] - sent}
    return out


def peaks(done):
    start = min(o["start"] for o in done)
    end = max(o["start"] + o["latency"] for o in done)
    buckets = [0] * (math.ceil(end - start) + 1)
    for o in done:
        at = o["start"] + o["ttft"]
        buckets[int(at - start)] += 1
        for gap in o["itl"]:
            at += gap
            buckets[int(at - start)] += 1
    steps = [(o["start"], 1) for o in done] + [(o["start"] + o["latency"], -1) for o in done]
    now = most = 0
    for _, step in sorted(steps):
        now += step
        most = max(most, now)
    return float(max(buckets)), most


def numbers(outputs):
    done = [o for o in outputs if o["success"]]
    tpot = {id(o): (o["latency"] - o["ttft"]) / (o["tokens"] - 1) if o["tokens"] > 1 else 0.0 for o in done}
    good = sum(
        o["ttft"] <= GOODPUT["ttft"] / 1000
        and tpot[id(o)] <= GOODPUT["tpot"] / 1000
        and o["latency"] <= GOODPUT["e2el"] / 1000
        for o in done
    )
    inputs, tokens = sum(o["prompt"] for o in done), sum(o["tokens"] for o in done)
    rate, concurrent = peaks(done)
    out = {"duration": DURATION, "completed": len(done), "failed": len(outputs) - len(done)}
    out |= {"total_input_tokens": inputs, "total_output_tokens": tokens}
    out |= {"request_throughput": len(done) / DURATION, "request_goodput": good / DURATION}
    out |= {"output_throughput": tokens / DURATION, "total_token_throughput": (inputs + tokens) / DURATION}
    out |= {"max_output_tokens_per_s": rate, "max_concurrent_requests": concurrent, "rtfx": 0.0}
    values = {
        "ttft": [o["ttft"] for o in done],
        "tpot": [tpot[id(o)] for o in done if o["tokens"] > 1],
        "itl": [gap for o in done for gap in o["itl"]],
        "e2el": [o["latency"] for o in done],
        "client_queue_time": [o["queue"] for o in done],
        "e2el_including_client_queue": [o["latency"] + o["queue"] for o in done],
    }
    for name, x in values.items():
        mean = sum(x) / len(x)
        out[f"mean_{name}_ms"] = mean * 1000
        out[f"median_{name}_ms"] = percentile(x, 50) * 1000
        out[f"std_{name}_ms"] = math.sqrt(sum((v - mean) ** 2 for v in x) / len(x)) * 1000
        for p in PERCENTILES:
            word = str(int(p)) if int(p) == p else str(p)
            out[f"p{word}_{name}_ms"] = percentile(x, p) * 1000
    return out


def table(n):
    lines = ["{s:{c}^{n}}".format(s=" Serving Benchmark Result ", n=50, c="=")]
    add = lambda label, value: lines.append("{:<40} {:<10}".format(label, value))
    real = lambda label, value: lines.append("{:<40} {:<10.2f}".format(label, value))
    add("Successful requests:", n["completed"])
    add("Failed requests:", n["failed"])
    add("Maximum request concurrency:", CONCURRENCY)
    real("Request rate configured (RPS):", RATE)
    real("Benchmark duration (s):", n["duration"])
    add("Total input tokens:", n["total_input_tokens"])
    add("Total generated tokens:", n["total_output_tokens"])
    real("Request throughput (req/s):", n["request_throughput"])
    real("Request goodput (req/s):", n["request_goodput"])
    real("Output token throughput (tok/s):", n["output_throughput"])
    real("Peak output token throughput (tok/s):", n["max_output_tokens_per_s"])
    real("Peak concurrent requests:", n["max_concurrent_requests"])
    real("Total token throughput (tok/s):", n["total_token_throughput"])
    for key, short, head in (
        ("ttft", "TTFT", "Time to First Token"),
        ("tpot", "TPOT", "Time per Output Token (excl. 1st token)"),
        ("itl", "ITL", "Inter-token Latency"),
        ("e2el", "E2EL", "End-to-end Latency"),
        ("client_queue_time", "Client Queue Time", "Client-side Queueing"),
        ("e2el_including_client_queue", "E2EL incl. Client Queue", "Queue-inclusive End-to-end Latency"),
    ):
        lines.append("{s:{c}^{n}}".format(s=head, n=50, c="-"))
        real(f"Mean {short} (ms):", n[f"mean_{key}_ms"])
        real(f"Median {short} (ms):", n[f"median_{key}_ms"])
        for p in ("50", "90", "99", "99.9"):
            real(f"P{p} {short} (ms):", n[f"p{p}_{key}_ms"])
    return "\n".join(lines + ["=" * 50]) + "\n"


def main():
    if "--rows" in sys.argv[1:]:
        make_rows()
    with open(os.path.join(HERE, "rows.jsonl"), encoding="utf-8") as f:
        n = numbers([output_of(json.loads(line)) for line in f])
    # 12 digits, so that another Python's rounding of the last ones is no difference
    rounded = {key: float(f"{value:.12g}") if isinstance(value, float) else value for key, value in n.items()}
    files = {"numbers.json": json.dumps(rounded, indent=1) + "\n", "table.txt": table(n)}
    different = []
    for name, text in files.items():
        path = os.path.join(HERE, name)
        if "--check" not in sys.argv[1:]:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        elif open(path, encoding="utf-8").read() != text:
            different.append(f"{path}: not what vllm_serve.py makes of rows.jsonl")
    print("\n".join(different) if different else "vllm_serve: the stored numbers are those of the formulas")
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())
