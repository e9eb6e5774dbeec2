#!/usr/bin/env python3
"""Prompts that begin alike: the same bytes with and without a prefix cache, exact counts of what was found
in it at the workers that compute prompts and at those that decode, right answers whatever happens to it."""

import unittest

from drain_test import ctl, second
from fault_test import Streams, tokens_of_all
from harness import *

PAGE = 16
TOKENS = 20


def body(ids, i=0, tokens=TOKENS, **more):
    sampled = {"temperature": 0.9, "top_p": 0.95, "seed": 1000 + i} if i % 2 else {"temperature": 0}
    return dict({"prompt": ids, "max_tokens": tokens, "ignore_eos": True, "logprobs": 1}, **sampled, **more)


def prompts():
    """Two families and a chat's turns: alike to the id, to the page, to the half of a page, not at all."""
    a, b = prompt_ids(150, 3), prompt_ids(97, 4)
    tail = prompt_ids(40, 5)
    return [
        a,
        a,
        a[:100] + tail,
        a[:96] + tail[:7],
        a[:33],
        a[:32],
        b,
        b[:15] + tail,
        b + tail[:20],
        [7] + a[:80],
        a + tail,
        a[:16],
        a[:17],
        tail,
        a[:150] + tail[:1],
    ]


class Endless:
    """What a cache finds that gives nothing up: whole pages, by all the ids up to their end."""

    def __init__(self):
        self.pages = set()

    def find(self, ids, salt=""):
        hit = 0
        while hit + PAGE < len(ids) and (salt, tuple(ids[: hit + PAGE])) in self.pages:
            hit += PAGE
        return hit

    def keep(self, ids, salt=""):
        self.pages |= {(salt, tuple(ids[:end])) for end in range(PAGE, len(ids) + 1, PAGE)}


def answer_of(c, b):
    """Its choices, and its cached tokens."""
    answer = c.complete(**dict(b, return_token_ids=True))
    assert answer["usage"]["prompt_tokens"] == len(b["prompt"]), answer["usage"]
    return answer["choices"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]


def generated(choices):
    return choices[0]["token_ids"]


REFERENCE = {}


def reference(bodies):
    """The choices without a prefix cache."""
    new = [b for b in bodies if json.dumps(b) not in REFERENCE]
    if new:
        with Cluster(disaggregated(model={"prefix_cache": False})) as c:
            for b in new:
                choices, cached = answer_of(c, b)
                assert cached == 0, cached
                REFERENCE[json.dumps(b)] = choices
            # A salt is taken without a cache, too.
            assert answer_of(c, dict(new[0], cache_salt="x"))[1] == 0
            assert c.metric("vllm:prefix_cache_queries_total") == 0
            assert c.metric("baton_prefix_cache_queries_total") == 0
    return [REFERENCE[json.dumps(b)] for b in bodies]


def hits(c, **labels):
    return c.metric("baton_prefix_cache_hits_total", **labels)


class Prefix(unittest.TestCase):
    maxDiff = None

    def one_after_the_other(self, c, bodies, colocated):
        """Each finds what an endless cache finds, at those that compute and at those that decode."""
        computing, decoding = Endless(), Endless()
        queries = found = received = sent = 0
        bytes_before = c.metric("baton_handoff_bytes_total")
        for b, want in zip(bodies, reference(bodies)):
            ids = b["prompt"]
            choices, cached = answer_of(c, b)
            self.assertEqual(choices, want)
            self.assertEqual(cached, computing.find(ids), len(ids))
            queries += len(ids)
            found += cached
            if colocated:
                computing.keep((ids + generated(choices))[:-1])
            else:
                computing.keep(ids)
                received += decoding.find(ids)
                sent += len(ids) - decoding.find(ids)
                decoding.keep((ids + generated(choices))[:-1])
        self.assertGreater(found, 500)
        self.assertEqual(c.metric("vllm:prefix_cache_queries_total"), queries)
        self.assertEqual(c.metric("vllm:prefix_cache_hits_total"), found)
        self.assertEqual(c.metric("vllm:prompt_tokens_by_source_total", source="local_cache_hit"), found)
        self.assertEqual(
            c.metric("vllm:prompt_tokens_by_source_total", source="local_compute"), queries - found
        )
        role = "colocated" if colocated else "prefill"
        wait_for("the workers' own count", lambda: hits(c, role=role) >= found)
        self.assertEqual(hits(c, role=role), found)
        self.assertEqual(c.metric("baton_prefix_cache_queries_total", role=role), queries)
        if not colocated:
            wait_for("the decode workers' own count", lambda: hits(c, role="decode") >= received)
            self.assertEqual(hits(c, role="decode"), received)
            moved = c.metric("baton_handoff_bytes_total") - bytes_before
            self.assertEqual(moved, sent * c.metric("baton_kv_token_bytes"))
        shown = [w["prefix_cache"] for w in c.health()[1]["workers"] if w["role"] == role]
        self.assertEqual(sum(s["hits"] for s in shown), found)
        c.wait_idle()
        self.assertGreater(c.metric("baton_prefix_cache_pages", role=role), 0)

    def all_at_once(self, c, bodies):
        for got, want in zip(parallel(12, lambda b: answer_of(c, b), bodies * 2), reference(bodies) * 2):
            self.assertEqual(got[0], want)
        c.wait_idle()

    def placement(self, config, colocated=False):
        bodies = [body(ids, i) for i, ids in enumerate(prompts())]
        with Cluster(config) as c:
            self.one_after_the_other(c, bodies, colocated)
            self.all_at_once(c, bodies)
            self.assertEqual(c.metric("baton_replays_total"), 0)
            self.other_salts(c)

    def other_salts(self, c):
        ids = prompt_ids(70, 9)
        found = [
            answer_of(c, body(ids, **salt))[1] for salt in [{}, {}, {"cache_salt": "a"}, {"cache_salt": "a"}]
        ]
        self.assertEqual(found, [0, 64, 0, 64])
        self.assertEqual(answer_of(c, body(ids, cache_salt="b"))[1], 0)
        for wrong in (1, "", "x" * 1025):
            status, answer = c.post("/v1/completions", body(ids, cache_salt=wrong))
            self.assertEqual((status, answer["error"]["param"]), (400, "cache_salt"))
        events = c.stream("/v1/completions", body(ids, stream_options={"include_usage": True}))
        self.assertEqual(events[-2]["usage"]["prompt_tokens_details"], {"cached_tokens": 64})
        asked = subprocess.run(
            [BIN + "/baton-ask", "-e", "tcp://127.0.0.1:%d" % c.client_port, "--stats", "--max-tokens", "2"]
            + ["--ids", ",".join(map(str, ids))],
            capture_output=True,
            text=True,
            timeout=120 * SLOW,
        )
        self.assertIn("prompt 70 tokens (64 cached), answer 2 tokens, length", asked.stderr)

    def test_one_of_each(self):
        self.placement(disaggregated())

    def test_two_of_each(self):
        self.placement(disaggregated(2, 2))

    def test_colocated(self):
        self.placement(colocated(), colocated=True)

    def test_a_hit_at_either_side_alone(self):
        ids = prompt_ids(80, 11)
        bodies = [body(ids + prompt_ids(20, 20 + i), i) for i in range(4)]
        want = reference(bodies)
        with Cluster(disaggregated(transport="zmq", limits={"drain_ms": 600000})) as c:

            def ask(i):
                before = c.metric("baton_handoff_bytes_total")
                choices, cached = answer_of(c, bodies[i])
                self.assertEqual(choices, want[i])
                moved = c.metric("baton_handoff_bytes_total") - before
                return cached, moved / c.metric("baton_kv_token_bytes")

            def replace(role):
                second(c, role)
                gone = role + "-0"
                self.assertEqual(ctl(c, "drain", gone).returncode, 0)
                wait_for("its end", lambda: c.worker(gone) is None)

            self.assertEqual(ask(0), (0, 100))
            replace("prefill")
            self.assertEqual(ask(1), (0, 20))  # the decode worker holds 80 rows
            replace("decode")
            self.assertEqual(ask(2), (80, 100))  # the prefill worker does
            self.assertEqual(ask(3), (80, 20))

    def test_the_next_turn_of_a_chat_finds_the_answer(self):
        first = body(prompt_ids(50, 13), tokens=40)
        asked = dict(first, return_token_ids=True)
        for config, cached, moved in ((disaggregated(), 48, 110 - 80), (colocated(), 80, 0)):
            with Cluster(dict(config, model={"prefix_cache": False})) as c:
                answer = generated(answer_of(c, asked)[0])
                then = body(first["prompt"] + answer + prompt_ids(20, 14))
                want = answer_of(c, then)[0]
            with Cluster(config) as c:
                self.assertEqual(generated(answer_of(c, asked)[0]), answer)
                c.wait_idle()
                before = c.metric("baton_handoff_bytes_total")
                self.assertEqual(answer_of(c, then), (want, cached))
                c.wait_idle()
                sent = c.metric("baton_handoff_bytes_total") - before
                self.assertEqual(sent, moved * c.metric("baton_kv_token_bytes"))

    def test_answers_stay_right_when_pages_are_given_up(self):
        bodies = [body(prompt_ids(110, 30 + i % 7) + prompt_ids(10 + i, 50 + i), i) for i in range(21)]
        small = {"kv_memory_mb": 1}  # 64 pages
        with Cluster(disaggregated(prefill=small, decode=small)) as c:
            for at_once in (1, 8):
                got = parallel(at_once, lambda b: answer_of(c, b), bodies)
                self.assertEqual([g[0] for g in got], reference(bodies))
            c.wait_idle()
            for role in ("prefill", "decode"):
                wait_for(role, lambda: c.metric("baton_prefix_cache_evictions_total", role=role) > 0)
            self.assertGreater(c.metric("vllm:prefix_cache_hits_total"), 0)

    def test_a_worker_dies_while_pages_are_shared(self):
        common = prompt_ids(160, 12)
        bodies = [body(common + prompt_ids(3 + i, 70 + i), i, 60) for i in range(8)]
        want = [r[0]["text"] for r in reference(bodies)]
        with Cluster(disaggregated(2, 2)) as c:
            answer_of(c, bodies[0])
            for victim in ("decode-0", "prefill-0"):
                streams = Streams(c, bodies)
                wait_for("tokens of all", lambda: tokens_of_all(2)(streams) or streams.over())
                kill(c.worker_pid(victim))
                self.assertEqual(streams.texts(), want)
            wait_for("both deaths", lambda: c.metric("baton_workers_lost_total") == 2)
            self.assertEqual(c.metric("baton_failed_total"), 0)
            c.wait_idle()


if __name__ == "__main__":
    unittest.main()
