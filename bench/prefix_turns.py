#!/usr/bin/env python3
"""TTFT of a chat's first turn, and of its second one, whose history lies in the workers' prefix caches.

Usage: bench/prefix_turns.py [--model FILE] [--tokens 800] [--chats 8] [--answer 32]
                             [--placement 1p1d|colocated] [--off] [--limit 0.25]
Each chat begins with a text of its own of so many tokens; its second turn is that, the answer, and a short
new question. Between the two turns of a chat another one begins and one ends, so the cache is never asked
for what it saw last. TTFT is the client's: from the request to the first event of the stream. --off: without
the cache. Exit status 1 when the median ratio is above --limit."""

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
parser.add_argument("--chats", type=int, default=8)
parser.add_argument("--answer", type=int, default=32)
parser.add_argument("--placement", choices=["1p1d", "colocated"], default="1p1d")
parser.add_argument("--off", action="store_true")
parser.add_argument("--limit", type=float, default=0.0)
args = parser.parse_args()

WORDS = (
    "river mountain letter window garden number captain winter market copper forest engine bridge "
    "paper shadow signal harbor summer doctor village yellow planet silver corner island thunder "
    "basket morning"
).split()
QUESTION = "Thank you. Which of these words is the longest one?"


def count_tokens(cluster, messages):
    status, answer = cluster.post("/tokenize", {"messages": messages})
    assert status == 200, answer
    return answer["count"]


def text_of(cluster, chat):
    """A first message that makes a prompt of about args.tokens tokens, unlike any other chat's."""
    random = Random(1000 + chat)
    words = ["Chat %d." % chat]
    message = [{"role": "user", "content": ""}]
    while True:
        words += [WORDS[random.below(len(WORDS))] for _ in range(16)]
        message[0]["content"] = " ".join(words)
        have = count_tokens(cluster, message)
        if have >= args.tokens - 16:
            return message


def turn(cluster, messages):
    """TTFT in ms, the answer, and how much of the prompt was cached."""
    body = {"messages": messages, "max_tokens": args.answer, "temperature": 0, "ignore_eos": True}
    start, first, text = time.perf_counter(), [], []

    def on_event(event):
        if not first:
            first.append(time.perf_counter())
        if event != "[DONE]" and event["choices"]:
            text.append(event["choices"][0]["delta"].get("content") or "")

    events = cluster.stream(
        "/v1/chat/completions", dict(body, stream_options={"include_usage": True}), on_event
    )
    usage = events[-2]["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return (first[0] - start) * 1e3, "".join(text), usage["prompt_tokens"], cached


def line(name, rows):
    ms = sorted(r[0] for r in rows)
    print(
        "| %s | %d | %d | %.1f | %.1f to %.1f |"
        % (
            name,
            statistics.median(r[2] for r in rows),
            statistics.median(r[3] for r in rows),
            statistics.median(ms),
            ms[0],
            ms[-1],
        )
    )


config = disaggregated() if args.placement == "1p1d" else colocated()
if args.off:
    config = merge(config, {"model": {"prefix_cache": False}})
with Cluster(config, args.model) as c:
    chats = [text_of(c, i) for i in range(args.chats)]
    turn(c, [{"role": "user", "content": "Warm up."}])
    first, second = {}, {}
    for i in range(args.chats + 2):
        if i < args.chats:
            first[i] = turn(c, chats[i])
        if i >= 2:
            history = chats[i - 2] + [{"role": "assistant", "content": first[i - 2][1]}]
            second[i - 2] = turn(c, history + [{"role": "user", "content": QUESTION}])
    ratios = sorted(second[i][0] / first[i][0] for i in range(args.chats))
    print("%s, prefix cache %s, %d chats:\n" % (args.placement, "off" if args.off else "on", args.chats))
    print("| turn | prompt tokens | cached | TTFT ms, median | least to most |\n|---|---|---|---|---|")
    line("first", list(first.values()))
    line("second", list(second.values()))
    ratio = statistics.median(ratios)
    print("\nsecond / first: median %.3f, %.3f to %.3f" % (ratio, ratios[0], ratios[-1]), flush=True)
if args.limit and ratio > args.limit:
    sys.exit("the second turn takes more than %.2f of the first one's TTFT" % args.limit)
