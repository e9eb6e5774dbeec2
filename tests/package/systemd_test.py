#!/usr/bin/env python3
"""The systemd units:

systemd_test.py verify     systemd-analyze finds nothing wrong with them
systemd_test.py boot       a systemd of the test's own (boot.sh) starts a cluster from the .deb, with every
                           hardening option in force; needs root and the right to make namespaces, or
                           says why it is skipped (exit status 77)"""

import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
DEB = os.environ["BATON_DEB"]
WORKERS = ("baton-worker@prefill-0", "baton-worker@decode-0")
UNITS = ("baton-coordinator.service", "baton-worker@prefill-0.service", "baton-worker@decode-0.service")
NAMESPACES = ("--mount", "--pid", "--fork", "--uts", "--cgroup", "--net", "--ipc", "--kill-child")


def run(*line, **kw):
    return subprocess.run(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **kw
    )


def wait_for(what, fact, seconds=120):
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        if time.monotonic() > deadline:
            raise AssertionError("waited %d s for: %s" % (seconds, what))
        time.sleep(0.05)
    return value


def units_are_correct(tree):
    """verify looks for the programs that a unit starts, so they are put where it looks."""
    with tempfile.TemporaryDirectory() as d:
        for path in glob.glob(tree + "/usr/lib/systemd/system/*"):
            with open(path, encoding="utf-8") as f:
                text = f.read().replace("ExecStart=", "ExecStart=%s/usr/bin/" % tree)
                text = text.replace(tree + "/usr/bin//", "/")
            with open(os.path.join(d, os.path.basename(path)), "w", encoding="utf-8") as f:
                f.write(text)
        env = dict(os.environ, SYSTEMD_UNIT_PATH=d + ":")
        found = run("systemd-analyze", "verify", "--man=no", *(d + "/" + u for u in UNITS), env=env)
    ours = [line for line in found.stdout.splitlines() if "baton" in line]
    assert found.returncode == 0 and not ours, found.stdout
    print("verify: nothing found in %d units" % len(UNITS))


def exposure_is_low(tree):
    for unit, limit in zip(UNITS, (2.0, 2.5, 2.5)):
        found = run("systemd-analyze", "security", "--offline=yes", "--root=" + tree, unit)
        score = float(re.search(r"exposure level for \S+: ([\d.]+)", found.stdout)[1])
        print("security: %s: %.1f of 10" % (unit, score))
        assert score <= limit, found.stdout


def drain_fits_into_the_stop(tree):
    """A unit is not killed while it may still drain: its limit is above the default of limits.drain_ms."""
    with open(HERE + "/../../deploy/config/local.yaml", encoding="utf-8") as f:
        drain_s = int(re.search(r"^  drain_ms: (\d+)", f.read(), re.M)[1]) / 1000
    for path in glob.glob(tree + "/usr/lib/systemd/system/*"):
        with open(path, encoding="utf-8") as f:
            assert int(re.search(r"^TimeoutStopSec=(\d+)$", f.read(), re.M)[1]) >= drain_s + 10, path


class CannotBoot(Exception):
    pass


class Machine:
    """systemd in namespaces of its own, with the package installed."""

    def __init__(self, log):
        self.log_path = log.name
        self.process = subprocess.Popen(
            ["unshare", *NAMESPACES, HERE + "/boot.sh", DEB],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_for(
                "installation", lambda: self.process.poll() is not None or "boot.sh: installed" in self.log()
            )
            if self.process.poll() == 77:
                raise CannotBoot(self.log().strip().splitlines()[-1])
            assert self.process.poll() is None, self.log()
            with open("/proc/%d/task/%d/children" % ((self.process.pid,) * 2), encoding="ascii") as f:
                self.pid = f.read().split()[0]
            wait_for("systemd", lambda: self.run("systemctl", "list-jobs").returncode == 0)
        except BaseException:
            self.end()
            raise

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def run(self, *line):
        return run(
            "nsenter",
            "-t",
            self.pid,
            "-m",
            "-p",
            "-u",
            "-i",
            "-n",
            "-C",
            "-r",
            "-w",
            "env",
            "container=test",
            *line,
        )

    def systemctl(self, *words):
        done = self.run("systemctl", *words)
        assert done.returncode == 0, done.stdout + self.status()
        return done.stdout

    def status(self):
        return (
            self.run("systemctl", "status", "--no-pager", "-l", *UNITS).stdout
            + self.log()
            + self.run("journalctl", "-n", "40", "--no-pager").stdout
        )

    def get(self, path, *more):
        done = self.run("curl", "-s", "--noproxy", "*", "-m", "60", "http://127.0.0.1:8000" + path, *more)
        return json.loads(done.stdout) if done.stdout.startswith("{") else {}

    def pid_of(self, unit):
        return self.systemctl("show", "-P", "MainPID", unit).strip()

    def end(self):
        self.process.kill()  # unshare takes PID 1 with it, and that everything
        self.process.wait()


def cluster_serves(m):
    m.systemctl("start", "baton-coordinator", *WORKERS)
    wait_for("workers that joined", lambda: m.get("/health").get("status") == "ok" or broken(m))
    body = json.dumps({"prompt": "Hello", "max_tokens": 5, "ignore_eos": True})
    answer = m.get("/v1/completions", "-d", body)
    assert answer["usage"]["completion_tokens"] == 5, answer
    for unit in UNITS:
        pid = m.pid_of(unit)
        user = m.run("stat", "-c", "%U", "/proc/" + pid).stdout.strip()
        status = m.run("cat", "/proc/%s/status" % pid).stdout
        assert user == "baton", (unit, user)
        assert re.search(r"^CapBnd:\s0{16}$.*^NoNewPrivs:\s1$.*^Seccomp:\s2$", status, re.M | re.S), status
    print("a cluster of units served a request over shm, as user baton without capabilities")


def broken(m):
    for unit in UNITS:
        state = m.run("systemctl", "is-active", unit).stdout.strip()
        assert state in ("active", "activating"), unit + " is " + state + "\n" + m.status()


def worker_that_is_killed_comes_back(m):
    before = m.pid_of(UNITS[2])
    m.systemctl("kill", "-s", "KILL", UNITS[2])
    wait_for("a new process", lambda: m.pid_of(UNITS[2]) not in (before, "0"))
    wait_for("that it joined", lambda: m.get("/health").get("status") == "ok")


def restart_takes_workers_along(m):
    before = [m.pid_of(unit) for unit in UNITS]
    m.systemctl("restart", "baton-coordinator")
    wait_for("all again", lambda: m.get("/health").get("status") == "ok" or broken(m))
    after = [m.pid_of(unit) for unit in UNITS]
    assert not set(before) & set(after), (before, after)


def stop_is_orderly(m):
    m.systemctl("stop", "baton-coordinator")
    for unit in UNITS:
        assert m.systemctl("show", "-P", "Result", unit).strip() == "success", m.status()
        assert m.systemctl("show", "-P", "ActiveState", unit).strip() == "inactive", m.status()
    journal = m.run("journalctl", "--no-pager", "--unit", UNITS[2]).stdout
    assert "was asked to stop and finishes what it has" in journal, journal


def reason_not_to_boot():
    if os.geteuid() != 0:
        return "not root"
    probe = run("unshare", *NAMESPACES, "sh", "-c", "mount -t tmpfs probe /mnt")
    return "no namespaces here: " + probe.stdout.strip() if probe.returncode else None


def verify():
    with tempfile.TemporaryDirectory(prefix="baton-systemd-") as tree:
        subprocess.run(["dpkg-deb", "-x", DEB, tree], check=True)
        os.chmod(tree, 0o755)
        units_are_correct(tree)
        exposure_is_low(tree)
        drain_fits_into_the_stop(tree)
    return 0


def boot():
    if reason := reason_not_to_boot():
        print("skipped: " + reason)
        return 77
    with tempfile.NamedTemporaryFile("w", prefix="baton-systemd-", suffix=".log") as log:
        try:
            m = Machine(log)
        except CannotBoot as e:
            print("skipped: %s" % e)
            return 77
        try:
            cluster_serves(m)
            worker_that_is_killed_comes_back(m)
            restart_takes_workers_along(m)
            stop_is_orderly(m)
        except BaseException:
            print(m.log()[-6000:])
            raise
        finally:
            m.end()
    print("systemd: all as it should be")
    return 0


if __name__ == "__main__":
    sys.exit({"verify": verify, "boot": boot}[sys.argv[1]]())
