#!/usr/bin/env python3
"""What those who look after a cluster see and may do: its status, the end of a request by its name, the log
of events; and that neither a full disk for logs nor a clock that jumps does anything to the service."""

import fcntl
import resource
import unittest

from drain_test import ctl
from fault_test import Streams, bodies, in_state, undisturbed
from harness import *

CLOCK_JUMP = os.environ.get("BATON_CLOCK_JUMP", os.path.dirname(BIN) + "/tests/e2e/libclock_jump.so")
DAY = 86400


def events(path, **facts):
    """Those of the file that say this."""
    with open(path) as f:
        lines = [json.loads(line) for line in f]
    return [e for e in lines if all(e[key] == value for key, value in facts.items())]


class Background:
    """A POST whose answer is waited for by a thread."""

    def __init__(self, c, name, **body):
        self.answer = None
        self.thread = threading.Thread(target=self.run, args=(c, name, body), daemon=True)
        self.thread.start()

    def run(self, c, name, body):
        self.answer = c.request("POST", "/v1/completions", body, {"x-request-id": name})

    def result(self):
        self.thread.join(600 * SLOW)
        status, headers, raw = self.answer
        return status, headers, json.loads(raw)


class Watch(unittest.TestCase):
    def test_status_cancel_and_events(self):
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/events.jsonl"
            with Cluster(disaggregated(d=2, cluster={"event_log": path})) as c:
                self.a_request_is_ended_by_its_name(c, path)
                self.the_status_is_that_of_health(c)
                self.every_join_death_and_replay_is_an_event(c, path)

    def a_request_is_ended_by_its_name(self, c, path):
        long = {"prompt": prompt_ids(40), "max_tokens": 400, "ignore_eos": True}
        with c.stopped("decode-0"), c.stopped("decode-1"):  # so that none of them is over before
            one, two, three = (Background(c, "job-%d" % i, **long) for i in (1, 2, 3))
            wait_for("all of them", lambda: len(in_flight(c)) == 3)
            answer = ctl(c, "cancel", "job-7")
            self.assertEqual((answer.returncode, answer.stdout), (1, ""))
            self.assertIn("no request that runs is called job-7: want its x-request-id", answer.stderr)
            answer = ctl(c, "cancel", "job-2")
            self.assertEqual((answer.returncode, answer.stdout), (0, "canceled: 1 choice\n"))
            status, headers, body = two.result()
            self.assertEqual((status, headers["x-request-id"]), (499, "job-2"))
            self.assertEqual(body["error"]["type"], "RequestCanceledError")
            answer = ctl(c, "cancel", "cmpl-job-3", "--json")  # the id of its answer
            self.assertEqual((answer.returncode, json.loads(answer.stdout)), (0, {"choices": 1}))
            self.assertEqual(three.result()[0], 499)
            self.assertEqual(ctl(c, "cancel", "job-3").returncode, 1)  # it is over
        self.assertEqual(one.result()[0], 200)
        c.wait_idle()
        self.assertEqual([e["id"] for e in events(path, event="canceled")], ["job-2", "cmpl-job-3"])
        self.assertEqual(ctl(c, "cancel").returncode, 2)

    def the_status_is_that_of_health(self, c):
        answer = ctl(c, "status", "--json")
        self.assertEqual(answer.returncode, 0, answer)
        status, health = json.loads(answer.stdout), c.health()[1]
        self.assertEqual((status["status"], status["model"]), ("ok", health["model"]))
        self.assertEqual(status["requests"], health["requests"])
        self.assertEqual(status["parked"], health["parked"])
        self.assertEqual(status["last_lost"], None)
        pages = status["workers"][0]["pages"]

        def told(page):
            keys = ("id", "name", "role", "state", "host", "step", "step_layers", "stuck", "holds")
            return [[w[key] for key in keys] + [w["pages"][key] for key in pages] for w in page["workers"]]

        wait_for(  # a heartbeat may come between the two
            "the same of all workers",
            lambda: told(json.loads(ctl(c, "status", "--json").stdout)) == told(c.health()[1]),
        )
        screen = ctl(c, "status").stdout
        self.assertTrue(screen.startswith("ok  baton "), screen)
        for name in ("prefill-0", "decode-0", "decode-1"):
            self.assertIn("\n" + name + " ", screen)

    def every_join_death_and_replay_is_an_event(self, c, path):
        for w in c.health()[1]["workers"]:
            for event in ("join", "ready"):
                (e,) = events(path, event=event, worker=w["name"])
                self.assertEqual((e["role"], e["incarnation"], e["req"]), (w["role"], w["id"], None))
        requests = bodies(4, 40, 60)
        want = undisturbed(requests)
        other, victim = (w["name"] for w in in_state(c, "ready", "decode"))
        session = c.worker(victim)["id"]
        pid = c.worker_pid(victim)
        kill(pid, signal.SIGSTOP)
        with c.stopped(other):  # or it has done with each request before the next one comes
            streams = Streams(c, requests)
            wait_for("requests there", lambda: c.worker(victim)["assigned"] > 0)
        kill(pid)
        wait_for("its end", lambda: c.worker(victim) is None)
        self.assertEqual(streams.texts(), want)
        (gone,) = events(path, event="gone")
        self.assertEqual((gone["worker"], gone["incarnation"]), (victim, session))
        self.assertEqual(gone["reason"], c.health()[1]["last_lost"]["why"])
        replays = events(path, event="replay") + events(path, event="handoff_abort")
        self.assertGreater(len(replays), 0)
        for e in replays:
            self.assertEqual((e["worker"], e["cause"], e["attempt"]), (victim, "death", 1))
            self.assertEqual(len(e["id"]), 32)
        self.assertEqual(c.metric("baton_retries_total", reason="death"), len(replays))
        self.assertEqual(c.metric("baton_worker_incarnations_total", worker=victim), 1)
        screen = ctl(c, "status").stdout
        self.assertIn("\nlast lost %s, " % victim, screen)
        self.assertEqual(json.loads(ctl(c, "status", "--json").stdout)["workers_lost"], 1)

    def test_logs_that_cannot_be_written_do_not_matter(self):
        """Processes by hand: the log of one is a full disk, another's a pipe that nobody reads, another's a
        pipe that nobody has open, and the coordinator's disk is full after a few lines, for its events too.
        """
        read_end, unread = os.pipe()
        fcntl.fcntl(unread, fcntl.F_SETPIPE_SZ, 4096)
        closed_end, closed = os.pipe()
        os.close(closed_end)
        full = os.open("/dev/full", os.O_WRONLY)
        with tempfile.TemporaryDirectory() as folder:
            path = folder + "/events.jsonl"
            over = disaggregated(d=2, cluster={"event_log": path, "log_level": "trace"})
            c = Cluster(over, start=False)
            log = os.open(folder + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            little = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
            processes = [self.start(c, "coordinator", log, little)]
            try:
                wait_for("the coordinator", lambda: answers(c))
                prefill = self.start(c, "prefill", unread)
                decode = [self.start(c, "decode", fd) for fd in (closed, full)]
                processes += [prefill] + decode
                for fd in (unread, closed, full, log):
                    os.close(fd)
                wait_for("all of them", lambda: c.health()[1]["status"] == "ok")
                requests = bodies(4, 40, 60)
                want = undisturbed(requests)
                self.assertEqual(Streams(c, requests).texts(), want)
                streams = Streams(c, requests)
                decode[0].kill()
                self.assertEqual(streams.texts(), want)
                wait_for("its end", lambda: len(c.health()[1]["workers"]) == 2)
                self.assertEqual(Streams(c, requests).texts(), want)
                self.assertGreater(c.metric("baton_log_dropped_total"), 0)
                self.assertGreater(c.metric("baton_events_dropped_total"), 0)
                self.assertEqual(c.metric("baton_workers_lost_total"), 1)
                self.assertGreater(len(events(path)), 0)  # whole lines
                processes[0].terminate()
                codes = [p.wait(120 * SLOW) for p in processes]
                self.assertEqual(codes, [0, 0, -signal.SIGKILL, 0])
            finally:
                for p in processes:
                    p.kill()
                    p.wait()
                os.close(read_end)
                c.dir.cleanup()

    def start(self, c, program, err, before=None):
        env = {k: v for k, v in os.environ.items() if not k.startswith("OMPI_")}
        return subprocess.Popen(
            [BIN + "/baton-" + program, c.path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            env=env,
            preexec_fn=before,
        )

    def test_a_clock_that_jumps_changes_nothing(self):
        with tempfile.TemporaryDirectory() as folder:
            path, clock = folder + "/events.jsonl", folder + "/clock"
            jump(clock, 0)
            c = Cluster(disaggregated(cluster={"event_log": path}, limits=TIGHT), start=False)
            c.environment = lambda: {
                "LD_PRELOAD": CLOCK_JUMP,
                "CLOCK_JUMP_FILE": clock,
                # A sanitizer's library wants to be the first one.
                "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0",
            }
            with c:
                c.start()
                requests = bodies(4, 40, 150)
                want = undisturbed(requests)
                dates = []
                for days in (1, -1, 1, 0):
                    streams = Streams(c, requests)
                    wait_for("tokens of all", lambda: min(streams.progress) > 3 or streams.over())
                    jump(clock, days * DAY)
                    self.assertEqual(streams.texts(), want)
                    _, headers, _ = c.request("GET", "/health")
                    dates.append(round((parse_date(headers["date"]) - time.time()) / DAY))
                    answer = c.complete(prompt=prompt_ids(20), max_tokens=4)
                    self.assertEqual(round((answer["created"] - time.time()) / DAY), days)
                self.assertEqual(dates, [1, -1, 1, 0])  # they did jump
                for name in ("baton_workers_lost_total", "baton_replays_total", "baton_failed_total"):
                    self.assertEqual(c.metric(name), 0, name)
                self.assertEqual({e["event"] for e in events(path)}, {"join", "ready"})
                jump(clock, DAY)
                kill(c.worker_pid("decode-0"))  # the workers' own log is a day ahead, too
                wait_for("its death in the log", lambda: events(path, event="gone"))
                c.start_worker("decode")
                wait_for("its successor", lambda: c.health()[1]["status"] == "ok")
                (gone,) = events(path, event="gone")
                ahead = parse_time(gone["time"]) - time.time()
                self.assertEqual(round(ahead / DAY), 1)
                c.complete(prompt=prompt_ids(20), max_tokens=4)


# As a config has them; no limit may see a jump.
TIGHT = {"suspect_ms": 60000, "gone_ms": 120000, "lease_ms": 120000, "slow_client_ms": 120000}


def jump(path, seconds):
    """In place: the processes have mapped the file."""
    with open(path, "r+b" if os.path.exists(path) else "wb") as f:
        f.write(seconds.to_bytes(8, "little", signed=True))


def parse_date(text):
    import email.utils

    return email.utils.parsedate_to_datetime(text).timestamp()


def parse_time(text):
    import datetime

    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()


def in_flight(c):
    requests = c.health()[1]["requests"]
    return [state for state, count in requests.items() for _ in range(count)]


def answers(c):
    try:
        return c.get("/health")
    except OSError:
        return None


if __name__ == "__main__":
    unittest.main()
