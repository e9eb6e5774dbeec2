#!/usr/bin/env python3
"""Same request, same bytes: over placement, transport, batch and threads, at each number of bits of
activations. Asserts that the KV really travelled.

same_bytes_test.py tiny          50 prompts, every cell, on the generated checkpoint, with 16 bits; ten of
                                 them in four cells with 8 and with 32
same_bytes_test.py tiny-few      ten of those prompts, every cell (sanitizers)
same_bytes_test.py smol          a dozen prompts in four cells on SmolLM2
same_bytes_test.py smol-all [8]  50 prompts in every cell on SmolLM2, with 16 bits or as many as are given
same_bytes_test.py flip          one flipped KV byte: caught by the checksum, or (checksums off) changes the
                                 output
"""

import sys

from harness import *

# Without a prefix cache, so that all of the KV is computed and travels (with one: prefix_test.py).
COLD = {"model": {"prefix_cache": False}}
MODES = [
    ("disaggregated shm", lambda t, **over: disaggregated(cores=t, transport="shm", **over)),
    ("disaggregated zmq", lambda t, **over: disaggregated(cores=t, transport="zmq", **over)),
    ("colocated chunked", lambda t, **over: colocated("chunked", cores=t, **over)),
    ("colocated prefill_first", lambda t, **over: colocated("prefill_first", cores=t, **over)),
]
FEW = [1, 15, 16, 17, 33, 64, 65, 256, 257, 600]


def requests(lengths, tokens, low, high):
    out = []
    for i, length in enumerate(lengths):
        body = {
            "prompt": prompt_ids(length, 1, low, high),
            "max_tokens": 1 if i == 4 else tokens,
            "ignore_eos": True,
            "logprobs": 1,
        }
        out.append(dict(body, temperature=0))
        out.append(dict(body, temperature=0.9, top_p=0.95, seed=1000 + i))
    return out


def answers(cluster, bodies, at_once):
    def one(body):
        answer = cluster.complete(**body)
        assert answer["usage"]["prompt_tokens"] == len(body["prompt"]), answer["usage"]
        assert answer["usage"]["completion_tokens"] == body["max_tokens"], answer["usage"]
        return answer["choices"]

    return parallel(at_once, one, bodies)


def run(model, lengths, tokens, cells, low, high, bits=16):
    """What every cell answers"""
    bodies = requests(lengths, tokens, low, high)
    reference = None
    for mode, config in MODES:
        for threads in sorted({t for (m, t, _) in cells if m == mode}):
            with Cluster(config(threads, model=COLD["model"] | {"act_bits": str(bits)}), model) as c:
                for at_once in sorted(a for (m, t, a) in cells if m == mode and t == threads):
                    name = "%d bits, %s, %d thread(s), %d at a time" % (bits, mode, threads, at_once)
                    before = {
                        k: c.metric("baton_" + k + "_total")
                        for k in ("handoffs_verified", "handoff_bytes", "replays")
                    }
                    got = answers(c, bodies, at_once)
                    c.wait_idle()
                    moved = {k: c.metric("baton_" + k + "_total") - v for k, v in before.items()}
                    if mode.startswith("disaggregated"):
                        many = [b for b in bodies if b["max_tokens"] > 1]
                        assert moved["handoffs_verified"] == len(many), (name, moved, len(many))
                        per_token = c.metric("baton_kv_token_bytes")
                        want = per_token * sum(len(b["prompt"]) for b in many)
                        assert per_token > 0 and moved["handoff_bytes"] == want, (name, moved, want)
                    else:
                        assert moved["handoffs_verified"] == 0 and moved["handoff_bytes"] == 0, (name, moved)
                    assert moved["replays"] == 0, (name, moved)
                    if reference is None:
                        reference = got
                        # A checkpoint that repeats itself would agree with itself too easily.
                        distinct = [
                            len(set(g[0]["logprobs"]["tokens"]))
                            for g in got[::2]
                            if len(g[0]["logprobs"]["tokens"]) == tokens
                        ]
                        assert model != TINY or min(distinct) >= 6, distinct
                    for i, (a, b) in enumerate(zip(reference, got)):
                        assert a == b, "%s: request %d (%d prompt tokens) differs:\n%s\n%s" % (
                            name,
                            i,
                            len(bodies[i]["prompt"]),
                            a,
                            b,
                        )
                    print("same bytes: %s: %d requests" % (name, len(bodies)), flush=True)
    return reference


def flip():
    bodies = [
        {"prompt": prompt_ids(n), "max_tokens": 24, "temperature": 0, "ignore_eos": True, "logprobs": 1}
        for n in (40, 100, 300)
    ]
    with Cluster(disaggregated(**COLD)) as c:
        right = answers(c, bodies, 1)
    # Checksums on: the flipped segment is refused, every attempt of it, so the request fails with an error
    # and no wrong token.
    with Cluster(disaggregated(handoff={"test_flip_segment": 0}, **COLD)) as c:
        for body, want in zip(bodies, right):
            status, answer = c.post("/v1/completions", body)
            assert status == 500 and "checksum" in answer["error"]["message"], (status, answer)
        assert c.metric("baton_handoffs_failed_total") >= len(bodies)
        c.wait_idle()
    with Cluster(disaggregated(handoff={"test_flip_segment": 0, "checksums": False}, **COLD)) as c:
        wrong = answers(c, bodies, 1)
        assert all(a != b for a, b in zip(right, wrong)), "a flipped KV byte left the output unchanged"
    print("flip: caught by the checksum; without it the output changes")


what = sys.argv[1]
every = [(mode, threads, at_once) for mode, _ in MODES for threads in (1, 2) for at_once in (1, 16)]
some = [(MODES[0][0], 1, 1), (MODES[1][0], 2, 16), (MODES[2][0], 1, 16), (MODES[3][0], 2, 1)]
if what == "tiny":
    run(TINY, LENGTHS, 24, every, 300, 400)
    by_bits = [run(TINY, FEW, 24, some, 300, 400, bits) for bits in (8, 32)]
    assert by_bits[0] != by_bits[1], "8 and 32 bits give equal answers: is act_bits read?"
elif what == "tiny-few":
    run(TINY, FEW, 24, every, 300, 400)
elif what == "flip":
    flip()
else:
    if not os.path.exists(SMOL):
        sys.exit("no %s: deploy/fetch-model.sh smollm2" % SMOL)
    if what == "smol":
        run(SMOL, [1, 16, 17, 33, 300, 600], 16, some, 1000, 40000)
    elif what == "smol-all":
        run(SMOL, LENGTHS, 32, every, 1000, 40000, int((sys.argv[2:] or [16])[0]))
