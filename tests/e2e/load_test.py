#!/usr/bin/env python3
"""Many requests at once, and clients that leave: every page comes back, read from the workers' own pools."""

import socket
import unittest

from harness import *


def raw_post(c, body):
    """A request on a bare socket, so that the test decides when to hang up."""
    s = socket.create_connection(("127.0.0.1", c.http_port), timeout=600 * SLOW)
    data = json.dumps(body).encode()
    s.sendall(
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    )
    return s


def accepted(c):
    """Requests that have come and not ended, wherever they are."""
    return c.metric("baton_requests")


def together(c, name, work, bodies):
    """work of every body at once, none of them done before all have come: until then the worker does not
    run."""
    with concurrent.futures.ThreadPoolExecutor(len(bodies)) as pool:
        with c.stopped(name):
            futures = [pool.submit(work, b) for b in bodies]
            wait_for("%d requests" % len(bodies), lambda: accepted(c) == len(bodies))
        return [f.result() for f in futures]


class Load(unittest.TestCase):
    def test_64_at_once_are_decoded_in_large_batches(self):
        with Cluster(disaggregated()) as c:
            # Long enough that the batch is about the requests, not about how fast their KV comes in one after
            # the other.
            bodies = [
                {"prompt": prompt_ids(20 + i), "max_tokens": 400, "temperature": 0, "ignore_eos": True}
                for i in range(64)
            ]
            answers = together(c, "decode-0", lambda b: c.complete(**b), bodies)
            self.assertTrue(all(a["usage"]["completion_tokens"] == 400 for a in answers))
            wait_for("the last heartbeat", lambda: c.metric("baton_decode_rows_total") >= 64 * 399)
            mean = c.metric("baton_decode_rows_total") / c.metric("baton_decode_steps_total")
            print("mean decode batch %.1f" % mean)
            self.assertGreaterEqual(mean, 16)
            c.wait_idle()

    def test_a_client_that_leaves_frees_its_pages(self):
        # P is assigned one such prompt at a time.
        config = disaggregated(prefill={"token_budget": 16, "chunk_tokens": 16}, limits={"heartbeat_ms": 20})
        with Cluster(config) as c:
            long = {
                "prompt": prompt_ids(3000),
                "max_tokens": 1000,
                "temperature": 0,
                "ignore_eos": True,
                "stream": True,
            }
            state = lambda name: c.metric("baton_requests", state=name)

            # Mid-stream: long enough that a heartbeat tells of it, whatever the machine.
            s = raw_post(c, dict(long, prompt=prompt_ids(100), max_tokens=3900))
            heard = b""
            while b"data: " not in heard:
                heard = s.recv(65536)
                self.assertTrue(heard, "the stream ended before its first token")
            wait_for(
                "pages in use at the decode worker",
                lambda: c.metric("baton_kv_pages_used", role="decode") > 0,
            )
            s.close()
            c.wait_idle()

            # While prefilling.
            with c.stopped("prefill-0"):
                s = raw_post(c, long)
                wait_for("a request in prefill", lambda: state("prefill") == 1)
            s.close()
            wait_for("no request", lambda: accepted(c) == 0)
            c.wait_idle()

            # Queued: more prompts than P is assigned at once.
            with c.stopped("prefill-0"):
                sockets = [raw_post(c, dict(long, stream=i % 2 == 0)) for i in range(6)]
                wait_for("queued requests", lambda: state("wait_prefill") == 5)
            for s in sockets:
                s.close()
            wait_for("no request", lambda: accepted(c) == 0)
            c.wait_idle()
            self.assertEqual(
                c.complete(prompt="still here", max_tokens=3, ignore_eos=True)["usage"]["completion_tokens"],
                3,
            )

    def test_a_pool_smaller_than_the_batch_preempts_and_completes(self):
        # 40 pages of 16 = 640 tokens; eight sequences grow to 430 tokens each: no two of them ever fit to
        # their ends.
        bodies = [
            {"prompt": prompt_ids(30 + i), "max_tokens": 400, "temperature": 0, "ignore_eos": True}
            for i in range(8)
        ]
        with Cluster(disaggregated()) as c:
            want = parallel(1, lambda b: c.complete(**b)["choices"], bodies)
        with Cluster(disaggregated(decode={"kv_pages": 40})) as c:
            got = together(c, "decode-0", lambda b: c.complete(**b)["choices"], bodies)
            self.assertEqual(want, got)
            print("preemptions: %d" % c.metric("baton_preemptions_total"))
            self.assertGreater(c.metric("baton_preemptions_total"), 0)
            c.wait_idle()
            status, answer = c.post("/v1/completions", {"prompt": prompt_ids(600), "max_tokens": 200})
            self.assertEqual(status, 400, answer)

    def test_a_full_queue_is_429_and_says_when_to_come_back(self):
        with Cluster(
            disaggregated(limits={"max_queue": 2}, prefill={"token_budget": 16, "chunk_tokens": 16})
        ) as c:
            body = {"prompt": prompt_ids(1500), "max_tokens": 4, "ignore_eos": True}
            with concurrent.futures.ThreadPoolExecutor(12) as pool:
                # Two in the queue, and one at the worker if it was sent there before the next came.
                with c.stopped("prefill-0"):
                    futures = [pool.submit(c.request, "POST", "/v1/completions", body) for _ in range(12)]
                    wait_for("the refusals", lambda: sum(f.done() for f in futures) + accepted(c) == 12)
                answers = [f.result() for f in futures]
            full = [headers for status, headers, _ in answers if status == 429]
            self.assertIn(len(full), (9, 10))
            self.assertTrue(all("retry-after" in headers for headers in full))
            self.assertEqual({status for status, _, _ in answers}, {200, 429})
            c.wait_idle()

    def test_a_flood_leaves_room_for_others_and_what_is_late_ends_in_the_queue(self):
        config = disaggregated(
            http={"api_keys": ["flood", "other"]},
            limits={"max_queue": 10},
            prefill={"token_budget": 16, "chunk_tokens": 16},
        )
        with Cluster(config) as c, concurrent.futures.ThreadPoolExecutor(24) as pool:
            body = {"prompt": prompt_ids(100), "max_tokens": 2, "ignore_eos": True}

            def ask(key, **fields):
                headers = dict(fields, authorization="Bearer " + key)
                return c.request("POST", "/v1/completions", body, headers)

            def refused(reason):
                return c.metric("vllm:admission_rejections_total", reason=reason)

            with c.stopped("prefill-0"):
                futures = [pool.submit(ask, "flood")]
                wait_for("one at the worker", lambda: c.metric("baton_requests", state="prefill") == 1)
                futures += [pool.submit(ask, "flood") for _ in range(20)]
                wait_for("the flood's share", lambda: refused("client_share") == 12)
                futures += [pool.submit(ask, "other")]
                wait_for("the other", lambda: c.metric("baton_queue_clients") == 2)
                self.assertEqual(c.metric("baton_queue_tokens"), 900)
                status, headers, raw = ask("other", **{"x-slo-ttft-ms": "50"})
                self.assertEqual((status, headers["retry-after"]), (503, "1"), raw)
                self.assertIn(b"its first token cannot come in time any more: no worker had room for", raw)
                self.assertEqual(c.metric("baton_queue_expired_total"), 1)
            answers = [f.result()[0] for f in futures]
            self.assertEqual(answers[-1], 200)
            self.assertEqual((answers.count(200), answers.count(429)), (10, 12))
            c.wait_idle()


if __name__ == "__main__":
    unittest.main()
