#!/usr/bin/env python3
"""The official openai client, unmodified, against a cluster of SmolLM2: what of the SDK applies, and its
exception classes. Tests of the API itself are in tests/e2e/api_test.py.

tests/clients/openai_client.py [unittest options]"""

import asyncio
import unittest

from clients import *

within("openai", "openai==3.54.0")

import openai

MODEL = "SmolLM2-135M-Instruct.Q4_1"
ASK = [{"role": "user", "content": "What is the capital of France?"}]
PATIENCE = 300  # seconds: for what hangs


def setUpModule():
    global cluster, client
    cluster = smol()
    client = openai.OpenAI(base_url=url(cluster) + "/v1", api_key="none", timeout=PATIENCE, max_retries=0)


def tearDownModule():
    client.close()
    cluster.wait_idle()
    cluster.stop()


class Chat(unittest.TestCase):
    def ask(self, **over):
        body = {"model": MODEL, "messages": ASK, "temperature": 0, "max_tokens": 24}
        return client.chat.completions.create(**dict(body, **over))

    def test_an_answer_of_words_with_its_usage(self):
        answer = self.ask()
        self.assertIn("Paris", answer.choices[0].message.content)
        self.assertEqual(
            (answer.object, answer.model, answer.choices[0].index), ("chat.completion", MODEL, 0)
        )
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        usage = answer.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertLess(usage.prompt_tokens_details.cached_tokens, usage.prompt_tokens)

    def test_a_stream_says_the_same(self):
        whole = self.ask()
        chunks = list(self.ask(stream=True, stream_options={"include_usage": True}))
        said = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        self.assertEqual(said, whole.choices[0].message.content)
        self.assertEqual(len({c.id for c in chunks}), 1)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual([c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")
        self.assertEqual(chunks[-1].usage.completion_tokens, whole.usage.completion_tokens)

    def test_the_stream_helper_gathers_the_answer(self):
        with client.chat.completions.stream(
            model=MODEL, messages=ASK, temperature=0, max_completion_tokens=24, seed=1
        ) as stream:
            deltas = "".join(e.delta for e in stream if e.type == "content.delta")
            self.assertEqual(stream.get_final_completion().choices[0].message.content, deltas)
        self.assertIn("Paris", deltas)

    def test_content_in_parts_and_every_role(self):
        parts = [{"type": "text", "text": "What is the capital"}, {"type": "text", "text": " of France?"}]
        same = self.ask(messages=[{"role": "user", "content": parts}])
        self.assertTrue(same.choices[0].message.content)
        talk = [{"role": "system", "content": "Answer in one word."}] + ASK
        talk += [{"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And of Italy?"}]
        self.assertTrue(self.ask(messages=talk).choices[0].message.content)

    def test_logprobs_of_each_token(self):
        content = self.ask(logprobs=True, top_logprobs=3).choices[0].logprobs.content
        for token in content:
            self.assertEqual(len(token.top_logprobs), 3)
            self.assertEqual(token.logprob, max(t.logprob for t in token.top_logprobs))
            self.assertEqual(bytes(token.bytes).decode(errors="replace"), token.token)

    def test_choices_by_seed(self):
        answers = [self.ask(n=3, seed=11, temperature=1.2, top_p=0.95) for _ in range(2)]
        said = [[c.message.content for c in a.choices] for a in answers]
        self.assertEqual(said[0], said[1])
        self.assertEqual(len(set(said[0])), 3)

    def test_stop_bias_and_penalties(self):
        self.assertNotIn("Paris", self.ask(stop=["Paris"]).choices[0].message.content)
        body = dict(presence_penalty=0.5, frequency_penalty=0.5, user="me", metadata={"a": "b"})
        self.assertTrue(self.ask(**body).choices[0].message.content)
        answer = self.ask(logit_bias={"2": 100}, max_tokens=4, extra_body={"ignore_eos": True})
        self.assertEqual(answer.usage.completion_tokens, 4)

    def test_an_empty_max_tokens_ends_by_itself(self):
        answer = self.ask(messages=ASK, max_tokens=None)
        self.assertEqual(answer.choices[0].finish_reason, "stop")


class Completions(unittest.TestCase):
    def complete(self, **over):
        body = {"model": MODEL, "prompt": "The capital of France is", "temperature": 0, "max_tokens": 8}
        return client.completions.create(**dict(body, **over))

    def test_prompts_of_every_kind(self):
        self.assertIn("Paris", self.complete().choices[0].text)
        two = self.complete(prompt=["The capital of France is", "The capital of Italy is"])
        self.assertEqual([c.index for c in two.choices], [0, 1])
        self.assertIn("Rome", two.choices[1].text)
        ids = [504, 3575, 282, 4649, 314]
        self.assertEqual(
            self.complete(prompt=[ids, ids]).choices[0].text, self.complete(prompt=ids).choices[0].text
        )

    def test_streams_of_several_choices(self):
        text = {0: "", 1: ""}
        for chunk in self.complete(n=2, seed=5, temperature=1, stream=True):
            for choice in chunk.choices:
                text[choice.index] += choice.text
        whole = self.complete(n=2, seed=5, temperature=1)
        self.assertEqual([text[0], text[1]], [c.text for c in whole.choices])

    def test_echo_with_logprobs_of_the_prompt(self):
        answer = self.complete(echo=True, logprobs=2, max_tokens=1)
        scored = answer.choices[0].logprobs
        self.assertTrue(answer.choices[0].text.startswith("The capital of France is"))
        self.assertEqual("".join(scored.tokens), answer.choices[0].text)
        self.assertIsNone(scored.token_logprobs[0])
        self.assertTrue(all(p <= 0 for p in scored.token_logprobs[1:]))
        for offset, token in zip(scored.text_offset, scored.tokens):
            self.assertEqual(answer.choices[0].text[offset : offset + len(token)], token)

    def test_max_tokens_0_only_scores(self):
        answer = self.complete(echo=True, logprobs=0, max_tokens=0)
        self.assertEqual(answer.choices[0].text, "The capital of France is")
        self.assertEqual(answer.usage.completion_tokens, 0)


class TheRest(unittest.TestCase):
    def test_models(self):
        self.assertEqual([m.id for m in client.models.list()], [MODEL])
        self.assertEqual(client.models.retrieve(MODEL).object, "model")

    def test_headers_of_the_raw_response(self):
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=ASK, max_tokens=2, extra_headers={"X-Request-Id": "mine-1"}
        )
        self.assertEqual((raw.status_code, raw.headers["x-request-id"]), (200, "mine-1"))
        self.assertEqual(raw.headers["content-type"].split(";")[0], "application/json")
        self.assertEqual(raw.parse().usage.completion_tokens, 2)
        self.assertTrue(client.models.with_raw_response.list().headers["x-request-id"])
        with client.completions.with_streaming_response.create(
            model=MODEL, prompt="Hi", max_tokens=2
        ) as response:
            self.assertIn('"text_completion"', response.read().decode())

    def raises(self, kind, word, call, **body):
        with self.assertRaises(kind) as e:
            call(**body)
        self.assertIs(type(e.exception), kind)
        self.assertIn(word, e.exception.message)
        self.assertTrue(e.exception.request_id)
        return e.exception

    def test_errors_are_the_classes_of_the_sdk(self):
        chat, text = client.chat.completions.create, client.completions.create
        self.raises(openai.NotFoundError, "other", chat, model="other", messages=ASK)
        self.raises(openai.NotFoundError, "other", client.models.retrieve, model="other")
        e = self.raises(
            openai.BadRequestError, "temperature", chat, model=MODEL, messages=ASK, temperature=-1
        )
        self.assertEqual((e.param, e.type), ("temperature", "BadRequestError"))
        e = self.raises(openai.BadRequestError, "context", text, model=MODEL, prompt="x " * 20000)
        self.assertEqual(e.code, "context_length_exceeded")
        self.raises(openai.BadRequestError, "messages", chat, model=MODEL, messages=[])
        for call in (client.embeddings.create, client.moderations.create):
            with self.assertRaises(openai.NotFoundError):
                call(model=MODEL, input="x")
        with self.assertRaises(openai.NotFoundError):
            client.responses.create(model=MODEL, input="x")
        with self.assertRaises(openai.APIStatusError) as e:
            text(model=MODEL, prompt="y" * (11 << 20))
        self.assertEqual(e.exception.status_code, 413)

    def test_a_wrong_key(self):
        with smol(http={"api_keys": ["right"]}) as c:
            with self.assertRaises(openai.AuthenticationError):
                client.with_options(base_url=url(c) + "/v1").models.list()
            with openai.OpenAI(base_url=url(c) + "/v1", api_key="right") as right:
                self.assertEqual(right.models.list().data[0].id, MODEL)

    def test_nobody_there(self):
        with openai.OpenAI(
            base_url="http://127.0.0.1:%d/v1" % free_ports(1)[0], api_key="none", max_retries=1
        ) as away:
            with self.assertRaises(openai.APIConnectionError):
                away.models.list()

    def test_a_timeout_frees_what_the_request_held(self):
        with cluster.stopped("decode-0"):
            with self.assertRaises(openai.APITimeoutError):
                client.completions.create(model=MODEL, prompt="Hi", max_tokens=64, timeout=2)
        cluster.wait_idle()

    def test_a_stream_that_is_closed_frees_what_it_held(self):
        stream = client.completions.create(
            model=MODEL, prompt="Once", max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
        )
        next(iter(stream))
        stream.close()
        cluster.wait_idle()


class Async(unittest.TestCase):
    def test_many_requests_at_once(self):
        async def all_of_them():
            async with openai.AsyncOpenAI(
                base_url=url(cluster) + "/v1", api_key="none", timeout=PATIENCE, max_retries=0
            ) as many:

                async def whole(i):
                    answer = await many.completions.create(
                        model=MODEL, prompt="Count: %d," % i, max_tokens=6, temperature=0
                    )
                    return answer.choices[0].text

                async def streamed(i):
                    said = ""
                    async for chunk in await many.completions.create(
                        model=MODEL, prompt="Count: %d," % i, max_tokens=6, temperature=0, stream=True
                    ):
                        said += chunk.choices[0].text
                    return said

                return await asyncio.gather(*[f(i) for i in range(48) for f in (whole, streamed)])

        answers = asyncio.run(all_of_them())
        self.assertEqual(answers[::2], answers[1::2])
        self.assertEqual(len(answers), 96)

    def test_a_task_that_is_canceled(self):
        async def cancel():
            async with openai.AsyncOpenAI(base_url=url(cluster) + "/v1", api_key="none") as one:
                stream = await one.completions.create(
                    model=MODEL, prompt="Once", max_tokens=1500, stream=True, extra_body={"ignore_eos": True}
                )
                task = asyncio.create_task(stream.__anext__())
                await task
                rest = asyncio.create_task(one.completions.create(model=MODEL, prompt="Go", max_tokens=900))
                await asyncio.sleep(0)
                rest.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await rest
                await stream.close()

        asyncio.run(cancel())
        cluster.wait_idle()


if __name__ == "__main__":
    unittest.main()
