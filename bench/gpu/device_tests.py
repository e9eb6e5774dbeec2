#!/usr/bin/env python3
"""Runs the kernels' test programs that are compiled for the device (cuda_device_*), a few at a time, with or
without compute-sanitizer.

device_tests.py FOLDER [--library-path PATH] [--tiny-model FILE] [--seconds N] [--jobs N]
                [--sanitizer PROGRAM --tool memcheck|racecheck]

Most of a test's time is spent on the host: start of the device, reference, start of the sanitizer. Hence
several at a time. Each is a session of its own with a deadline, so that one that hangs is killed with all
that it started. With a sanitizer, programs without kernels are left out, and every case is a deterministic
one: the matrix library's own kernels are not ours to check.

Prints one JSON line per program. Exit status: 0 when all passed, 1 when not, 4 when the sanitizer cannot work
on this device."""

import argparse
import glob
import json
import math
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time


class Run:
    """One program, started at once."""

    def __init__(self, o, program, slot, seconds):
        self.name = os.path.basename(program)[len("cuda_device_") :]
        command = [program]
        if o.sanitizer:
            # The tests make calls fail on purpose, and check every call themselves; ports are told apart by
            # the slot.
            more = ["--report-api-errors", "no"] if o.tool == "memcheck" else []
            command = [
                o.sanitizer,
                "--tool",
                o.tool,
                "--error-exitcode",
                "9",
                "--port",
                str(49152 + 16 * slot),
                *more,
                program,
            ]
        env = dict(os.environ)
        if o.sanitizer:
            env["BATON_TEST_DETERMINISTIC"] = "1"
        if o.tiny_model:
            env["BATON_TINY_MODEL"] = o.tiny_model
        if o.library_path:
            env["LD_LIBRARY_PATH"] = o.library_path
        self.slot, self.begin = slot, time.monotonic()
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command,
            stdout=self.out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=env,
            start_new_session=True,
        )
        self.timed_out = False
        self.timer = threading.Timer(seconds, self.expire)
        self.timer.daemon = True
        self.timer.start()

    def expire(self):
        self.timed_out = True
        self.kill()

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def wait(self):
        """(status, output, seconds); 124: the deadline came."""
        status = self.process.wait()
        self.timer.cancel()
        self.kill()  # what it may have left behind
        self.out.seek(0)
        text = self.out.read().decode(errors="replace")
        return 124 if self.timed_out else status, text, time.monotonic() - self.begin


def has_kernels(program):
    with open(program, "rb") as f:
        return b".nv_fatbin" in f.read()


def report(o, name, status, text, seconds):
    """Prints what a program did; returns what is wrong with it, or None."""
    what = o.tool if o.sanitizer else "op test"
    sys.stderr.write("==== %s: status %d after %.1f s\n%s" % (name, status, seconds, text))
    passed, failed = len(re.findall(r"^\[ +OK \]", text, re.M)), len(
        re.findall(r"^\[  FAILED  \] [^0-9]", text, re.M)
    )
    ok = status == 0 and passed > 0
    print(
        json.dumps(
            {
                "by": "baton",
                "key": "%s %s" % (what, name),
                "mode": "",
                "unit": "tests passed",
                "value": passed,
                "failed": failed,
                "status": status,
                "seconds": round(seconds, 1),
                "ok": ok,
            }
        ),
        flush=True,
    )
    if ok:
        return None
    return "%s (%s)" % (name, "timed out" if status == 124 else "status %d" % status)


def run_all(o, programs):
    """What is wrong with which; None when the sanitizer cannot work here."""
    end, bad, waiting = time.monotonic() + o.seconds, [], list(programs)
    running, done, slots = {}, queue.SimpleQueue(), list(range(o.jobs))
    # The programs are in other sessions: they would go on. The signal waits its turn, so that none is missed
    # that just began.
    signal.signal(signal.SIGTERM, lambda *_: done.put(None))
    try:
        while waiting or running:
            while waiting and slots:
                left, rounds = end - time.monotonic(), math.ceil(len(waiting) / o.jobs)
                program = waiting.pop(0)
                if left < 1:
                    bad.append(
                        report(
                            o, os.path.basename(program)[len("cuda_device_") :], 124, "no time was left\n", 0
                        )
                    )
                    continue
                run = Run(
                    o, program, slots.pop(0), min(left, 2 * left / rounds)
                )  # one that hangs must not take all of it
                running[run.name] = run
                threading.Thread(target=lambda r=run: done.put((r, *r.wait())), daemon=True).start()
            if not running:
                break
            ended = done.get()
            if not ended:
                sys.exit(128 + signal.SIGTERM)
            run, status, text, seconds = ended
            del running[run.name]
            slots.append(run.slot)
            if o.sanitizer and re.search(r"Device not supported|LibraryNotLoaded", text):
                sys.stderr.write(text)
                return None
            bad.append(report(o, run.name, status, text, seconds))
    finally:
        for run in running.values():
            run.kill()
    return [b for b in bad if b]


def main():
    cores = len(os.sched_getaffinity(0))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--library-path", default="")
    p.add_argument("--tiny-model", default="")
    p.add_argument("--seconds", type=float, default=50, help="for all programs together")
    p.add_argument(
        "--jobs",
        type=int,
        default=max(1, min(4, cores // 2)),
        help="how many at a time (half of the cores, at most 4)",
    )
    p.add_argument("--sanitizer", default="")
    p.add_argument("--tool", choices=["memcheck", "racecheck"], default="memcheck")
    o = p.parse_args()
    if o.jobs < 1:
        p.error("--jobs %d: want at least 1" % o.jobs)
    programs = [f for f in glob.glob(os.path.join(o.folder, "cuda_device_*")) if os.access(f, os.X_OK)]
    if o.sanitizer:
        programs = [f for f in programs if has_kernels(f)]
    if not programs:
        print("device_tests.py: no cuda_device_* in %s" % o.folder, file=sys.stderr)
        return 1
    # Programs with more code in them test more; those that take longest begin first.
    bad = run_all(o, sorted(programs, key=lambda f: (-os.path.getsize(f), f)))
    if bad is None:
        print(
            "device_tests.py: %s does not work on this device" % os.path.basename(o.sanitizer),
            file=sys.stderr,
        )
        return 4
    if bad:
        print(
            "device_tests.py: %s: %s" % (o.tool if o.sanitizer else "op test", ", ".join(bad)),
            file=sys.stderr,
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
