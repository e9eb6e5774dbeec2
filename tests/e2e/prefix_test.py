#!/usr/bin/env python3
"""Prompts that begin alike: found at P, at D, at both and in a colocated worker, each row exactly where it should be,
and every answer the same as without a prefix cache."""

from harness import *

PAGE = 16
TOKENS = 40


def bodies():
    """Begin alike as a whole, in a part, in a page and a token; twice the same."""
    base = prompt_ids(400, 7)
    prompts = [base[:n] for n in (400, 400, 160, 161, 16, 17, 399)]
    prompts += [base[:n] + prompt_ids(60, 8 + n) for n in (0, 15, 16, 200, 400)]
    return [body(p, i) for i, p in enumerate(prompts)]


def body(prompt, seed, tokens=TOKENS):
    return {
        "prompt": prompt,
        "max_tokens": tokens,
        "ignore_eos": True,
        "logprobs": 1,
        "return_token_ids": True,
        "temperature": 0.8,
        "seed": 40 + seed,
    }


def next_turns(asked, answers):
    """Each prompt, its answer, and what is said to that."""
    return [
        body(b["prompt"] + a["choices"][0]["token_ids"] + prompt_ids(20, 99 + i), 70 + i)
        for i, (b, a) in enumerate(zip(asked, answers))
    ]


def choices(answers):
    return [a["choices"] for a in answers]


def cached(answer):
    return answer["usage"]["prompt_tokens_details"]["cached_tokens"]


class Kept:
    """What a worker should have: all ids of which it has a row."""

    def __init__(self):
        self.seen = []

    def rows(self, prompt):
        """Found of a prompt, in whole pages and never its last row."""
        best = 0
        for ids in self.seen:
            n = 0
            while n < len(prompt) - 1 and n < len(ids) and ids[n] == prompt[n]:
                n += 1
            best = max(best, n)
        return best // PAGE * PAGE

    def has_all(self, prompt):
        return any(ids[: len(prompt)] == prompt for ids in self.seen)

    def add(self, ids):
        self.seen.append(ids)


def asked_one_by_one(cluster, asked, p, d):
    """The answers. p, d: Kept of the worker that computes prompts, and of the one that decodes; the same one in a
    colocated worker."""
    answers = []
    row_bytes = cluster.metric("baton_kv_token_bytes")
    for b in asked:
        prompt = b["prompt"]
        before = cluster.metric("baton_handoff_bytes_total")
        found, here = p.rows(prompt), d.rows(prompt)
        # Its last page was computed once more for the sake of its last row; what comes behind is not kept.
        twin = p is d and len(prompt) % PAGE == 0 and p.has_all(prompt)
        answer = cluster.complete(**b)
        cluster.wait_idle()
        moved = cluster.metric("baton_handoff_bytes_total") - before
        want = 0 if p is d or b["max_tokens"] == 1 else (len(prompt) - here) * row_bytes
        assert cached(answer) == found, (len(prompt), cached(answer), found)
        assert moved == want, (len(prompt), moved, want, here)
        p.add(prompt)
        if b["max_tokens"] > 1 and not twin:
            d.add(prompt + answer["choices"][0]["token_ids"][:-1])
        answers.append(answer)
    return answers


def ask(cluster, asked, at_once):
    return parallel(at_once, lambda b: cluster.complete(**b), asked)


def check(name, got, want):
    for i, (a, b) in enumerate(zip(choices(got), choices(want))):
        assert a == b, "%s: answer %d: %s instead of %s" % (name, i, a, b)
    print("%s: %d answers are the same" % (name, len(got)))


def one_side_only(asked, want):
    """P alone has it, then D alone."""
    with Cluster(disaggregated()) as c:
        p, d = Kept(), Kept()
        asked_one_by_one(c, [dict(b, max_tokens=1) for b in asked[:3]], p, d)
        assert p.rows(asked[0]["prompt"]) and not d.rows(asked[0]["prompt"])
        check("found at P alone", asked_one_by_one(c, asked[:1], p, d), want[:1])
        kill(c.worker_pid("prefill-0"))
        wait_for("the loss", lambda: not c.worker("prefill-0"))
        c.start_worker("prefill")
        wait_for("another one", lambda: any(w["role"] == "prefill" for w in c.health()[1]["workers"]))
        p = Kept()
        check("found at D alone", asked_one_by_one(c, asked[:1], p, d), want[:1])


def salted(cluster, b):
    """Others' prefixes are not to be found by how fast they are."""
    for salt, found in (("a", 0), ("b", 0), ("a", 384), ("b", 384)):
        assert cached(cluster.complete(**dict(b, cache_salt=salt))) == found, salt


def main():
    first = bodies()
    with Cluster(disaggregated(model={"prefix_cache": False})) as c:
        none = lambda: type("None", (Kept,), {"rows": lambda *_: 0})()
        want = asked_one_by_one(c, first, none(), none())
        second = next_turns(first, want)
        want += ask(c, second, 4)
        assert c.metric("vllm:prefix_cache_queries_total") == 0
    with Cluster(disaggregated()) as c:
        p, d = Kept(), Kept()
        check("found at P and D", asked_one_by_one(c, first + second, p, d), want)
        check("once more, four at a time", ask(c, first + second, 4), want)
        salted(c, first[0])
        assert c.metric("vllm:prefix_cache_hits_total") > 0
        c.wait_idle()
    one_side_only(first, want)
    with Cluster(colocated("chunked")) as c:
        w = Kept()
        check("found in a colocated worker", asked_one_by_one(c, first + second, w, w), want)
        check("once more, four at a time", ask(c, first + second, 4), want)
    # So little room that what is kept is given up again and again, and sequences are preempted.
    few = {"kv_memory_mb": 0, "kv_pages": 60}
    with Cluster(disaggregated(prefill=few, decode=few)) as c:
        for _ in range(2):
            check("in a small pool", ask(c, first + second, 4), want)
        c.wait_idle()
        for worker in ("prefill-0", "decode-0"):
            gave_up = lambda: c.metric("baton_prefix_cache_evictions_total", worker=worker) > 0
            wait_for("pages given up at " + worker, gave_up)


main()
