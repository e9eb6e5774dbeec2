#!/usr/bin/env python3
"""Log-probabilities of prompts, and requests that ask for nothing else: the same bytes on every way, with any
chunks, and in the shapes that vLLM's clients expect.

prompt_logprobs_test.py [TEST]..."""

import sys

from harness import *

WAYS = [
    ("disaggregated, one step", disaggregated()),
    ("disaggregated, chunks of 32", disaggregated(prefill={"chunk_tokens": 32})),
    ("chunked, chunks of 16", colocated("chunked", colocated={"chunk_tokens": 16})),
    ("prefill first, no cache", colocated("prefill_first", model={"prefix_cache": False})),
]
LENGTHS_HERE = [1, 2, 16, 17, 33, 200]


def bodies():
    """Each prompt twice, so that the second one could find the first one's KV in a prefix cache."""
    out = []
    for length in LENGTHS_HERE:
        ids = prompt_ids(length)
        out.append({"prompt": ids, "echo": True, "logprobs": 2, "max_tokens": 0})
        out.append({"prompt": ids, "prompt_logprobs": 3, "max_tokens": 0})
        out.append(
            {
                "prompt": ids,
                "echo": True,
                "logprobs": 1,
                "max_tokens": 5,
                "temperature": 0,
                "ignore_eos": True,
            }
        )
        out.append({"prompt": ids, "prompt_logprobs": 0, "max_tokens": 1, "temperature": 0})
    return out


def check_echo(body, answer):
    choice, count = answer["choices"][0], len(body["prompt"]) + body["max_tokens"]
    shown = choice["logprobs"]
    for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
        assert len(shown[name]) == count, (name, len(shown[name]), count)
    assert shown["token_logprobs"][0] is None and shown["top_logprobs"][0] is None, shown
    for lp, top in zip(shown["token_logprobs"][1:], shown["top_logprobs"][1:]):
        assert -9999 <= lp <= 0 and body["logprobs"] <= len(top) <= body["logprobs"] + 1, (lp, top)
        assert max(top.values()) >= lp and lp in top.values(), (lp, top)
    assert shown["text_offset"][0] == 0 and shown["text_offset"] == sorted(shown["text_offset"])
    assert choice["finish_reason"] == "length", choice["finish_reason"]
    assert answer["usage"]["completion_tokens"] == body["max_tokens"], answer["usage"]


def check_prompt_logprobs(body, answer):
    told = answer["choices"][0]["prompt_logprobs"]
    assert len(told) == len(body["prompt"]) and told[0] is None, told
    for token, entry in zip(body["prompt"][1:], told[1:]):
        n = body["prompt_logprobs"]
        assert list(entry)[0] == str(token) and max(n, 1) <= len(entry) <= n + 1, (token, entry)
        own, ranks = entry[str(token)], sorted(e["rank"] for e in entry.values())
        assert set(range(1, n + 1)) <= set(ranks), ranks
        for other in entry.values():
            assert (
                (other["rank"] < own["rank"]) == (other["logprob"] > own["logprob"])
                or other is own
                or (other["logprob"] == own["logprob"])
            ), entry
            assert isinstance(other["decoded_token"], str)


def test_same_bytes_on_every_way_and_with_any_chunks():
    requests, reference = bodies(), None
    for name, config in WAYS:
        with Cluster(config) as c:
            got = parallel(4, lambda body: c.complete(**body), requests)
            c.wait_idle()
            assert c.metric("baton_replays_total") == 0
            pairs = [b for b in requests if b["max_tokens"] > 1]
            moved = c.metric("baton_handoffs_verified_total")
            assert moved == (len(pairs) if name.startswith("dis") else 0), moved
        for body, answer in zip(requests, got):
            (check_echo if body.get("echo") else check_prompt_logprobs)(body, answer)
            assert answer["usage"]["prompt_tokens"] == len(body["prompt"])
            assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        choices = [a["choices"] for a in got]
        reference = reference or choices
        for body, a, b in zip(requests, reference, choices):
            assert a == b, "%s: %d prompt tokens:\n%s\n%s" % (name, len(body["prompt"]), a, b)
    # An echoed answer is the one without echo, behind its prompt.
    with Cluster(WAYS[0][1]) as c:
        for body, want in zip(requests, reference):
            if not body.get("echo") or not body["max_tokens"]:
                continue
            plain = c.complete(**dict(body, echo=False))["choices"][0]
            shown = want[0]["logprobs"]
            for name in ("tokens", "token_logprobs", "top_logprobs"):
                assert shown[name][len(body["prompt"]) :] == plain["logprobs"][name], name
            assert want[0]["text"].endswith(plain["text"])


def test_shapes():
    with Cluster(disaggregated()) as c:
        # Texts, several prompts, n: the text comes first, and offsets count in it.
        answer = c.complete(prompt=["the cat", "a"], echo=True, logprobs=0, max_tokens=2, n=2, temperature=0)
        assert len(answer["choices"]) == 4
        for i, choice in enumerate(answer["choices"]):
            prompt, shown = ["the cat", "a"][i // 2], choice["logprobs"]
            assert choice["text"].startswith(prompt), choice
            assert "prompt_logprobs" not in choice
            for token, at in zip(shown["tokens"], shown["text_offset"]):
                assert token.startswith("bytes:") or choice["text"][at:].startswith(token), (
                    token,
                    at,
                    choice,
                )
        # Echo without logprobs, and nothing else.
        only = c.complete(prompt="the cat", echo=True, max_tokens=0)
        assert only["choices"][0]["text"] == "the cat" and only["choices"][0]["logprobs"] is None, only
        assert only["choices"][0]["finish_reason"] == "length" and only["usage"]["completion_tokens"] == 0
        # A chat has them beside its choices.
        messages = [{"role": "user", "content": "hello"}]
        status, chat = c.post(
            "/v1/chat/completions", {"messages": messages, "prompt_logprobs": 1, "max_tokens": 1}
        )
        assert status == 200 and chat["prompt_logprobs"][0] is None, chat
        assert len(chat["prompt_logprobs"]) == chat["usage"]["prompt_tokens"]
        assert "prompt_logprobs" not in chat["choices"][0]
        # A stream's first event carries the prompt.
        body = {"prompt": "the cat", "echo": True, "logprobs": 1, "max_tokens": 3, "temperature": 0}
        whole = c.complete(**body)["choices"][0]
        events = [e["choices"][0] for e in c.stream("/v1/completions", body)[:-1] if e["choices"]]
        assert events[0]["text"] == "the cat" and events[0]["logprobs"]["token_logprobs"][0] is None, events[
            0
        ]
        joined = {k: sum((e["logprobs"][k] for e in events if e["logprobs"]), []) for k in whole["logprobs"]}
        assert joined == whole["logprobs"], (joined, whole)
        assert "".join(e["text"] for e in events) == whole["text"]
        # Refused, with the name of the field.
        for field, body in [
            ("max_tokens", {"prompt": "x", "max_tokens": 0}),
            ("prompt_logprobs", {"prompt": "x", "prompt_logprobs": 1, "stream": True}),
            ("prompt_logprobs", {"prompt": "x", "prompt_logprobs": 21}),
            ("prompt_logprobs", {"prompt": [prompt_ids(600)] * 100, "prompt_logprobs": 20}),
        ]:
            status, answer = c.post("/v1/completions", body)
            assert status == 400 and answer["error"]["param"] == field, (body, status, answer)
        c.wait_idle()


tests = {name[5:]: fact for name, fact in sorted(globals().items()) if name.startswith("test_")}
for name in sys.argv[1:] or tests:
    tests[name]()
    print("ok: " + name.replace("_", " "), flush=True)
