#!/usr/bin/env python3
"""Who may come in over HTTP, and how much they may bring: TLS, keys of a file, reloading, limits, memory."""

import os
import socket
import ssl
import subprocess
import sys
import unittest

from harness import *

KEY = "sk-0123456789abcdef"
OTHER = "sk-fedcba9876543210"
# A process of its own, which trusts the certificate by its environment.
OPENAI = """
import sys
from openai import OpenAI
client = OpenAI(base_url=sys.argv[1], api_key=sys.argv[2], max_retries=0)
ask = dict(model="tiny", prompt="hello", max_tokens=3, temperature=0)
whole = client.completions.create(**ask)
streamed = client.completions.create(stream=True, **ask)
print("same" if "".join(e.choices[0].text for e in streamed) == whole.choices[0].text else "not the same")
"""


class TlsCluster(Cluster):
    """Its certificate and keys are files in its folder; the client trusts the certificate alone."""

    def __init__(self, config):
        super().__init__(config, start=False)
        self.cert, self.tls_key, self.keys = (
            self.dir.name + "/" + name for name in ("cert.pem", "key.pem", "keys")
        )
        self.new_certificate("first")
        self.write_keys("# who and key\nbatch %s\n" % KEY)
        self.config = merge(
            self.config, {"http": {"tls_cert": self.cert, "tls_key": self.tls_key, "api_key_file": self.keys}}
        )
        with open(self.path, "w") as f:
            f.write(yaml(self.config))
        self.start()

    def ready_line(self):
        return "ready: https://127.0.0.1:%d " % self.http_port

    def new_certificate(self, name):
        command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        command += " -subj /CN=%s -addext subjectAltName=IP:127.0.0.1" % name
        subprocess.run(
            command.split() + ["-keyout", self.tls_key, "-out", self.cert], check=True, capture_output=True
        )
        os.chmod(self.tls_key, 0o600)

    def write_keys(self, text, mode=0o600):
        with open(self.keys, "w") as f:
            f.write(text)
        os.chmod(self.keys, mode)

    def connect(self, timeout=600):
        context = ssl.create_default_context(cafile=self.cert)
        return http.client.HTTPSConnection(
            self.there, self.http_port, timeout=timeout * SLOW, context=context
        )

    def coordinator(self):
        return self.pids("baton-coordinator")[0]

    def reload(self, line):
        """Tells the coordinator to read its files again; line: what the log says then, once more."""
        before = self.log().count(line)
        kill(self.coordinator(), signal.SIGHUP)
        wait_for(line, lambda: self.log().count(line) > before)


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = TlsCluster(colocated(model={"served_model_name": "tiny"}))
        cls.url = "https://127.0.0.1:%d" % cls.c.http_port

    @classmethod
    def tearDownClass(cls):
        cls.c.stop()
        cls.c.dir.cleanup()

    def status(self, key):
        headers = {"Authorization": "Bearer " + key} if key else {}
        return self.c.request("GET", "/v1/models", None, headers)[0]

    def curl(self, *args):
        return subprocess.run(
            ["curl", "-sS", "--cacert", self.c.cert, "--max-time", "%d" % (120 * SLOW), *args],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def test_curl_and_the_openai_client_speak_tls_with_a_key(self):
        raw = self.curl(
            "-N",
            "-H",
            "Authorization: Bearer " + KEY,
            "-d",
            '{"prompt":"hello","max_tokens":3,"ignore_eos":true,"stream":true,'
            '"stream_options":{"include_usage":true}}',
            self.url + "/v1/completions",
        )
        self.assertIn('"completion_tokens":3', raw)  # how many events bring them is the moment's affair
        self.assertTrue(raw.endswith("data: [DONE]\n\n"))
        try:
            import openai
        except ImportError:
            self.skipTest("no openai client here: tests/venv.sh")
        del openai
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", OPENAI, self.url + "/v1", KEY],
            env=dict(os.environ, SSL_CERT_FILE=self.c.cert),
            capture_output=True,
            text=True,
            timeout=300 * SLOW,
        )
        self.assertEqual((done.returncode, done.stdout), (0, "same\n"), done.stderr)

    def bench(self, url, *flags):
        command = [
            BIN + "/baton-bench",
            "serve",
            "--no-self-test",
            "--quiet",
            "--num-prompts",
            "20",
            "--model",
            "tiny",
        ]
        command += ["--random-input-len", "8", "--random-output-len", "3", "--ready-check-timeout-sec", "1"]
        done = subprocess.run(
            command + ["--base-url", url, *flags],
            env=dict(os.environ, OPENAI_API_KEY=KEY),
            capture_output=True,
            text=True,
            timeout=300 * SLOW,
        )
        return done.returncode, done.stdout + done.stderr

    def test_baton_bench_speaks_tls_and_trusts_whom_it_is_told_to(self):
        for flags in (["--ca", self.c.cert], ["--cacert", self.c.cert], ["--insecure"]):
            code, words = self.bench(self.url, *flags)
            self.assertEqual(code, 0, words)
            self.assertRegex(words, r"Successful requests: +20\b")
        code, words = self.bench(self.url)
        self.assertNotEqual(code, 0)
        self.assertIn("its certificate is not trusted", words)
        self.assertIn("give --ca FILE, or --insecure", words)
        code, words = self.bench(self.url.replace("127.0.0.1", "localhost"), "--ca", self.c.cert)
        self.assertNotEqual(code, 0)
        self.assertIn("hostname mismatch", words)
        code, words = self.bench(self.url, "--ca", self.c.tls_key)
        self.assertNotEqual(code, 0)
        self.assertIn("--ca: %s has no certificate" % self.c.tls_key, words)

    def test_keys_are_read_again_and_a_broken_file_keeps_the_old(self):
        self.assertEqual([self.status(key) for key in (None, KEY, OTHER)], [401, 200, 401])
        self.assertEqual(self.c.request("GET", "/metrics")[0], 200)
        self.assertEqual(self.c.request("POST", "/tokenize", {"prompt": "a"})[0], 401)
        self.c.write_keys("%s\nbatch two words %s\n" % (OTHER, KEY))
        self.c.reload("the keys stay as they were")
        self.assertIn(self.c.keys + ":2: want KEY or NAME KEY", self.c.log())
        self.assertEqual([self.status(key) for key in (KEY, OTHER)], [200, 401])
        self.c.write_keys("%s\n" % OTHER, 0o644)
        self.c.reload("the keys stay as they were")
        self.assertEqual([self.status(key) for key in (KEY, OTHER)], [200, 401])
        self.c.write_keys("%s\n" % OTHER)
        self.c.reload("keys were read again keys=1")
        self.assertEqual([self.status(key) for key in (KEY, OTHER)], [401, 200])
        self.c.write_keys("batch %s\n" % KEY)
        self.c.reload("keys were read again keys=1")
        self.assertNotIn(KEY, self.c.log())
        self.assertNotIn(OTHER, self.c.log())

    def test_a_new_certificate_is_used_and_a_broken_one_is_not(self):
        def subject():
            context = ssl.create_default_context(cafile=self.c.cert)
            with socket.create_connection(("127.0.0.1", self.c.http_port)) as raw:
                with context.wrap_socket(raw, server_hostname="127.0.0.1") as s:
                    return dict(part[0] for part in s.getpeercert()["subject"])["commonName"]

        self.assertEqual(subject(), "first")
        with open(self.c.cert) as f:
            old = f.read()
        with open(self.c.cert, "w") as f:
            f.write("no certificate\n")
        self.c.reload("the certificate stays as it was")
        with open(self.c.cert, "w") as f:
            f.write(old)
        self.assertEqual(subject(), "first")
        self.c.new_certificate("second")
        self.c.reload("the certificate was read again")
        self.assertEqual(subject(), "second")

    def test_plain_http_is_told(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.c.http_port, timeout=60 * SLOW)
        connection.request("GET", "/health")
        answer = connection.getresponse()
        self.assertEqual(answer.status, 400)
        self.assertIn("https://", json.loads(answer.read())["error"]["message"])
        connection.close()

    def test_a_client_that_leaves_is_noticed(self):
        """While it waits for its first token, behind a worker that does not run."""
        with self.c.stopped("colocated-0"):
            connection = self.c.connect()
            body = json.dumps({"prompt": "hello", "max_tokens": 4})
            connection.request("POST", "/v1/completions", body, {"Authorization": "Bearer " + KEY})
            asked = lambda: json.loads(self.c.get("/load")[1])["server_load"]
            wait_for("the request", lambda: asked() == 1)
            connection.sock.close()  # which leaves the response half open
            connection.close()
            wait_for("its end", lambda: asked() == 0)


class Limits(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = Cluster(
            colocated(
                limits={
                    "max_body_kb": 8192,
                    "max_header_kb": 4,
                    "max_uploads_mb": 9,
                    "max_connections": 64,
                    "max_prompt_tokens": 100,
                    "json_depth": 20,
                }
            )
        )

    @classmethod
    def tearDownClass(cls):
        cls.c.stop()
        cls.c.dir.cleanup()

    def refused(self, status, contains, path, body, headers=None):
        got, _, raw = self.c.request("POST", path, body, headers)
        self.assertEqual(got, status, raw)
        self.assertIn(contains, json.loads(raw)["error"]["message"])

    def test_a_request_beyond_a_limit_is_told_which(self):
        ids = lambda count: {"prompt": [5] * count, "max_tokens": 1}
        self.assertEqual(self.c.request("POST", "/v1/completions", ids(100))[0], 200)
        self.refused(400, "limits.max_prompt_tokens", "/v1/completions", ids(101))
        nested = lambda depth: '{"prompt":"a","x":' + "[" * depth + "]" * depth + "}"
        self.assertEqual(self.c.request("POST", "/tokenize", nested(19))[0], 200)
        self.refused(400, "limits.json_depth", "/tokenize", nested(20))
        self.refused(431, "limits.max_header_kb", "/tokenize", "{}", {"x-long": "a" * 4096})
        self.refused(413, "limits.max_body_kb", "/tokenize", b" " * (8192 * 1024 + 1))

    def test_clients_that_stand_still_keep_nobody_out(self):
        """Half a head, half a body, and an answer that is not read: all as many as there may be."""
        still = []
        for i in range(60):
            s = socket.create_connection(("127.0.0.1", self.c.http_port))
            still.append(s)
            if i % 3 == 0:
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost:")
            elif i % 3 == 1:
                s.sendall(
                    b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n" + b" " * 99
                )
            else:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        self.assertEqual(self.c.complete(prompt=[5] * 10, max_tokens=3)["usage"]["completion_tokens"], 3)
        status, answer = self.c.post("/tokenize", '{"prompt":"a"' + " " * 8000000 + "}")
        self.assertEqual((status, answer["count"] > 0), (200, True))
        for s in still:
            s.close()

    @unittest.skipIf(SLOW > 1, "a sanitizer keeps what was freed")
    def test_large_bodies_do_not_stay_in_memory(self):
        pid = self.c.pids("baton-coordinator")[0]

        def resident_mib():
            with open("/proc/%d/status" % pid) as f:
                return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) / 1024

        before = resident_mib()
        # Each takes some 300 MiB while it is read.
        for path, body in (
            ("/v1/completions", '{"prompt":[' + "1," * 4000000 + "1]}"),
            ("/v1/completions", '{"prompt":"a","max_tokens":1,"x":[' + "{}," * 1200000 + "1]}"),
        ):
            self.c.request("POST", path, body)
            wait_for("memory given back", lambda: resident_mib() < before + 64)


class Start(unittest.TestCase):
    def test_a_file_that_cannot_be_used_is_told_before_anything_starts(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/cluster.yaml"
            with open(path, "w") as f:
                f.write(
                    yaml(
                        {
                            "model": {"path": TINY},
                            "cluster": dict.fromkeys(("control", "client"), "tcp://127.0.0.1:*"),
                        }
                    )
                )
            for sets, want in (
                (["http.api_key_file=%s/none" % folder], "http.api_key_file: %s/none: No such file" % folder),
                (["http.tls_cert=a"], "http.tls_key: is missing"),
                (["cluster.http=0.0.0.0:0"], "set http.api_key_file or BATON_API_KEY"),
                (["http.tls_cert=a", "http.tls_key=b"], "http.tls_cert: a: No such file"),
            ):
                command = [BIN + "/baton-coordinator", path, "--set", "cluster.http=127.0.0.1:0"]
                for item in sets:
                    command += ["--set", item]
                done = subprocess.run(command, capture_output=True, text=True, timeout=120 * SLOW)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(want, done.stderr)


if __name__ == "__main__":
    unittest.main()
