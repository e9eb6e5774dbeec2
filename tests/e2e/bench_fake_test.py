#!/usr/bin/env python3
"""baton-bench serve against servers that do what a script says: every kind of answer and of failure.

No fact depends on how fast anything is: the scripts order what happens, and the rows say what came of it. All
requests are due at once unless a test says otherwise, so that no run is void because the machine was busy."""

import glob
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness
from fake_server import CLOSE, HEAD, Server, answer, chunk, event, plain, usage_of
from harness import BIN, SLOW, wait_for


class Run:
    def __init__(self, server, *args, count=6, rate="inf", out=True, wait=True, limit=None):
        self.dir = tempfile.TemporaryDirectory(prefix="baton-bench-")
        self.out = self.dir.name + "/run"
        command = [BIN + "/baton-bench", "serve", "--no-self-test", "--result-dir", self.dir.name]
        command += ["--base-url", server if isinstance(server, str) else server.url]
        command += ["--num-prompts", str(count)] if count else []
        command += ["--request-rate", rate, "--random-input-len", "8", "--random-output-len", "4"]
        command += (["--out", self.out] if out else []) + list(args)

        def limited():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limited if limit else None,
        )
        if wait:
            self.end()

    def end(self):
        try:
            self.stdout, self.stderr = self.process.communicate(timeout=120 * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("baton-bench did not end: " + self.process.communicate()[1])
        self.code = self.process.returncode
        assert not harness.sanitizer_reports(self.stderr), self.stderr
        return self

    def rows(self):
        with open(self.out + "/rows.jsonl") as f:
            return sorted((json.loads(line) for line in f), key=lambda row: row["index"])

    def info(self):
        with open(self.out + "/run.json") as f:
            return json.load(f)

    def outcomes(self):
        return [row["outcome"] for row in self.rows()]

    def reasons(self):
        return "\n".join(self.info()["validity"]["reasons"])


def equal(got, want, what=""):
    assert got == want, "%s: %r, want %r" % (what, got, want)


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


# ---- validity ----


def void(script, *args):
    with Server(script) as s:
        r = Run(s, *args)
        equal(r.code, 3, r.stdout + r.stderr)
        equal(r.outcomes(), ["ok"] * 6)
        return r.reasons()


def test_other_lengths_than_asked_void_the_run():
    text = void(lambda q, n: answer(q, tokens=3) if n == 4 else answer(q))
    assert "1 of 6 answers had another length than asked" in text and "3 tokens, asked 4" in text, text
    text = void(lambda q, n: answer(q, prompt=9))
    assert "6 of 6 prompts had another length than asked" in text and "9 tokens, asked 8" in text, text
    text = void(lambda q, n: answer(q, finish="stop"))
    assert "6 of 6 answers ended by 'stop'" in text, text
    text = void(lambda q, n: [p for p in answer(q) if '"usage"' not in p])
    assert "6 of 6 answers came without usage" in text, text


def test_answers_that_end_by_themselves_are_valid_where_that_was_asked():
    with Server(lambda q, n: answer(q, tokens=2, finish="stop")) as s:
        r = Run(s, "--no-ignore-eos")
        equal(r.code, 0, r.stdout + r.stderr)
        equal("ignore_eos" in s.requests[1], False)


def test_prompts_from_a_cache_void_the_run():
    text = void(lambda q, n: answer(q, cached=4))
    assert "50.0 % of the prompt tokens came from a prefix cache" in text, text


def test_hits_of_a_cache_that_only_the_metrics_tell_void_the_run():
    asked = []

    def metrics():
        asked.append(1)
        counts = (100, 0) if len(asked) == 1 else (148, 12)
        return "vllm:prefix_cache_queries_total %d\nvllm:prefix_cache_hits_total %d\n" % counts

    with Server() as s:
        page = s.page
        s.page = lambda path: plain(200, metrics())[0] if path == "/metrics" else page(path)
        r = Run(s)
        equal(r.code, 3, r.stdout + r.stderr)
        equal(len(asked), 2)
        assert "25.0 % of the prompt tokens that the server looked up" in r.reasons(), r.reasons()


# ---- failures of the run ----


def test_an_unreachable_server_is_named():
    port = harness.free_ports(1)[0]
    r = Run("http://127.0.0.1:%d" % port, "--ready-check-timeout-sec", "0.5")
    equal(r.code, 1)
    assert "no server at http://127.0.0.1:%d within 0.5 s" % port in r.stderr, r.stderr
    assert "--base-url" in r.stderr


def test_a_result_that_cannot_be_written_is_told_before_anything_is_sent():
    with Server() as s, tempfile.TemporaryDirectory() as folder:
        with open(folder + "/file", "w"):
            pass
        for args in (["--result-dir", folder + "/file"], ["--result-dir", folder + "/file/below"]):
            r = Run(s, "--save-result", *args)
            equal(r.code, 1, r.stdout + r.stderr)
            assert folder + "/file" in r.stderr and "--result-dir" in r.stderr, r.stderr
        r = Run(s, "--save-result", "--result-filename", "no/such/folder.json")
        equal(r.code, 1, r.stdout + r.stderr)
        assert "no/such/folder.json" in r.stderr and "--result-dir" in r.stderr, r.stderr
        equal(s.requests, [])


def test_the_folder_of_results_is_made_and_holds_the_result_alone():
    with Server() as s, tempfile.TemporaryDirectory() as folder:
        r = Run(s, "--result-dir", folder + "/a/b", "--save-result", "--result-filename", "r.json")
        equal(r.code, 0, r.stdout + r.stderr)
        equal(os.listdir(folder + "/a/b"), ["r.json"])
        r = Run(s, "--result-dir", folder + "/c", "--save-result")
        equal(r.code, 0, r.stdout + r.stderr)
        equal([name.endswith(".json") for name in os.listdir(folder + "/c")], [True])


def test_a_server_that_is_not_ready_is_waited_for():
    seen = []

    def script(request, number):
        seen.append(number)
        return plain(503, "not yet") if number < 3 else answer(request)

    with Server(script) as s:
        r = Run(s)
        equal(r.code, 0, r.stdout + r.stderr)
        equal(len(s.requests), 4 + 6)


def test_a_server_that_dies_leaves_the_rows_and_ends_the_run():
    server = None

    def script(request, number):
        return [server.die] if number == 4 else answer(request)

    with Server(script) as server:
        r = Run(server, "--stall-timeout", "1", count=4000, rate="50")
        equal(r.code, 1, r.stdout + r.stderr)
        assert "nothing succeeded for 1 s" in r.stderr, r.stderr
        rows = r.rows()
        equal(len(rows), 4000)
        equal([row["outcome"] for row in rows].count("ok"), 3)
        assert any("refused" in row["error"] for row in rows if row["outcome"] == "failed")
        equal(rows[-1]["outcome"], "unsent")
        equal(r.info()["result"]["completed"], 3)


def test_a_run_that_fails_goes_to_its_end_before_the_stall_limit():
    with Server(lambda q, n: plain(500, "no") if n else answer(q)) as s:
        r = Run(s, "--stall-timeout", "600")
        equal(r.code, 3, r.stdout + r.stderr)
        equal(r.outcomes(), ["failed"] * 6)


def test_ctrl_c_keeps_what_was_measured():
    reached, gone = threading.Event(), threading.Event()

    def script(request, number):
        if number < 4:
            return answer(request)
        reached.set()
        return answer(request)[:3] + [lambda: gone.wait(100 * SLOW)]

    with Server(script) as s:
        r = Run(s, count=500, rate="20", wait=False)
        assert reached.wait(100 * SLOW)
        wait_for("four requests were asked", lambda: len(s.requests) > 4)
        r.process.send_signal(signal.SIGINT)
        r.end()
        gone.set()
        equal(r.code, 130, r.stdout + r.stderr)
        outcomes = r.outcomes()
        equal(len(outcomes), 500)
        equal(outcomes.count("ok"), 3)
        assert outcomes.count("unfinished") >= 1 and outcomes[-1] == "unsent"
        assert (
            "INTERRUPTED" in r.stdout and "Successful requests:                     3 " in r.stdout
        ), r.stdout
        equal(r.info()["interrupted"], True)
        assert "the run was interrupted: 3 of 500 requests had ended" in r.reasons(), r.reasons()


def test_a_full_disk_ends_the_run_and_keeps_whole_rows():
    with Server() as s:
        r = Run(s, count=400, limit=20000)
        equal(r.code, 1, r.stdout)
        assert "rows" in r.stderr and r.out in r.stderr, r.stderr
        with open(r.out + "/rows.jsonl") as f:
            text = f.read()
        assert text.endswith("\n") and len(text) <= 20000
        assert all(json.loads(line)["seed"] == 0 for line in text.splitlines())
        assert "Successful requests:" in r.stdout


# ---- steady state ----


def test_windows_follow_each_other_and_load_goes_on_until_the_last_member_ended():
    with Server() as s:
        r = Run(s, "--seeds", "5,6", "--window", "1.5", "--warmup", "0.5", count=None, rate="20")
        assert r.code in (0, 3), r.stderr
        info = r.info()
        equal(
            [(g["seed"], g["begin_s"], g["end_s"]) for g in info["segments"]], [(5, 0.5, 2.0), (6, 2.0, 3.5)]
        )
        rows = r.rows()
        members = [row for row in rows if row["phase"] == "window"]
        equal({row["seed"] for row in members}, {5, 6})
        for row in members:
            begin = 0.5 if row["seed"] == 5 else 2.0
            assert begin <= row["scheduled_ns"] / 1e9 < begin + 1.5
        others = {row["seed"] for row in rows if row["phase"] != "window"}
        equal(others & {5, 6}, set(), "seeds of warm-up and tail are others")
        again = Run(s, "--seeds", "5,6", "--window", "1.5", "--warmup", "0.5", count=None, rate="20")
        shape = lambda run: [
            (q["seed"], q["index"], q["scheduled_ns"]) for q in run.rows() if q["phase"] == "window"
        ]
        equal(sorted(shape(r)), sorted(shape(again)), "the same seeds give the same arrivals")


def test_the_server_is_asked_for_its_workers():
    asked = []

    def health():
        asked.append(1)
        busy = {"prefill": 1.0 * len(asked), "decode": 0, "mixed": 0}
        worker = {"name": "w", "role": "colocated", "pages": {"used": 1, "total": 9}, "busy_s": busy}
        return json.dumps({"workers": [worker]})

    with Server() as s:
        page = s.page
        text = 'vllm:num_preemptions_total{model_name="m"} 3\nbaton_replays_total 2\n'
        text += "process_cpu_seconds_total 5\n"
        s.page = lambda path: (
            plain(200, health())[0]
            if path == "/health"
            else plain(200, text)[0] if path == "/metrics" else page(path)
        )
        r = Run(s, count=30, rate="20")
        assert r.code in (0, 3), r.stdout + r.stderr
        worker = r.info()["workers"][0]
        equal((worker["name"], worker["role"], worker["pages_total"]), ("w", "colocated", 9))
        assert worker["prefill_share"] > 0 and worker["decode_share"] == 0
        equal(r.info()["server"]["preemptions"], 0)
        equal(r.info()["server"]["coordinator_cpu_share"], 0)


# ---- usage ----


def test_wrong_usage_ends_with_2_and_says_what_is_wrong():
    cases = [
        (["--backend", "grpc"], "'grpc' is none of openai, openai-chat, native"),
        (["--goodput", "latency:5"], "latency"),
        (["--goodput", "ttft:fast"], "ttft"),
        (["--request-rate", "0"], "--request-rate"),
        (["--seeds", "1,x", "--window", "5"], "'1,x'"),
        (["--window", "5", "--request-rate", "inf"], "finite --request-rate"),
        (["--seeds", "1"], "need --window"),
        (["--metadata", "x"], "KEY=VALUE"),
        (["stray"], "'stray' is no option"),
        (["--workload", "poem"], "poem"),
        (["--dataset-name", "hf"], "'hf'"),
        (["--workload", "/no/such/file.csv"], "/no/such/file.csv"),
        (["--no-such-option"], "no-such-option"),
        (["--metric-percentiles", "101"], "101"),
        (["--arrivals", "weekly"], "weekly"),
        (["--ramp-up-strategy", "linear"], "--ramp-up-start-rps"),
    ]
    for args, text in cases:
        p = subprocess.run(
            [BIN + "/baton-bench", "serve", *args], capture_output=True, text=True, timeout=60 * SLOW
        )
        equal(p.returncode, 2, (args, p.stderr))
        assert text in p.stderr, (args, p.stderr)
    p = subprocess.run([BIN + "/baton-bench"], capture_output=True, text=True, timeout=60 * SLOW)
    equal(p.returncode, 2)
    p = subprocess.run(
        [BIN + "/baton-bench", "serve", "--help"], capture_output=True, text=True, timeout=60 * SLOW
    )
    equal(p.returncode, 0)
    for flag in "--base-url --request-rate --goodput --seeds --out --request-timeout".split():
        assert flag in p.stdout, flag


def test_the_client_measures_itself():
    command = [
        BIN + "/baton-bench",
        "serve",
        "--self-test",
        "--random-input-len",
        "64",
        "--random-output-len",
        "16",
    ]
    p = subprocess.run(command, capture_output=True, text=True, timeout=120 * SLOW)
    equal(p.returncode, 0, p.stderr)
    for line in (
        r"largest rate +\d+ requests/s, \d+ tokens/s",
        r"added latency +[\d.]+ ms",
        r"CPU per token +[\d.]+ us",
    ):
        assert re.search(line, p.stdout), p.stdout


def main():
    wanted = sys.argv[1:]
    for name, test in list(globals().items()):
        if not name.startswith("test_") or (wanted and not any(w in name for w in wanted)):
            continue
        test()
        print("ok " + name[5:].replace("_", " "), flush=True)


if __name__ == "__main__":
    main()
