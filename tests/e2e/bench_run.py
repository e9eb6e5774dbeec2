"""One run of baton-bench serve against a server, and what it left."""

import json
import resource
import signal
import subprocess
import sys
import tempfile

import harness
from harness import BIN, SLOW


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


def run_tests(names):
    """Those of a file (its globals()) whose names hold one of the words of the command line, or all."""
    wanted = sys.argv[1:]
    for name, test in list(names.items()):
        if not name.startswith("test_") or (wanted and not any(w in name for w in wanted)):
            continue
        test()
        print("ok " + name[5:].replace("_", " "), flush=True)
