#!/usr/bin/env python3
"""How much of the KV hand-off is exposed, with layer groups leaving while later layers compute and without
(handoff.overlap).

Usage: bench/handoff_overlap.py [--model FILE] [--tokens 1000] [--rounds 15] [--transport shm]
Exposed time = the coordinator's stamps from P's first token to VERIFIED. Both clusters run side by side,
requests alternate, medians are compared."""

import argparse
import os
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
from harness import *  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--model", default=SMOL)
parser.add_argument("--tokens", type=int, default=1000)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--transport", default="shm")
args = parser.parse_args()


def exposed(cluster, seed):
    answer = cluster.complete(
        prompt=prompt_ids(args.tokens, seed), max_tokens=4, temperature=0, ignore_eos=True, timings=True
    )
    t = answer["usage"]["timings"]
    return t["handoff_ms"], t["prefill_ms"]


with Cluster(disaggregated(transport=args.transport), args.model) as overlapped, Cluster(
    disaggregated(transport=args.transport, handoff={"overlap": False}), args.model
) as serial:
    rows = {"overlapped": [], "serial": []}
    for i in range(args.rounds + 1):
        a, b = exposed(overlapped, i), exposed(serial, i)
        if i:  # the first of each opens the pair
            rows["overlapped"].append(a)
            rows["serial"].append(b)
    print("%d tokens over %s, %d rounds, alternating" % (args.tokens, args.transport, args.rounds))
    for name, samples in rows.items():
        h = sorted(s[0] for s in samples)
        print(
            "%-11s exposed hand-off ms: median %7.2f  min %7.2f  max %7.2f   prefill ms median %8.1f"
            % (name, statistics.median(h), h[0], h[-1], statistics.median(s[1] for s in samples))
        )
    ratio = statistics.median(s[0] for s in rows["overlapped"]) / statistics.median(
        s[0] for s in rows["serial"]
    )
    print("overlapped / serial = %.3f" % ratio)
