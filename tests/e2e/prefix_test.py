#!/usr/bin/env python3
"""Prompts that begin alike: the same answers as without a prefix cache, wherever the beginning was found.

prefix_test.py              on the generated checkpoint
"""

import sys

from harness import *

TOKENS = 24


def stories():
    """Bodies whose prompts begin alike: whole, a part, a page and one token, twice the same, an answer."""
    base = prompt_ids(400, 7)
    lengths = [400, 400, 160, 161, 16, 17, 399]
    out = [{"prompt": base[:n]} for n in lengths]
    out += [{"prompt": base[:n] + prompt_ids(60, 8 + n)} for n in (0, 15, 16, 200, 400)]
    for i, body in enumerate(out):
        body.update(max_tokens=TOKENS, ignore_eos=True, logprobs=1, temperature=0.8, seed=40 + i)
    return out


def ask(cluster, bodies, at_once=1):
    return parallel(at_once, lambda body: cluster.complete(**body), bodies)


def choices(answers):
    return [a["choices"] for a in answers]


def cached(answers):
    return [a["usage"]["prompt_tokens_details"]["cached_tokens"] for a in answers]


def sent(cluster):
    cluster.wait_idle()
    return cluster.metric("baton_handoff_bytes_total")


def next_turns(bodies, answers):
    """Each prompt with its answer, and what is said to it."""
    return [
        dict(b, prompt=b["prompt"] + ids_of(a) + prompt_ids(20, 99 + i), seed=70 + i)
        for i, (b, a) in enumerate(zip(bodies, answers))
    ]


def main():
    bodies = stories()
    with Cluster(disaggregated(model={"prefix_cache": False}), TINY) as c:
        off = ask(c, bodies)
        print(cached(off), sent(c))
    with Cluster(disaggregated(), TINY) as c:
        on = ask(c, bodies)
        print(cached(on), sent(c))
        assert choices(on) == choices(off)
        on = ask(c, bodies, 4)
        print(cached(on), sent(c))
        assert choices(on) == choices(off)


main()
