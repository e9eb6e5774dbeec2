#!/usr/bin/env python3
"""The HTTP API as curl, the standard library and the official openai client see it; bad input; the native
socket."""

import subprocess
import unittest

from harness import *


def curl(*args):
    return subprocess.run(
        ["curl", "-sS", "--max-time", "%d" % (120 * SLOW), *args], capture_output=True, text=True, check=True
    ).stdout


class Api(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = Cluster(disaggregated(model={"served_model_name": "tiny"}, limits={"max_body_kb": 4096}))
        cls.url = "http://127.0.0.1:%d" % cls.c.http_port

    @classmethod
    def tearDownClass(cls):
        cls.c.stop()
        cls.c.dir.cleanup()

    def ask(self, **body):
        return self.c.complete(
            **dict({"prompt": "hello world", "max_tokens": 8, "temperature": 0, "ignore_eos": True}, **body)
        )

    def refused(self, status, contains, path="/v1/completions", **body):
        got, answer = self.c.post(
            path, dict({"prompt": "hello", "max_tokens": 4}, **body) if "messages" not in body else body
        )
        self.assertEqual(got, status, answer)
        self.assertIn(contains, answer["error"]["message"])
        self.assertIn(answer["error"]["code"], (status, "context_length_exceeded"))
        return answer["error"]

    # Shapes

    def test_curl_completes(self):
        answer = json.loads(
            curl(
                self.url + "/v1/completions", "-d", '{"prompt": "hello", "max_tokens": 4, "ignore_eos": true}'
            )
        )
        self.assertEqual(answer["object"], "text_completion")
        self.assertTrue(answer["id"].startswith("cmpl-"))
        self.assertEqual(answer["model"], "tiny")
        self.assertEqual(answer["usage"]["completion_tokens"], 4)
        self.assertEqual(answer["usage"]["total_tokens"], answer["usage"]["prompt_tokens"] + 4)
        self.assertEqual(answer["choices"][0]["finish_reason"], "length")

    def test_curl_streams_chat(self):
        raw = curl(
            "-N",
            self.url + "/v1/chat/completions",
            "-d",
            json.dumps(
                {
                    "messages": [{"role": "user", "content": "hi"}],
                    "max_tokens": 6,
                    "stream": True,
                    "ignore_eos": True,
                    "stream_options": {"include_usage": True},
                }
            ),
        )
        events = [line[6:] for line in raw.split("\n\n") if line.startswith("data: ")]
        self.assertEqual(events[-1], "[DONE]")
        chunks = [json.loads(e) for e in events[:-1]]
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        self.assertTrue(all(c["object"] == "chat.completion.chunk" for c in chunks))
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 6)
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "length")
        self.assertTrue(all(c["usage"] is None for c in chunks[:-1]))

    def test_streamed_text_equals_the_whole(self):
        body = {"prompt": prompt_ids(40), "max_tokens": 40, "temperature": 0, "ignore_eos": True}
        whole = self.c.complete(**body)["choices"][0]["text"]
        events = self.c.stream("/v1/completions", body)
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual("".join(e["choices"][0]["text"] for e in events[:-1]), whole)

    def test_openai_client_whole_and_streaming(self):
        import openai

        client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", timeout=120 * SLOW, max_retries=0)
        self.assertEqual([m.id for m in client.models.list().data], ["tiny"])
        self.assertEqual(client.models.retrieve("tiny").id, "tiny")
        with self.assertRaises(openai.NotFoundError):
            client.models.retrieve("other")
        messages = [{"role": "user", "content": "hello"}]
        extra = {"ignore_eos": True}
        whole = client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=12, temperature=0, extra_body=extra
        )
        self.assertEqual(whole.usage.completion_tokens, 12)
        parts = client.chat.completions.create(
            model="tiny",
            messages=messages,
            max_tokens=12,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=extra,
        )
        text = ""
        for chunk in parts:
            usage = chunk.usage
            if chunk.choices:
                text += chunk.choices[0].delta.content or ""
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(usage.completion_tokens, 12)
        done = client.completions.create(
            model="tiny", prompt="hello", max_tokens=5, n=2, seed=3, logprobs=2, extra_body=extra
        )
        self.assertEqual(len(done.choices), 2)
        self.assertEqual(done.usage.completion_tokens, 10)
        self.assertEqual(len(done.choices[0].logprobs.tokens), 5)
        with self.assertRaises(openai.NotFoundError):
            client.completions.create(model="other", prompt="hello")
        with self.assertRaises(openai.BadRequestError):
            client.completions.create(model="tiny", prompt="hello", max_tokens=10**6)

    def test_n_choices_differ_by_choice_and_repeat_by_seed(self):
        a = self.ask(n=3, seed=7, temperature=1.0, max_tokens=16)
        b = self.ask(n=3, seed=7, temperature=1.0, max_tokens=16)
        self.assertEqual(a["choices"], b["choices"])
        self.assertEqual(len({c["text"] for c in a["choices"]}), 3)
        self.assertEqual([c["index"] for c in a["choices"]], [0, 1, 2])

    def test_equal_prompts_of_one_request_are_independent_samples(self):
        for extra in ({}, {"seed": 7}):
            for prompt in (["hello world"] * 4, [prompt_ids(9)] * 4):
                got = self.ask(prompt=prompt, n=2, temperature=1.0, max_tokens=16, **extra)["choices"]
                self.assertEqual(len({c["text"] for c in got}), 8)
        alone = self.ask(prompt="hello world", seed=7, temperature=1.0, max_tokens=16)["choices"][0]["text"]
        first = self.ask(prompt=["hello world"] * 4, seed=7, temperature=1.0, max_tokens=16)["choices"][0][
            "text"
        ]
        self.assertEqual(first, alone)

    def test_a_prompt_too_long_is_what_clients_take_for_it(self):
        import openai

        client = openai.OpenAI(base_url=self.url + "/v1", api_key="none", timeout=120 * SLOW, max_retries=0)
        with self.assertRaises(openai.BadRequestError) as raised:
            client.chat.completions.create(
                model="tiny", messages=[{"role": "user", "content": "hi " * 9000}], max_tokens=4
            )
        self.assertEqual(raised.exception.code, "context_length_exceeded")
        self.assertIn("This model's maximum context length is", str(raised.exception))

    def test_an_unknown_field_is_told_in_the_answer(self):
        self.assertIn("strange", self.ask(strange=1)["warnings"][0])
        self.assertNotIn("warnings", self.ask(store=True))
        events = self.c.stream(
            "/v1/completions", {"prompt": "a", "max_tokens": 3, "ignore_eos": True, "strange": 1}
        )
        self.assertEqual(["warnings" in e for e in events[:-1]], [True] + [False] * (len(events) - 2))

    def test_stop_string_cuts_and_is_not_in_the_text(self):
        whole = self.ask(max_tokens=24, prompt=prompt_ids(20))["choices"][0]["text"]
        stop = whole[10:13]
        cut = self.ask(max_tokens=24, prompt=prompt_ids(20), stop=[stop])
        self.assertEqual(cut["choices"][0]["text"], whole[: whole.index(stop)])
        self.assertEqual(cut["choices"][0]["finish_reason"], "stop")
        events = self.c.stream(
            "/v1/completions",
            {"prompt": prompt_ids(20), "max_tokens": 24, "temperature": 0, "ignore_eos": True, "stop": stop},
        )
        self.assertEqual("".join(e["choices"][0]["text"] for e in events[:-1]), whole[: whole.index(stop)])
        self.c.wait_idle()

    def test_stop_token_id_ends(self):
        ids = self.ask(max_tokens=12, prompt=prompt_ids(20), logprobs=0, return_token_ids=True)["choices"][0][
            "token_ids"
        ]
        got = self.ask(max_tokens=12, prompt=prompt_ids(20), stop_token_ids=[ids[5]])
        self.assertEqual(got["choices"][0]["finish_reason"], "stop")
        self.assertEqual(got["usage"]["completion_tokens"], ids.index(ids[5]) + 1)

    def test_logprobs_of_greedy_are_the_best(self):
        lp = self.ask(logprobs=3)["choices"][0]["logprobs"]
        for chosen, token, top in zip(lp["token_logprobs"], lp["tokens"], lp["top_logprobs"]):
            self.assertEqual(chosen, max(top.values()))
            self.assertLessEqual(chosen, 0)

    def test_timings_add_up(self):
        usage = self.ask(timings=True, max_tokens=16)["usage"]
        t = usage["timings"]
        self.assertGreater(t["prefill_ms"], 0)
        self.assertGreater(t["decode_ms"], 0)
        self.assertLessEqual(t["queue_ms"] + t["prefill_ms"] + t["decode_ms"], t["total_ms"] + 0.01)
        self.assertGreater(t["decode_wait_ms"], 0)
        self.assertLessEqual(t["handoff_ms"] + t["decode_wait_ms"], t["decode_ms"] + 0.01)
        self.assertGreater(t["tokens_per_second"], 0)

    def test_pages_of_the_service(self):
        status, models = self.c.get("/v1/models")
        model = json.loads(models)["data"][0]
        self.assertEqual((status, model["id"], model["root"] is not None), (200, "tiny", True))
        status, health = self.c.health()
        self.assertEqual(status, 200)
        self.assertEqual(sorted(w["role"] for w in health["workers"]), ["decode", "prefill"])
        status, version = self.c.get("/version")
        version = json.loads(version)
        self.assertEqual((status, version["backend"], version["deterministic"]), (200, "cpu", True))
        self.assertEqual((version["path"].split("/")[0], version["kv_dtype"]), ("cpu", "f16"))
        self.assertEqual(self.c.get("/nowhere")[0], 404)
        self.assertEqual(self.c.get("/v1/completions")[0], 405)
        for name in (
            "baton_kv_pages_used",
            "baton_handoffs_verified_total",
            "baton_handoff_bytes_total",
            "baton_handoffs_pending",
            "baton_handoffs_failed_total",
            "baton_handoff_seconds_sum",
            "baton_decode_wait_seconds_sum",
            "baton_requests",
            "process_cpu_seconds_total",
        ):
            self.assertTrue(any(k.split("{")[0] == name for k in self.c.metrics()), name)

    def test_busy_time_is_told_by_worker_and_kind_of_step(self):
        self.ask(max_tokens=16)

        def both_told():
            busy = {w["role"]: w["busy_s"] for w in self.c.health()[1]["workers"]}
            return busy if busy["prefill"]["prefill"] > 0 and busy["decode"]["decode"] > 0 else None

        busy = wait_for("busy time of both workers", both_told)
        self.assertEqual((busy["prefill"]["decode"], busy["prefill"]["mixed"]), (0, 0))
        self.assertEqual((busy["decode"]["prefill"], busy["decode"]["mixed"]), (0, 0))
        key = 'baton_worker_busy_seconds_total{role="decode",worker="decode-0",phase="decode"}'
        self.assertGreaterEqual(self.c.metrics()[key], busy["decode"]["decode"] - 1e-6)  # 6 decimals there

    def test_request_id_is_echoed(self):
        _, headers, _ = self.c.request(
            "POST", "/v1/completions", {"prompt": "a", "max_tokens": 1}, {"x-request-id": "abc-1"}
        )
        self.assertEqual(headers["x-request-id"], "abc-1")

    def test_a_page_of_another_origin_and_a_key(self):
        ask = ("-o", "/dev/null", "-w", "%{http_code}", "-X", "OPTIONS", "-H", "Origin: http://a")
        ask += ("-H", "Access-Control-Request-Method: POST", self.url + "/v1/chat/completions")
        self.assertEqual(curl("-D", "/dev/stderr", *ask), "204")
        with Cluster(disaggregated(http={"api_keys": ["s3cret", "other"], "cors_origins": "http://a"})) as c:
            for key, want in ((None, 401), ("wrong", 401), ("s3cret", 200), ("other", 200)):
                fields = {"Authorization": "Bearer " + key} if key else {}
                status, headers, raw = c.request("GET", "/v1/models", None, dict(fields, Origin="http://a"))
                self.assertEqual(status, want)
                self.assertEqual(headers["access-control-allow-origin"], "http://a")
                if want == 401:
                    self.assertEqual(json.loads(raw), {"error": "Unauthorized"})
            self.assertEqual(c.get("/metrics")[0], 200)
            self.assertNotIn("s3cret", c.log())

    # Bad input: a clear error, and the cluster serves on.

    def test_metrics_count_what_was_asked_in_the_names_of_vllm(self):
        from prometheus_client.parser import text_string_to_metric_families

        def read():
            out = {}
            for family in text_string_to_metric_families(self.c.get("/metrics")[1].decode()):
                self.assertTrue(family.documentation, family.name)
                for s in family.samples:
                    out[s.name] = out.get(s.name, 0) + s.value
                    if s.name.startswith("vllm:"):
                        self.assertEqual((s.labels["model_name"], s.labels["engine"]), ("tiny", "0"))
            return out

        self.c.wait_idle()
        before = read()
        for _ in range(3):
            self.ask(prompt=prompt_ids(20), max_tokens=7, n=2, seed=1)
        self.c.wait_idle()
        after = read()
        told = {
            "vllm:prompt_tokens_total": 3 * 20,
            "vllm:generation_tokens_total": 3 * 2 * 7,
            "vllm:prompt_tokens_by_source_total": 3 * 20,
            "vllm:request_success_total": 6,
            "vllm:request_prompt_tokens_count": 3,
            "vllm:request_prompt_tokens_sum": 60,
            "vllm:request_generation_tokens_sum": 42,
            "vllm:request_max_num_generation_tokens_sum": 21,
            "vllm:request_params_n_sum": 6,
            "vllm:request_params_max_tokens_sum": 21,
            "vllm:time_to_first_token_seconds_count": 6,
            "vllm:inter_token_latency_seconds_count": 36,
            "vllm:request_time_per_output_token_seconds_count": 6,
            "vllm:e2e_request_latency_seconds_count": 6,
            "vllm:request_queue_time_seconds_count": 6,
            "vllm:request_prefill_time_seconds_count": 6,
            "vllm:request_decode_time_seconds_count": 6,
            "vllm:request_inference_time_seconds_count": 6,
        }
        got = {name: round(after[name] - before.get(name, 0)) for name in told}
        self.assertEqual(got, told)
        self.assertEqual((after["vllm:num_requests_running"], after["vllm:num_requests_waiting"]), (0, 0))
        for name in ("vllm:iteration_tokens_total_count", "vllm:cache_config_info", "process_open_fds"):
            self.assertGreater(after[name], 0, name)

    def test_answers_keep_the_form_that_is_asked_for(self):
        schema = {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 8},
                "age": {"type": "integer", "minimum": 0, "maximum": 120},
                "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
            },
            "required": ["name", "age", "tags"],
        }
        wanted = {"type": "json_schema", "json_schema": {"name": "person", "schema": schema}}
        for seed in range(4):
            sampled = dict(max_tokens=200, temperature=1.0, seed=seed, ignore_eos=False)
            choice = self.ask(response_format=wanted, **sampled)["choices"][0]
            self.assertEqual(choice["finish_reason"], "stop", choice)
            person = json.loads(choice["text"])
            self.assertEqual(sorted(person), ["age", "name", "tags"])
            self.assertTrue(0 <= person["age"] <= 120 and len(person["name"]) <= 8, person)
            for field, pattern in (
                ({"guided_choice": ["yes", "no"]}, "^(yes|no)$"),
                ({"guided_regex": "[a-c]{3}-[0-9]+!"}, "^[a-c]{3}-[0-9]+!$"),
                ({"structured_outputs": {"regex": "x|yy"}}, "^(x|yy)$"),
            ):
                choice = self.ask(**field, **sampled)["choices"][0]
                if choice["finish_reason"] == "stop":
                    self.assertRegex(choice["text"], pattern)
        status, answer = self.c.post(
            "/v1/chat/completions",
            {
                "messages": [{"role": "user", "content": "x"}],
                "guided_json": {"type": "boolean"},
                "max_tokens": 9,
            },
        )
        self.assertEqual(status, 200, answer)
        self.assertIn(answer["choices"][0]["message"]["content"], ("true", "false"))
        self.refused(400, "uniqueItems", guided_json={"type": "array", "uniqueItems": True})

    def test_bad_input(self):
        self.assertEqual(self.refused(404, "other", model="other")["type"], "NotFoundError")
        self.assertEqual(self.refused(400, "max_tokens", max_tokens="many")["type"], "BadRequestError")
        self.refused(400, "temperature", temperature="hot")
        self.refused(400, "prompt", prompt="")
        self.refused(400, "prompt", prompt=[])
        self.refused(400, "prompt", prompt={"a": 1})
        self.refused(400, "10000000", prompt=[10000000])
        self.refused(400, "context", max_tokens=1000000)
        self.refused(
            400,
            "tools",
            path="/v1/chat/completions",
            messages=[{"role": "user", "content": "x"}],
            tools=[{"type": "function"}],
        )
        self.refused(400, "response_format", response_format={"type": "xml"})
        self.refused(400, "best_of", best_of=4)
        self.refused(400, "messages", path="/v1/chat/completions", messages=[])
        for body, word in (
            (b'{"prompt": "x", ', "JSON"),
            (b"", "JSON"),
            (b"[1]", "object"),
            (b'{"prompt": "\xff\xfe"}', "UTF-8"),
        ):
            status, _, raw = self.c.request("POST", "/v1/completions", body)
            self.assertEqual(status, 400, raw)
            self.assertIn(word, json.loads(raw)["error"]["message"])
        status, _, raw = self.c.request(
            "POST", "/v1/completions", b'{"prompt": "' + b"x" * (10 << 20) + b'"}'
        )
        self.assertEqual(status, 413)
        # A big body that is legal goes through the text thread, and is too long for the context.
        self.refused(400, "context", prompt="word " * 200000)
        self.assertEqual(self.ask()["usage"]["completion_tokens"], 8)
        self.c.wait_idle()

    # Native socket

    def test_baton_ask_streams_the_same_text(self):
        want = self.ask(prompt="hello there", max_tokens=16)["choices"][0]["text"]
        out = subprocess.run(
            [
                BIN + "/baton-ask",
                "-e",
                "tcp://127.0.0.1:%d" % self.c.client_port,
                "--temperature",
                "0",
                "--max-tokens",
                "16",
                "--ignore-eos",
                "--raw",
                "hello there",
            ],
            capture_output=True,
            timeout=120 * SLOW,
        )
        self.assertEqual(out.returncode, 0, out.stderr)
        self.assertEqual(out.stdout.decode().rstrip("\n"), want.rstrip("\n"))

    def test_baton_ask_without_a_coordinator_says_so(self):
        port = free_ports(1)[0]
        out = subprocess.run(
            [BIN + "/baton-ask", "-e", "tcp://127.0.0.1:%d" % port, "--timeout", "2", "hello"],
            capture_output=True,
            text=True,
            timeout=120 * SLOW,
        )
        self.assertEqual(out.returncode, 3)
        self.assertIn("127.0.0.1:%d" % port, out.stderr)


if __name__ == "__main__":
    unittest.main()
