#!/usr/bin/env python3
"""baton-ask and the examples of the native socket, against a real cluster."""

import os
import pty
import sys
import unittest

from harness import *

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Ask(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = Cluster(disaggregated())
        cls.endpoint = "tcp://127.0.0.1:%d" % cls.c.client_port

    @classmethod
    def tearDownClass(cls):
        cls.c.stop()

    def ask(self, *args, given="", status=0):
        command = [
            BIN + "/baton-ask",
            "-e",
            self.endpoint,
            "--max-tokens",
            "8",
            "--ignore-eos",
            "--temperature",
            "0",
        ]
        ran = subprocess.run(
            command + list(args), input=given.encode(), capture_output=True, timeout=120 * SLOW
        )
        self.assertEqual(ran.returncode, status, ran)
        return ran.stdout.decode("utf-8", "replace"), ran.stderr.decode("utf-8", "replace")

    def chat(self, *messages):
        status, answer = self.c.post(
            "/v1/chat/completions",
            {"messages": list(messages), "max_tokens": 8, "ignore_eos": True, "temperature": 0},
        )
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"]

    def test_a_question_is_a_chat_and_comes_from_arguments_or_standard_input(self):
        want = self.chat({"role": "user", "content": "hello there"})
        self.assertEqual(self.ask("hello", "there")[0].rstrip("\n"), want.rstrip("\n"))
        self.assertEqual(self.ask("-", given="hello there")[0].rstrip("\n"), want.rstrip("\n"))
        self.assertEqual(self.ask(given="hello there")[0].rstrip("\n"), want.rstrip("\n"))
        want = self.chat({"role": "system", "content": "short"}, {"role": "user", "content": "hello"})
        self.assertEqual(self.ask("--system", "short", "hello")[0].rstrip("\n"), want.rstrip("\n"))

    def test_json_has_an_object_per_answer(self):
        out, _ = self.ask("--json", "--raw", "-n", "2", "--logprobs", "1", "hello")
        lines = [json.loads(line) for line in out.splitlines()]
        self.assertEqual([x["choice"] for x in lines], [0, 1])
        for x in lines:
            self.assertEqual((x["completion_tokens"], x["finish_reason"]), (8, "length"))
            self.assertEqual(len(x["tokens"]), 8)
            self.assertGreater(x["stages_ms"]["total"], 0)

    def test_stats_go_to_stderr(self):
        out, err = self.ask("--stats", "hello")
        self.assertIn("answer 8 tokens, length", err)
        self.assertIn("TTFT", err)
        self.assertNotIn("TTFT", out)

    def test_a_conversation_remembers_what_was_said(self):
        first = self.chat({"role": "user", "content": "one"})
        second = self.chat(
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": first},
            {"role": "user", "content": "two"},
        )
        path = self.c.dir.name + "/talk.json"
        out, err = self.ask(
            "--chat", "--json", given="one\ntwo\n/save %s\n/reset\none\n/nope\n/exit\nlost\n" % path
        )
        texts = [json.loads(line)["text"] for line in out.splitlines()]
        self.assertEqual(texts, [first, second, first])
        self.assertIn("/nope is unknown", err)
        with open(path) as f:
            saved = json.load(f)["messages"]
        self.assertEqual([m["role"] for m in saved], ["user", "assistant"] * 2)
        self.assertEqual(saved[3]["content"], second)

    def test_a_terminal_gets_a_prompt_and_ctrl_d_ends(self):
        ours, theirs = pty.openpty()
        command = [BIN + "/baton-ask", "-e", self.endpoint, "--chat", "--max-tokens", "4", "--ignore-eos"]
        process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        os.write(ours, b"hello\n")
        seen = b""
        while seen.count(b"> ") < 2:
            seen += os.read(ours, 4096)
        os.write(ours, b"\x04")
        out, _ = process.communicate(timeout=120 * SLOW)
        os.close(ours)
        self.assertEqual(process.returncode, 0)
        self.assertGreater(len(out), 1)

    def test_wrong_words_are_usage_errors_and_refusals_tell_the_cause(self):
        self.assertIn("--temperature", self.ask("--temperature", "hot", "x", status=2)[1])
        self.assertIn("without --raw", self.ask("--chat", "--raw", status=2)[1])
        self.assertIn("no question", self.ask(status=2)[1])
        self.assertIn("404", self.ask("--model", "other", "x", status=1)[1])
        self.assertIn("--deadline", self.ask("--deadline", "0.01", "--max-tokens", "2000", "x", status=4)[1])

    def test_the_example_in_c_answers(self):
        work = self.c.dir.name
        proto = ["protoc-c", "--c_out=" + work, "-I", ROOT + "/proto", "client.proto"]
        subprocess.run(proto, check=True)
        command = ["cc", "-Wall", "-o", work + "/ask", ROOT + "/examples/ask.c", work + "/client.pb-c.c"]
        subprocess.run(command + ["-I", work, "-lzmq", "-lprotobuf-c"], check=True)
        self.answers([work + "/ask"])

    def test_the_example_in_python_answers(self):
        self.answers([sys.executable, ROOT + "/examples/ask.py"])

    def answers(self, command):
        ran = subprocess.run(
            command + [self.endpoint, "hello"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=120 * SLOW,
        )
        self.assertEqual(ran.returncode, 0, ran)
        self.assertRegex(ran.stdout, r"\n\(\d+ tokens\)\n$")


if __name__ == "__main__":
    unittest.main()
