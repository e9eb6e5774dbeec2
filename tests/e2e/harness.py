"""Starts real clusters for the end-to-end tests: deploy/up.sh with a config of its own, free ports, a
deadline on everything.

Deadlines are there for what hangs: they allow for a machine that is many times slower than any. No test may
need one process to be faster than another: where a fact holds for a moment only, the test stops a worker
(Cluster.stopped) and looks at leisure.

Environment (set by ctest): BATON_BIN folder of the programs, BATON_TINY_MODEL the generated checkpoint,
BATON_MODEL SmolLM2, BATON_SLOW factor on deadlines (sanitizers). Only the standard library, except where a
test imports the openai client."""

import atexit
import concurrent.futures
import contextlib
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.environ.get("BATON_BIN", ROOT + "/build/test/bin")
TINY = os.environ.get("BATON_TINY_MODEL", ROOT + "/build/test/tiny.gguf")
SMOL = os.environ.get("BATON_MODEL", ROOT + "/models/SmolLM2-135M-Instruct.Q4_1.gguf")
# Repacked weights are kept beside the programs, not in the home of whoever runs the tests.
os.environ["XDG_CACHE_HOME"] = os.path.dirname(os.path.abspath(BIN)) + "/cache"
SLOW = float(os.environ.get("BATON_SLOW", "1"))


# What a sanitizer says of any process that a test starts, however deep, goes into a file of its own: mpirun
# may end before it has forwarded the last words of a rank, and a test may give a process an error output that
# is closed, full or not looked at. (UndefinedBehaviorSanitizer of GCC 12 does not do so beside
# AddressSanitizer: what it says is in the cluster's log.) The options are ctest's (cmake/baton.cmake).
REPORTS = tempfile.TemporaryDirectory(prefix="baton-sanitizer-")
for options in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
    if options in os.environ:
        os.environ[options] += ":log_path=%s/report" % REPORTS.name


def reported():
    """All that sanitizers have said so far of processes that this test has started."""
    texts = []
    for name in sorted(os.listdir(REPORTS.name)):
        with open(REPORTS.name + "/" + name, errors="replace") as f:
            texts.append("%s:\n%s" % (name, f.read()))
    return "".join(texts)


@atexit.register
def fail_if_reported():
    """No test passes with a report, whatever the process was for and however it ended."""
    text = reported()
    if text:
        print("---- sanitizers ----\n" + text, flush=True)
        REPORTS.cleanup()
        os._exit(1)


def sanitizer_reports(text):
    """The lines with which a sanitizer's or an assertion's report begins."""
    return re.findall(
        r"(?:(?:ERROR|WARNING|FATAL): \w+Sanitizer|"
        r"Sanitizer has encountered|Sanitizer: CHECK failed|runtime error:|"
        r"(?:precondition|postcondition|check|debug assert) failed:).*",
        text,
    )


# The cluster's own time limits are out of the way of whatever a busy machine does to a process: a healthy
# worker that is not let run for some seconds is not given up, and no request fails for having waited. A test
# that is about a limit sets it.
PATIENT = {
    "suspect_ms": 200000,
    "gone_ms": 300000,
    "step_age_ms": 300000,
    "lease_ms": 300000,
    "wait_prefill_ms": 600000,
    "prefill_ms": 600000,
    "wait_kv_ms": 600000,
    "decode_token_ms": 600000,
    "slow_client_ms": 600000,
}


def free_ports(count):
    """Below the range from which the system gives ports to whoever asks for any: between this look and the
    cluster's start nobody but another test can take one, and that by a rare chance only."""
    ports = []
    while len(ports) < count:
        port = random.randrange(12000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def wait_for(what, fact, seconds=120):
    """Polls until fact() is true; the deadline names what was waited for. Returns fact()'s value."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited %.0f s for: %s" % (seconds * SLOW, what))
        threading.Event().wait(0.02)


def yaml(value, indent=0):
    out = ""
    for key, item in value.items():
        if isinstance(item, dict):
            out += " " * indent + key + ":\n" + yaml(item, indent + 2)
        else:
            text = {True: "true", False: "false"}.get(item) if isinstance(item, bool) else str(item)
            out += " " * indent + "%s: %s\n" % (key, text)
    return out


def merge(base, over):
    out = dict(base)
    for key, item in over.items():
        out[key] = merge(out.get(key, {}), item) if isinstance(item, dict) else item
    return out


def disaggregated(p=1, d=1, cores=1, transport="shm", **over):
    return merge(
        {
            "prefill": {"count": p, "cores": cores},
            "decode": {"count": d, "cores": cores},
            "handoff": {"transport": transport},
        },
        over,
    )


def colocated(policy="chunked", count=1, cores=1, **over):
    return merge({"colocated": {"count": count, "cores": cores, "policy": policy}}, over)


class Cluster:
    """with Cluster(disaggregated()) as c: c.post(...)"""

    def __init__(self, config, model=None, start=True):
        self.http_port, self.control_port, self.client_port = free_ports(3)
        self.dir = tempfile.TemporaryDirectory(prefix="baton-e2e-")
        self.model = model or TINY
        base = {
            "cluster": {
                "name": "e2e",
                "http": "127.0.0.1:%d" % self.http_port,
                "control": "tcp://127.0.0.1:%d" % self.control_port,
                "client": "tcp://127.0.0.1:%d" % self.client_port,
                "oversubscribe": True,
            },
            "model": {"path": self.model},
            "limits": PATIENT,
        }
        for role in ("prefill", "decode", "colocated"):
            base[role] = {"count": 0, "kv_memory_mb": 64 if self.model == TINY else 256}
        self.config = merge(base, config)
        self.path = self.dir.name + "/cluster.yaml"
        with open(self.path, "w") as f:
            f.write(yaml(self.config))
        self.log_path = self.dir.name + "/cluster.log"
        self.bin = BIN
        self.process = None
        self.log_file = None
        self.extra = []
        if start:
            self.start()

    # What differs for a cluster that is not on this machine alone (tests/multihost).
    there = "127.0.0.1"

    def launcher(self):
        return []

    def environment(self):
        return {}

    def ready_line(self):
        return "ready: http://127.0.0.1:%d " % self.http_port

    def start(self):
        env = dict(os.environ, BATON_BIN=self.bin, BATON_RUN=self.dir.name, **self.environment())
        self.log_file = open(
            self.log_path, "a"
        )  # as start_worker does, so that neither writes over the other
        self.process = subprocess.Popen(
            self.launcher() + [ROOT + "/deploy/up.sh", self.path],
            env=env,
            stdout=self.log_file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )

        def ready():
            if self.process.poll() is not None:
                raise AssertionError("the cluster ended with %d:\n%s" % (self.process.returncode, self.log()))
            reports = sanitizer_reports(self.log() + reported())
            assert not reports, "a process of the cluster failed at the start"
            # Not at the beginning of a line: mpirun may have forwarded only a part of another process's last
            # one.
            return self.ready_line() in self.log()

        try:
            wait_for("the ready line", ready)
        except AssertionError:
            print(self.log())
            self.stop()
            raise

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def stop(self):
        for process in self.extra:
            process.terminate()
            try:
                process.wait(60 * SLOW)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError("a worker started by hand did not stop in order:\n" + self.log()[-4000:])
        self.extra = []
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(120 * SLOW)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise AssertionError("up.sh did not stop in order:\n" + self.log()[-4000:])
            assert self.process.returncode == 0, (
                "up.sh ended with %d:\n" % self.process.returncode + self.log()[-4000:]
            )
            self.process = None
        if self.log_file:
            self.log_file.close()
            reports = sanitizer_reports(self.log() + reported())
            assert not reports, "\n".join(reports) + "\n" + self.log()[-20000:]

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind:
            print("---- cluster log (end) ----\n" + self.log()[-6000:])
        try:
            self.stop()
        finally:
            self.dir.cleanup()

    # Processes

    def pids(self, program):
        out = subprocess.run(
            ["pgrep", "-f", r"^[^ ]*%s %s" % (program, re.escape(self.path))], capture_output=True, text=True
        )
        return [int(p) for p in out.stdout.split()]

    def worker_pid(self, name):
        """The process of the worker that goes by this name."""
        index = int(name.rsplit("-", 1)[1])
        role = name.rsplit("-", 1)[0]
        ranks = {}
        for pid in self.pids("baton-" + role):
            with open("/proc/%d/environ" % pid, "rb") as f:
                env = dict(e.split(b"=", 1) for e in f.read().split(b"\0") if b"=" in e)
            ranks[int(env.get(b"OMPI_COMM_WORLD_RANK", b"9999"))] = pid
        return ranks[sorted(ranks)[index // self.config.get("mock", {}).get("workers_per_process", 1)]]

    def worker(self, name):
        """What the coordinator knows of it; None when it is gone."""
        return next((w for w in self.health()[1]["workers"] if w["name"] == name), None)

    @contextlib.contextmanager
    def stopped(self, name):
        """While the block runs, the worker does not."""
        pid = self.worker_pid(name)
        kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            kill(pid, signal.SIGCONT)

    def start_worker(self, role, fault=None):
        """By hand, without mpirun: given only the config, in which the coordinator's address is. fault: what
        it is to suffer (common/base/fault.h)."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("OMPI_")}
        if fault:
            env["BATON_FAULT"] = fault
        with open(self.log_path, "a") as log:
            process = subprocess.Popen(
                [BIN + "/baton-" + role, self.path], stdout=log, stderr=log, env=env, stdin=subprocess.DEVNULL
            )
        self.extra.append(process)
        return process

    # HTTP

    def connect(self, timeout=600):
        return http.client.HTTPConnection(self.there, self.http_port, timeout=timeout * SLOW)

    def request(self, method, path, body=None, headers=None, timeout=600):
        connection = self.connect(timeout)
        try:
            data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
            connection.request(
                method, path, data, dict({"content-type": "application/json"}, **(headers or {}))
            )
            response = connection.getresponse()
            raw = response.read()
            return response.status, dict((k.lower(), v) for k, v in response.getheaders()), raw
        finally:
            connection.close()

    def get(self, path):
        status, _, raw = self.request("GET", path)
        return status, raw

    def post(self, path, body, **kw):
        status, _, raw = self.request("POST", path, body, **kw)
        return status, json.loads(raw)

    def complete(self, **body):
        status, answer = self.post("/v1/completions", body)
        assert status == 200, (status, answer)
        return answer

    def stream(self, path, body, on_event=None):
        """All SSE events of a stream as parsed JSON (the last is "[DONE]"); on_event(event, connection) may
        return False to hang up."""
        connection = self.connect()
        events = []
        try:
            connection.request(
                "POST", path, json.dumps(dict(body, stream=True)), {"content-type": "application/json"}
            )
            response = connection.getresponse()
            if response.status != 200:
                return [(response.status, json.loads(response.read()))]
            assert response.getheader("content-type").startswith("text/event-stream")
            for line in response:
                line = line.decode().rstrip("\r\n")
                if not line.startswith("data: "):
                    assert line == "" or line.startswith(":"), line
                    continue
                event = "[DONE]" if line == "data: [DONE]" else json.loads(line[6:])
                events.append(event)
                if on_event and on_event(event) is False:
                    return events
            return events
        finally:
            connection.close()

    def metrics(self):
        status, raw = self.get("/metrics")
        assert status == 200
        out = {}
        for line in raw.decode().splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                out[name] = float(value)
        return out

    def metric(self, name, **labels):
        """Sum over the series of a name that carry these labels."""
        total = 0.0
        for series, value in self.metrics().items():
            if series.split("{")[0] == name and all('%s="%s"' % item in series for item in labels.items()):
                total += value
        return total

    def health(self):
        status, raw = self.get("/health")
        return status, json.loads(raw)

    def pages_used(self):
        """As the workers' own pools count them (their heartbeats), not as the coordinator's books say."""
        return self.metric("baton_kv_pages_used")

    def busy(self):
        """What is not at rest on the coordinator or on a worker that is here: requests, pages, hand-offs."""
        kinds = ("baton_requests", "baton_kv_pages_used", "baton_kv_pages_pinned", "baton_handoffs_pending")
        out = {series: v for series, v in self.metrics().items() if v and series.split("{")[0] in kinds}
        for w in self.health()[1]["workers"]:
            for what in ("running", "waiting", "parked", "sends_pending", "assigned"):
                if w[what]:
                    out["%s %s" % (w["name"], what)] = w[what]
            if w["pages"]["used"] or w["pages"]["promised"]:
                out[w["name"] + " pages"] = w["pages"]
        return out

    def wait_idle(self):
        wait_for("no page in use on any worker", lambda: self.pages_used() == 0)


def parallel(count, work, items):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, items))


def kill(pid, signo=signal.SIGKILL):
    os.kill(pid, signo)


class Random:
    """A small fixed generator (splitmix64), so that the prompts are the same everywhere and for ever."""

    def __init__(self, seed):
        self.state = seed & (2**64 - 1)

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n


# Page (16) and chunk (64, 256) edges, and sizes between, up to 1,500 tokens: 50 in all.
LENGTHS = [
    1,
    2,
    3,
    5,
    8,
    13,
    15,
    16,
    17,
    21,
    30,
    31,
    32,
    33,
    40,
    47,
    48,
    49,
    63,
    64,
    65,
    80,
    95,
    96,
    97,
    100,
    111,
    127,
    128,
    129,
    160,
    191,
    192,
    193,
    200,
    255,
    256,
    257,
    300,
    350,
    400,
    450,
    511,
    512,
    513,
    600,
    768,
    1000,
    1024,
    1500,
]


def prompt_ids(length, seed=1, low=300, high=400):
    random = Random(seed * 1000003 + length)
    return [low + random.below(high - low) for _ in range(length)]
