#!/usr/bin/env python3
"""How much of the KV hand-off is exposed, with layer groups leaving while later layers compute and without
(handoff.overlap).

Usage: bench/handoff_overlap.py [--model FILE] [--tokens 128,1000] [--rounds 15] [--transport shm]
Exposed time = the coordinator's stamps from P's first token to VERIFIED. Both clusters run side by side,
requests alternate, medians are compared. Of prompts above 1,000 tokens there are fewer rounds, 3 at least."""

import argparse
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
from harness import *  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--model", default=SMOL)
parser.add_argument("--tokens", type=lambda text: [int(n) for n in text.split(",")], default=[1000])
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--transport", default="shm")
args = parser.parse_args()


def exposed(cluster, tokens, seed):
    body = {"prompt": prompt_ids(tokens, seed), "max_tokens": 4, "temperature": 0, "ignore_eos": True}
    t = cluster.complete(**body, timings=True)["usage"]["timings"]
    return t["handoff_ms"], t["prefill_ms"]


def compare(overlapped, serial, tokens):
    rows = {"overlapped": [], "serial": []}
    rounds = min(args.rounds, max(3, args.rounds * 1000 // tokens))
    for i in range(rounds):
        rows["overlapped"].append(exposed(overlapped, tokens, i))
        rows["serial"].append(exposed(serial, tokens, i))
    print("%d tokens over %s, %d rounds, alternating" % (tokens, args.transport, rounds))
    for name, samples in rows.items():
        h = sorted(s[0] for s in samples)
        prefill = statistics.median(s[1] for s in samples)
        print(
            "%-11s exposed hand-off ms: median %7.2f  min %7.2f  max %7.2f   prefill ms median %8.1f"
            % (name, statistics.median(h), h[0], h[-1], prefill)
        )
    median = {name: statistics.median(s[0] for s in samples) for name, samples in rows.items()}
    print("overlapped / serial = %.3f" % (median["overlapped"] / median["serial"]), flush=True)


with Cluster(disaggregated(transport=args.transport), args.model) as overlapped, Cluster(
    disaggregated(transport=args.transport, handoff={"overlap": False}), args.model
) as serial:
    for cluster in (overlapped, serial):
        exposed(cluster, 100, 99)  # the first of each warms up
    for tokens in args.tokens:
        compare(overlapped, serial, tokens)
