#!/usr/bin/env python3
"""A cluster under load whose workers are killed, frozen, drained and joined at random, and whose clients
leave at random: no byte may be wrong, every request must end, nothing may leak.

    marathon.py [--p N] [--d N] [--minutes M] [--seed S] [--model tiny|smollm2] [--out DIR] ...

First the answers of a fixed set of requests are computed by a cluster that nobody disturbs. Then clients ask
for them again and again while one fault follows the other: the next one begins when three times as long has
passed as the cluster took to recover. Each answer must be the known one, or end with a documented error
behind a beginning of the known one. At the end all pools, rings and hand-offs must be empty, and memory and
descriptors of the processes must not have grown.

Writes DIR/summary.json, samples.csv (each second: memory and descriptors of each process), faults.csv,
marathon.svg, which draws both, and pauses.csv: of each stream that a fault hit, what stood in the way of its
next token, the rows that were computed for that, and how long they take where nobody disturbs (bound_s).
Exit status 0 when all promises held."""

import argparse
import collections
import csv
import datetime
import os
import re
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import *
from marathon_pauses import Pauses, Trace, quantiles
from marathon_plot import draw

# What a request may end with instead of its bytes: status and a word of its message.
DOCUMENTED = [
    (500, "two workers died while they executed this request"),
    (500, "gave up after"),  # limits.max_attempts
    (503, "no worker"),
    (503, "there was no"),
    (504, "did not finish the prompt"),
    (504, "no decode worker had taken over"),
]
GAP_S = 0.02  # pauses of a stream that are kept


def requests_of(seed, count, longest):
    random = Random(seed)
    out = []
    for i in range(count):
        length = LENGTHS[random.below(len(LENGTHS))]
        body = {
            "prompt": prompt_ids(min(length, longest), seed=seed * 100 + i % 7),
            "max_tokens": 1 + random.below((16, 120, 600)[random.below(3)]),
            "ignore_eos": True,
            "temperature": 0 if random.below(2) else 0.9,
            "seed": i,
        }
        # Some share a cache with all others, some with a few, some with nobody.
        if random.below(3):
            body["cache_salt"] = "s%d" % (random.below(4) if random.below(2) else 1000 + i)
        out.append(body)
    return out


def wall_time(stamp):
    return datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()


def trace_of(cluster):
    return Trace(cluster.get("/trace?last=4096")[1].decode())


class Answer:
    """What came of one request: state is right, wrong, documented, canceled or undocumented."""

    def __init__(self, state, why="", gaps=()):
        self.state, self.why, self.gaps = state, why, gaps
        self.name = ""  # of the request


class Client(threading.Thread):
    def __init__(self, run, number):
        super().__init__(daemon=True)
        self.run_, self.random = run, Random(run.args.seed * 1000 + number)
        self.number = number
        self.answers = []
        self.asked = 0

    def run(self):
        while not self.run_.over.is_set():
            i = self.random.below(len(self.run_.requests))
            self.asked += 1
            name = "m%d-%d" % (self.number, self.asked)
            try:
                answer = self.ask(name, self.run_.requests[i], self.run_.texts[i])
            except (OSError, AssertionError, ValueError, KeyError) as e:
                answer = Answer("undocumented", "%s: %s" % (type(e).__name__, e))
            if answer.state in ("wrong", "undocumented"):
                answer.why = "request %d: %s" % (i, answer.why)
                print("%s: %s" % (answer.state, answer.why), flush=True)
            answer.name = name
            self.answers.append(answer)
            # Not as fast as it goes: two cores carry all processes of the cluster and this one.
            self.run_.over.wait(self.run_.args.think_s * (0.5 + self.random.below(1000) / 1000))

    def ask(self, name, body, want):
        leaves = self.random.below(100) < self.run_.args.cancel_percent
        streams = leaves or self.random.below(3) > 0
        # Where a client leaves: before the answer begins, or some of its bytes later.
        patience = (self.random.below(100) / 1000, self.random.below(3) * self.random.below(20000))
        with socket.create_connection(
            ("127.0.0.1", self.run_.c.http_port), timeout=self.run_.args.patience_s
        ) as s:
            data = json.dumps(dict(body, stream=streams)).encode()
            s.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                b"x-request-id: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                % (name.encode(), len(data))
                + data
            )
            raw, gaps, left = self.read(s, patience if leaves else None)
        if left:
            text = "".join(self.texts(raw, whole=False)) if b"\r\n\r\n" in raw else ""
            return Answer("canceled") if want.startswith(text) else Answer("wrong", "before it was canceled")
        answer = self.judge(raw, want, streams)
        answer.gaps = gaps
        return answer

    def read(self, s, patience):
        """All that comes; the pauses in it, as (begin, end) in wall time; whether the client left."""
        raw, gaps, last = bytearray(), [], None
        if patience:
            s.settimeout(patience[0] + 0.001)
        while True:
            try:
                data = s.recv(1 << 16)
            except socket.timeout:
                if not patience:
                    raise
                return raw, gaps, True
            now = time.time()
            if last and now - last > GAP_S:
                gaps.append((last, now))
            last = now
            if not data:
                return raw, gaps, False
            raw += data
            if patience and len(raw) > patience[1] > 0:
                return raw, gaps, True

    @staticmethod
    def events(raw, whole):
        """The JSON of a stream's events; of one that was left, of those that came in full."""
        lines = re.findall(rb"^data: (.*)\n", bytes(raw), re.M)
        if whole:
            assert lines and lines[-1].strip() == b"[DONE]", "the stream has no end: %r" % bytes(raw[-200:])
        return [json.loads(l) for l in lines if l.strip() != b"[DONE]"]

    @classmethod
    def texts(cls, raw, whole):
        return [e["choices"][0]["text"] for e in cls.events(raw, whole) if e.get("choices")]

    def judge(self, raw, want, streams):
        head, _, body = bytes(raw).partition(b"\r\n\r\n")
        assert head, "the connection was closed without an answer"
        status = int(head.split()[1])
        if status != 200:
            return self.error(status, json.loads(body)["error"]["message"])
        if not streams:
            text = json.loads(body)["choices"][0]["text"]
            return Answer("right") if text == want else Answer("wrong", "%r, want %r" % (text, want))
        events = self.events(raw, True)
        text = "".join(e["choices"][0]["text"] for e in events if e.get("choices"))
        errors = [e["error"] for e in events if "error" in e]
        if errors:
            if not want.startswith(text):
                return Answer("wrong", "before an error: %r, want %r" % (text, want))
            return self.error(errors[0]["code"], errors[0]["message"])
        return Answer("right") if text == want else Answer("wrong", "%r, want %r" % (text, want))

    @staticmethod
    def error(status, message):
        known = any(status == s and word in message for s, word in DOCUMENTED)
        return Answer("documented" if known else "undocumented", "%d %s" % (status, message))


class Sampler(threading.Thread):
    """Memory and descriptors of all processes of the cluster, once a second."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_, self.rows, self.end = run, [], threading.Event()

    def run(self):
        while not self.end.wait(1):
            for role in ("coordinator", "prefill", "decode"):
                for pid in self.run_.c.pids("baton-" + role):
                    self.sample(role, pid)

    def sample(self, role, pid):
        try:
            with open("/proc/%d/statm" % pid) as f:
                pages = int(f.read().split()[1])
            fds = len(os.listdir("/proc/%d/fd" % pid))
        except (OSError, IndexError):
            return  # it has just ended
        if not pages:
            return  # likewise, and nobody has collected it
        self.rows.append((time.time() - self.run_.begun, role, pid, pages * os.sysconf("SC_PAGE_SIZE"), fds))


class Run:
    def __init__(self, args):
        self.args = args
        self.over = threading.Event()
        self.random = Random(args.seed)
        self.faults = []  # (kind, worker, begun, recovered), wall time
        self.broken = []  # promises, as sentences
        self.requests = requests_of(args.seed, args.requests, args.longest)

    # ---- the table ----

    def undisturbed(self):
        model = SMOL if self.args.model == "smollm2" else TINY
        with Cluster(disaggregated(), model) as c:
            ask = lambda b: c.complete(**b)["choices"][0]["text"]
            self.texts = parallel(4, ask, self.requests)
            self.rows_per_s = trace_of(c).rows_per_s()

    # ---- faults ----

    def ready(self, role):
        return [w for w in self.c.health()[1]["workers"] if w["role"] == role and w["state"] == "ready"]

    def whole(self):
        return len(self.ready("prefill")) == self.args.p and len(self.ready("decode")) == self.args.d

    def pid_of(self, name):
        """The process of the worker that goes by this name now: the log of joins has it."""
        joined = re.findall(r"worker joins worker=%s .* pid=(\d+)" % re.escape(name), self.c.log())
        return int(joined[-1]) if joined else None

    def fault(self):
        kind = ("kill", "kill", "freeze", "freeze", "join")[self.random.below(5)]
        role = ("prefill", "decode")[self.random.below(2)]
        workers = self.ready(role)
        if not workers:
            return
        worker = workers[self.random.below(len(workers))]
        name, pid = worker["name"], self.pid_of(worker["name"])
        if not pid:
            return
        begun = time.time()
        print("%7.1f s %s %s" % (begun - self.begun, kind, name), flush=True)
        if kind == "kill":
            kill(pid)
            self.gone(worker)
            self.c.start_worker(role)
        elif kind == "freeze":
            kill(pid, signal.SIGSTOP)
            try:
                self.gone(worker)
                self.over.wait(max(0, begun + 2 * self.args.gone_ms / 1000 - time.time()))
            finally:
                kill(pid, signal.SIGCONT)
        else:
            self.join_and_leave(role)
        wait_for("the whole cluster after %s of %s" % (kind, name), self.whole)
        recovered = time.time()
        self.faults.append((kind, name, begun, recovered))
        self.over.wait(2 * (recovered - begun))

    def gone(self, worker):
        """Another one may go by the name at once, so its session is looked for."""
        here = lambda: [w["id"] for w in self.c.health()[1]["workers"]]
        wait_for("the end of %s" % worker["name"], lambda: worker["id"] not in here())

    def join_and_leave(self, role):
        """One more for a while: requests must not notice that it comes and goes."""
        before = len(self.ready(role))
        process = self.c.start_worker(role)
        wait_for("one more %s worker" % role, lambda: len(self.ready(role)) == before + 1)
        self.over.wait(1)
        process.terminate()
        status = process.wait(120 * SLOW)
        if status != 0:
            self.broken.append("a worker that was drained ended with %d" % status)

    # ---- the end ----

    def at_rest(self):
        self.busy = self.c.busy()
        return not self.busy

    def judge_rest(self):
        try:
            wait_for("all pages, rings and hand-offs at rest", self.at_rest, 60)
        except AssertionError:
            self.broken.append("not at rest: %s" % self.busy)
        text = self.c.complete(**self.requests[0])["choices"][0]["text"]
        if text != self.texts[0]:
            self.broken.append("the last probe has wrong bytes")

    def growth(self, rows, column):
        """Of a process: the median of its last fifth less that of the fifth behind the first third. In the
        first third it warms up: the coordinator's ring of ended requests and steps (17 MiB) fills."""
        values = [r[column] for r in rows]
        third, fifth = len(values) // 3, len(values) // 5
        if fifth < 5:
            return 0
        return statistics.median(values[-fifth:]) - statistics.median(values[third : third + fifth])

    def judge_growth(self):
        """The coordinator, and workers that lived for half the run. A pool's pages are touched one after the
        other and an allocator keeps some of what it gave back, hence the allowance."""
        self.grown = []
        for pid in {r[2] for r in self.sampler.rows}:
            rows = [r for r in self.sampler.rows if r[2] == pid]
            role = rows[0][1]
            # Looking takes time, too: they are less than one in a second.
            if role != "coordinator" and rows[-1][0] - rows[0][0] < self.args.minutes * 30:
                continue
            memory, fds = self.growth(rows, 3), self.growth(rows, 4)
            late = rows[len(rows) // 3 :]
            slope = 0.0
            if len(late) > 2:
                slope = statistics.linear_regression([r[0] for r in late], [r[3] for r in late]).slope
            self.grown.append(
                {
                    "role": role,
                    "pid": pid,
                    "seconds": round(rows[-1][0] - rows[0][0]),
                    "rss_bytes": memory,
                    "rss_mib_per_10_min": round(slope * 600 / 2**20, 2),
                    "fds": fds,
                }
            )
            if memory > self.args.growth_mb << 20:
                self.broken.append("%s %d has grown by %.1f MiB" % (role, pid, memory / 2**20))
            if fds > 8:
                self.broken.append("%s %d has %d descriptors more" % (role, pid, fds))

    # ---- the whole ----

    def limits(self):
        gone = self.args.gone_ms
        return {
            "heartbeat_ms": gone // 10,
            "suspect_ms": gone * 4 // 10,
            "gone_ms": gone,
            "step_age_ms": 10000,
            "lease_ms": 2 * gone,
            "wait_prefill_ms": 20000,
            "prefill_ms": 120000,
            "wait_kv_ms": 60000,
            "decode_token_ms": 30000,
            "slow_client_ms": 30000,
            "drain_ms": 60000,
        }

    def go(self):
        print("the answers of %d requests, undisturbed" % len(self.requests), flush=True)
        self.undisturbed()
        model = SMOL if self.args.model == "smollm2" else TINY
        folder = tempfile.TemporaryDirectory(prefix="baton-marathon-")
        log = {"event_log": folder.name + "/events.jsonl"}
        config = disaggregated(p=self.args.p, d=self.args.d, limits=self.limits(), cluster=log)
        with folder, Cluster(config, model) as self.c:
            wait_for("the whole cluster", self.whole)
            self.begun = time.time()
            self.sampler = Sampler(self)
            self.sampler.start()
            clients = [Client(self, i) for i in range(self.args.clients)]
            for client in clients:
                client.start()
            try:
                while time.time() - self.begun < self.args.minutes * 60:
                    self.fault()
            finally:
                self.over.set()
            for client in clients:
                client.join(self.args.patience_s + 60)
                if client.is_alive():
                    self.broken.append("a request did not end within %d s" % self.args.patience_s)
            self.judge_rest()
            self.sampler.end.set()
            self.sampler.join(60)
            self.counters = {k: v for k, v in self.c.metrics().items() if k.endswith("_total") and v}
            self.log = self.c.log()
            self.trace = trace_of(self.c)
            with open(log["event_log"]) as f:
                self.events = [json.loads(line) for line in f]
        self.judge_growth()
        self.summarize(clients)

    def detections(self):
        """When the coordinator noticed that a worker was gone, of its log; wall time."""
        out = []
        for stamp in re.findall(r"^(\S+Z) warn  core\.member .* worker is gone ", self.log, re.M):
            out.append(wall_time(stamp))
        return out

    def pauses(self, gaps):
        """What is left after the detection of each pause in which a worker was given up, s, sorted."""
        found = self.detections()
        return sorted(end - t for begin, end in gaps for t in found if begin <= t <= end)

    def summarize(self, clients):
        answers = [a for client in clients for a in client.answers]
        states = collections.Counter(a.state for a in answers)
        errors = collections.Counter(re.sub(r"\d+", "N", a.why) for a in answers if a.state == "documented")
        pauses = self.pauses([g for a in answers for g in a.gaps])
        wall = wall_time(self.events[0]["time"]) - self.events[0]["t_ms"] / 1000
        gaps = [(a.name, *g) for a in answers for g in a.gaps]
        self.stopped = Pauses(self.events, wall, self.trace, gaps, self.rows_per_s)
        recovery = sorted(done - begun for kind, _, begun, done in self.faults if kind != "join")
        if sum(c.asked for c in clients) != len(answers):
            self.broken.append("some requests have no end")
        for state in ("wrong", "undocumented"):
            if states[state]:
                self.broken.append("%d requests ended %s" % (states[state], state))
        if self.args.p > 1 and self.args.d > 1 and states["documented"]:
            # Only what several faults hit one after the other may fail where there is always another worker.
            several = ("two workers died", "gave up after")
            others = sum(n for why, n in errors.items() if not any(s in why for s in several))
            if others:
                self.broken.append("%d requests failed beside a second worker" % others)
        if not states["right"] or not self.faults:
            self.broken.append("nothing was shown: %s, %d faults" % (dict(states), len(self.faults)))
        self.summary = {
            "command": " ".join(sys.argv),
            "minutes": self.args.minutes,
            "requests": len(answers),
            "ended": dict(states),
            "errors": dict(errors),
            "faults": dict(collections.Counter(f[0] for f in self.faults)),
            "workers_given_up": len(self.detections()),
            "recovery_s": quantiles(recovery),
            "pause_after_detection_s": quantiles(pauses),
            "streams_that_were_hit_s": self.stopped.summary(),
            "grown": self.grown,
            "counters": {k: v for k, v in self.counters.items() if "{" not in k},
            "broken": self.broken,
        }
        print(json.dumps(self.summary, indent=1))
        if self.args.out:
            self.write()

    def write(self):
        os.makedirs(self.args.out, exist_ok=True)
        path = lambda name: os.path.join(self.args.out, name)
        with open(path("summary.json"), "w") as f:
            json.dump(self.summary, f, indent=1)
        with open(path("samples.csv"), "w", newline="") as f:
            rows = csv.writer(f)
            rows.writerow(("s", "role", "pid", "rss_bytes", "descriptors"))
            rows.writerows((round(t, 1), *rest) for t, *rest in self.sampler.rows)
        with open(path("faults.csv"), "w", newline="") as f:
            rows = csv.writer(f)
            rows.writerow(("kind", "worker", "begun_s", "recovered_s"))
            for kind, name, begun, done in self.faults:
                rows.writerow((kind, name, round(begun - self.begun, 2), round(done - self.begun, 2)))
        with open(path("marathon.svg"), "w") as f:
            f.write(draw(self.sampler.rows, [(k, b - self.begun) for k, _, b, _ in self.faults]))
        with open(path("cluster.log"), "w") as f:
            f.write(self.log)
        with open(path("pauses.csv"), "w", newline="") as f:
            rows = csv.DictWriter(f, self.stopped.all[0] if self.stopped.all else ["request"])
            rows.writeheader()
            rows.writerows(self.stopped.all)


def main():
    parser = argparse.ArgumentParser(description="A cluster under load and faults.")
    number = lambda name, default, what: parser.add_argument(
        name, type=type(default), default=default, help=what
    )
    number("--p", 2, "prefill workers")
    number("--d", 2, "decode workers")
    number("--minutes", 3.0, "of faults")
    number("--seed", 1, "of requests, faults and clients")
    number("--model", "tiny", "tiny or smollm2")
    number("--requests", 100, "distinct ones")
    number("--longest", 1500, "prompt")
    number("--clients", 8, "at once")
    number("--think-s", 0.2, "between a client's requests, on average")
    number("--cancel-percent", 10, "of requests whose client leaves")
    number("--gone-ms", 1000, "silence after which a worker is given up")
    number("--patience-s", 200.0, "after which a request that has not ended counts as lost")
    number("--growth-mb", 4, "memory that a process may gain in the last two thirds of the run")
    number("--out", "", "directory for the results")
    run = Run(parser.parse_args())
    run.go()
    return 1 if run.broken else 0


if __name__ == "__main__":
    sys.exit(main())
