#!/usr/bin/env python3
"""Time to the first token of a chat's second turn, with its first turn in the prefix caches and without.

Usage: bench/prefix_turn.py [--model FILE] [--tokens 800] [--answer 60] [--rounds 5]
The same prompt (first prompt, its answer, 30 more tokens) is asked with the salt of the first turn and with a
fresh one, which finds nothing. One thread per worker, one request at a time; medians, from sending to the first event.
"""

import argparse
import os
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "e2e"))
from harness import *  # noqa: E402

parser = argparse.ArgumentParser()
parser.add_argument("--model", default=SMOL)
parser.add_argument("--tokens", type=int, default=800)
parser.add_argument("--answer", type=int, default=60)
parser.add_argument("--rounds", type=int, default=5)
args = parser.parse_args()


def ids(count, seed):
    return prompt_ids(count, seed, 1000, 40000)


def first_token(cluster, body):
    """In ms, and how many tokens were found."""
    at = []
    begin = time.monotonic()
    body = dict(body, stream_options={"include_usage": True}, return_token_ids=True)
    events = cluster.stream("/v1/completions", body, lambda _: at.append(time.monotonic()))
    usage = next(e["usage"] for e in reversed(events) if isinstance(e, dict) and e.get("usage"))
    return (at[0] - begin) * 1e3, usage["prompt_tokens_details"]["cached_tokens"]


print("| cluster | tokens | found | second turn, ms | without cache, ms | ratio |\n|---|---|---|---|---|---|")
for name, config in (("1 prefill + 1 decode", disaggregated()), ("1 colocated", colocated())):
    with Cluster(config, args.model) as c:
        c.complete(prompt=ids(50, 3), max_tokens=4)
        warm, cold = [], []
        for i in range(args.rounds):
            base = {"ignore_eos": True, "temperature": 0, "cache_salt": "turn %d" % i}
            prompt = ids(args.tokens, 100 + i)
            answer = c.complete(**base, prompt=prompt, max_tokens=args.answer, return_token_ids=True)
            prompt = prompt + answer["choices"][0]["token_ids"] + ids(30, 200 + i)
            body = dict(base, prompt=prompt, max_tokens=8)
            warm.append(first_token(c, body))
            cold.append(first_token(c, dict(body, cache_salt="none %d" % i)))
        assert not any(found for _, found in cold), cold
        w, k = (statistics.median(ms for ms, _ in runs) for runs in (warm, cold))
        print("| %s | %d | %d | %.0f | %.0f | %.1f %% |" % (name, len(prompt), warm[0][1], w, k, 100 * w / k))
