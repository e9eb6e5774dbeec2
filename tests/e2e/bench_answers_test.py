#!/usr/bin/env python3
"""baton-bench serve against servers that do what a script says: every kind of answer, good and bad.

No fact depends on how fast anything is: the scripts order what happens, and the rows say what came of it. All
requests are due at once unless a test says otherwise, so that no run is void because the machine was busy."""

import glob
import json
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from bench_run import Run, equal, run_tests
from fake_server import CLOSE, HEAD, Server, answer, chunk, event, plain, usage_of
from harness import SLOW

# ---- what an answer says ----


def test_a_valid_run_has_a_row_for_each_request_and_ends_with_0():
    with Server() as s:
        r = Run(s, "--goodput", "ttft:600000", "tpot:600000", "--save-result", "--label", "mine")
        equal(r.code, 0, r.stdout + r.stderr)
        equal(r.outcomes(), ["ok"] * 6)
        info = r.info()
        equal(info["validity"], {"valid": True, "reasons": []})
        equal(info["result"]["completed"], 6)
        equal(info["result"]["total_input_tokens"], 48)
        equal(info["result"]["total_output_tokens"], 24)
        equal(info["slo"][0]["attainment"], 1)
        equal(info["command"][:2], ["baton-bench", "serve"])
        equal(info["command"][-4:], ["tpot:600000", "--save-result", "--label", "mine"])
        saved = glob.glob(r.dir.name + "/mine-infqps-fake-*.json")
        equal(len(saved), 1, os.listdir(r.dir.name))
        with open(saved[0]) as f:
            result = json.load(f)
        keys = """date endpoint_type backend label model_id tokenizer_id num_prompts request_rate burstiness
            max_concurrency duration completed failed total_input_tokens total_output_tokens
            request_throughput request_goodput output_throughput total_token_throughput
            max_output_tokens_per_s max_concurrent_requests
            rtfx""".split()
        keys += [
            "%s_%s_ms" % (a, m)
            for a in ("mean", "median", "std", "p99")
            for m in ("ttft", "tpot", "itl", "e2el")
        ]
        equal([k for k in keys if k not in result], [])
        equal(result["request_goodput"], result["request_throughput"])
        for key in ("validity", "slo", "compat"):
            equal(result[key], info[key], key)


def test_the_values_of_headers_are_sent_and_stand_in_no_file():
    with Server() as s:
        r = Run(s, "--header", "X-Key=secret1", "--header=Authorization=Bearer secret2=", "--save-result")
        equal(r.code, 0, r.stdout + r.stderr)
        equal(s.headers["x-key"], "secret1")
        equal(s.headers["authorization"], "Bearer secret2=")
        equal(r.info()["command"][-4:-1], ["--header", "X-Key=***", "--header=Authorization=***"])
        for folder, _, names in os.walk(r.dir.name):
            for name in names:
                with open(folder + "/" + name) as f:
                    equal("secret" in f.read(), False, name)
        equal("secret" in r.stdout + r.stderr, False)


def test_prompts_have_the_length_asked_and_are_all_different():
    with Server() as s:
        r = Run(s, "--input-cv", "1", "--input-max", "40", count=40)
        equal(r.code, 0, r.stdout + r.stderr)
        asked = sorted(row["prompt_asked"] for row in r.rows())
        prompts = [tuple(q["prompt"]) for q in s.requests[1:]]
        equal(sorted(map(len, prompts)), asked)
        equal(len(set(prompts)), 40)
        equal(max(asked) <= 40, True)
        q = s.requests[1]
        equal((q["stream"], q["stream_options"], q["ignore_eos"]), (True, {"include_usage": True}, True))
        equal((q["model"], q["max_tokens"], q["temperature"]), ("fake", 4, 0))
        equal("timings" in q, False, "only Baton knows that field")


def test_prompts_that_cannot_all_differ_are_refused_before_the_run():
    short = ["--random-input-len", "1", "--prompt-ids", "100:109"]
    with Server() as s:
        r = Run(s, *short, count=25)
        equal(r.code, 2, r.stdout + r.stderr)
        assert "15 of 25 prompts would be equal to others" in r.stderr, r.stderr
        assert "10 token ids" in r.stderr and "--prompt-ids" in r.stderr, r.stderr
        equal(len(s.requests), 1, "the first look alone")
        r = Run(s, *short, count=10)
        equal(r.code, 0, r.stdout + r.stderr)


def test_another_salt_gives_other_prompts_of_the_same_lengths():
    with Server() as s:
        prompts = []
        for salt in "0", "7", "7":
            begin = len(s.requests) + 1
            r = Run(s, "--input-cv", "1", "--input-max", "40", "--prompt-salt", salt, count=10)
            equal(r.code, 0, r.stdout + r.stderr)
            prompts.append(sorted((tuple(q["prompt"]) for q in s.requests[begin:])))
        equal(prompts[1], prompts[2])
        equal(set(prompts[0]) & set(prompts[1]), set())
        equal(sorted(map(len, prompts[0])), sorted(map(len, prompts[1])))


def test_the_example_of_role_chunk_joined_tokens_and_empty_finish():
    def script(request, number):
        if number == 0:
            return answer(request)
        return [
            HEAD,
            chunk(event("", chat=True, delta={"role": "assistant", "content": ""})),
            chunk(event("A", chat=True)),
            chunk(event("BCD", chat=True)),
            chunk(event("E", chat=True)),
            chunk(event("", "length", chat=True)),
            chunk('data: {"choices":[],"usage":%s}\n\n' % json.dumps(usage_of(8, 5))),
            chunk("data: [DONE]\n\n"),
            chunk(""),
        ]

    with Server(script) as s:
        r = Run(s, "--random-output-len", "5", count=1)
        equal(r.code, 0, r.stdout + r.stderr)
        row = r.rows()[0]
        equal([tokens for _, tokens in row["events"]], [0, 1, 1, 1, 0])
        equal((row["output_tokens"], row["finish"]), (5, "length"))
        equal(row["first_ns"], row["events"][1][0], "the role chunk is no token")
        equal(row["last_ns"], row["events"][3][0], "nor is the finish")
        result, compat = r.info()["result"], r.info()["compat"]
        ms = lambda a, b: (a - b) / 1e6
        close = lambda got, want: abs(got - want) < 1e-6
        assert close(result["mean_ttft_ms"], ms(row["first_ns"], row["scheduled_ns"]))
        assert close(result["mean_tpot_ms"], ms(row["last_ns"], row["first_ns"]) / 4)
        assert close(compat["mean_ttft_ms"], ms(row["events"][0][0], row["sent_ns"]))
        assert close(compat["mean_tpot_ms"], ms(row["events"][4][0], row["events"][0][0]) / 4)


def test_token_ids_say_how_many_tokens_an_event_has():
    def script(request, number):
        pieces = [chunk(event("", token_ids=[1])), chunk(event("xyz", "length", token_ids=[2, 3, 4]))]
        usage = 'data: {"choices":[],"usage":%s}\n\n' % json.dumps(usage_of(len(request["prompt"]), 4))
        return (
            answer(request)
            if number == 0
            else [HEAD] + pieces + [chunk(usage + "data: [DONE]\n\n"), chunk("")]
        )

    with Server(script, pages={"/version": '{"version":"0","numerics":"x"}'}) as s:
        r = Run(s, count=2)
        equal(r.code, 0, r.stdout + r.stderr)
        equal([tokens for _, tokens in r.rows()[0]["events"]], [1, 3])
        equal((s.requests[1]["timings"], s.requests[1]["return_token_ids"]), (True, True))
        equal(r.info()["target"]["server"]["numerics"], "x")


def test_any_framing_of_the_stream_is_read():
    def script(request, number):
        n = len(request["prompt"])
        usage = "data: %s\r\n\r\n" % json.dumps({"choices": [], "usage": usage_of(n, 4)})
        body = ": hello\r\n\r\n" + (event(" t") * 4 + event("", "length")).replace("\n", "\r\n") + usage
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        if number % 4 == 1:
            return [head + "Content-Length: %d\r\n\r\n" % len(body), body]
        if number % 4 == 2:
            return [head + "Connection: close\r\n\r\n", body, CLOSE]
        if number % 4 == 3:  # byte by byte
            return [head + "Transfer-Encoding: chunked\r\n\r\n"] + [chunk(c) for c in body] + [chunk("")]
        return answer(request)

    with Server(script) as s:
        r = Run(s, count=8)
        equal(r.code, 0, r.stdout + r.stderr)
        equal(r.outcomes(), ["ok"] * 8)
        equal([sum(t for _, t in row["events"]) for row in r.rows()], [4] * 8)


def test_chats_have_the_length_asked():
    def script(request, number):
        words = len(request["messages"][0]["content"].split())
        count = request["max_completion_tokens"]
        usage = 'data: {"choices":[],"usage":%s}\n\n' % json.dumps(usage_of(words + 7, count))
        events = [chunk(event("t", chat=True)) for _ in range(count)] + [
            chunk(event("", "length", chat=True))
        ]
        return [HEAD] + events + [chunk(usage + "data: [DONE]\n\n"), chunk("")]

    with Server(script) as s:  # it has no /tokenize: what usage says is believed
        r = Run(s, "--backend", "openai-chat", count=5)
        equal(r.code, 0, r.stdout + r.stderr)
        equal([row["prompt_tokens"] for row in r.rows()], [15] * 5)
        texts = [q["messages"][0]["content"] for q in s.requests[-5:]]
        equal([len(t.split()) for t in texts], [8] * 5)
        equal(len(set(texts)), 5)


# ---- connections ----


def test_connections_are_used_again():
    with Server() as s:
        r = Run(s, "--max-concurrency", "2", count=20)
        equal(r.code, 0, r.stdout + r.stderr)
        assert s.connections <= 4, s.connections
        assert s.most <= 2, s.most
        assert "closed loop" in r.stdout, r.stdout


def test_a_kept_connection_that_the_server_closed_fails_no_request():
    def script(request, number):
        return answer(request) + [CLOSE]  # after having said that it stays open

    with Server(script) as s:
        r = Run(s, count=12)
        equal(r.outcomes(), ["ok"] * 12, r.stderr)
        equal(r.code, 0, r.stdout)


# ---- failures of requests ----


def failing(pieces, void=True):
    """The third request gets these pieces; its row is returned, after all others were looked at. void: an
    error; else a miss that is no reason to doubt the run."""

    def script(request, number):
        return pieces(request) if number == 3 else answer(request)

    with Server(script) as s:
        r = Run(s)
        equal(r.code, 3 if void else 0, r.stdout + r.stderr)
        equal("1 of 6 requests failed" in r.reasons(), void)
        equal("VOID" in r.stdout, void)
        bad = [row for row in r.rows() if row["outcome"] != "ok"]
        equal(len(bad), 1)
        equal(len(r.rows()), 6)
        return bad[0]


def test_429_and_503_are_refusals_and_other_codes_failures():
    for code, outcome in (
        (429, "refused"),
        (503, "refused"),
        (500, "failed"),
        (400, "failed"),
        (404, "failed"),
    ):
        answer_code = lambda request: plain(code, '{"error":{"message":"not now"}}')
        row = failing(answer_code, void=outcome == "failed")
        equal((row["outcome"], row["http"], row["error"]), (outcome, code, "HTTP %d: not now" % code))
        equal((row["first_ns"], row["events"]), (None, []))


def test_a_stream_that_breaks_off_is_a_failure_that_keeps_its_events():
    row = failing(lambda request: answer(request)[:3] + [CLOSE])
    equal(row["outcome"], "failed")
    assert "in the middle of its answer" in row["error"], row["error"]
    equal([tokens for _, tokens in row["events"]], [1, 1])


def test_a_stream_without_finish_and_done_is_a_failure():
    row = failing(lambda request: answer(request)[:3] + [chunk("")])
    equal(row["outcome"], "failed")
    assert "without a finish_reason" in row["error"], row["error"]


def test_an_error_in_the_stream_is_a_failure_with_its_text():
    text = 'data: {"error":{"message":"the worker died","code":500}}\n\ndata: [DONE]\n\n'
    row = failing(lambda request: answer(request)[:2] + [chunk(text), chunk("")])
    equal((row["outcome"], row["error"]), ("failed", "in the stream: the worker died"))


def test_an_answer_that_is_no_stream_or_no_json_or_no_http_is_a_failure():
    row = failing(lambda request: plain(200, '{"choices":[{"text":"all at once"}]}'))
    assert "no event stream" in row["error"], row["error"]
    row = failing(lambda request: [HEAD, chunk("data: {broken\n\n"), chunk("")])
    assert "no JSON object but '{broken'" in row["error"], row["error"]
    row = failing(lambda request: ["SSH-2.0-OpenSSH\r\n"])
    assert "SSH-2.0-OpenSSH" in row["error"], row["error"]


def test_an_answer_without_content_is_a_failure():
    row = failing(lambda request: answer(request, tokens=0))
    equal((row["outcome"], row["error"]), ("failed", "the stream ended without any content"))


def test_an_answer_of_more_tokens_than_there_can_be_is_a_failure():
    def pieces(request):
        usage = usage_of(len(request["prompt"]), 2**32 - 1)
        out = answer(request)
        out[-3] = chunk('data: {"choices":[],"usage":%s}\n\n' % json.dumps(usage))
        return out

    row = failing(pieces)
    equal((row["outcome"], row["output_tokens"]), ("failed", 0))
    equal(row["error"], "the server counts 4294967295 tokens in one answer: more than 16777216")


def test_a_request_beyond_its_time_is_given_up_and_the_run_goes_on():
    gone = threading.Event()
    row = None

    def script(request, number):
        return answer(request)[:2] + [lambda: gone.wait(100 * SLOW)] if number == 2 else answer(request)

    with Server(script) as s:
        r = Run(s, "--request-timeout", "2")
        gone.set()
        equal(r.code, 0, r.stdout + r.stderr)
        row = [row for row in r.rows() if row["outcome"] == "timed_out"]
        equal(len(row), 1)
        assert row[0]["end_ns"] - row[0]["sent_ns"] >= 2e9
        assert "--request-timeout" in row[0]["error"]


if __name__ == "__main__":
    run_tests(globals())
