#!/usr/bin/env python3
"""Runs the kernels' test programs that are compiled for the device (cuda_device_*), each on its own, with or without compute-sanitizer.

device_tests.py FOLDER [--library-path PATH] [--tiny-model FILE] [--seconds N] [--sanitizer PROGRAM --tool memcheck|racecheck]

Prints one JSON line per program. Exit status: 0 when all passed, 1 when not, 4 when the sanitizer cannot work on this device."""
import argparse
import glob
import json
import os
import re
import signal
import subprocess
import sys
import time


def run(o, program, limit):
    command = [program]
    if o.sanitizer:
        command = [o.sanitizer, "--tool", o.tool, "--error-exitcode", "9", program]
    env = dict(os.environ)
    if o.tiny_model:
        env["BATON_TINY_MODEL"] = o.tiny_model
    if o.library_path:
        env["LD_LIBRARY_PATH"] = o.library_path
    # A session of its own, so that a hanging test goes together with its sanitizer.
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                               errors="replace", env=env, start_new_session=True)
    try:
        text, _ = process.communicate(timeout=limit)
        return process.returncode, text
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
        return 124, text


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("--library-path", default="")
    p.add_argument("--tiny-model", default="")
    p.add_argument("--seconds", type=float, default=50, help="for all programs together")
    p.add_argument("--sanitizer", default="")
    p.add_argument("--tool", default="memcheck")
    o = p.parse_args()
    programs = sorted(f for f in glob.glob(os.path.join(o.folder, "cuda_device_*")) if os.access(f, os.X_OK))
    if not programs:
        print("device_tests.py: no cuda_device_* in %s" % o.folder, file=sys.stderr)
        return 1
    what = o.tool if o.sanitizer else "op test"
    end, bad = time.monotonic() + o.seconds, []
    for i, program in enumerate(programs):
        name = os.path.basename(program)[len("cuda_device_"):]
        left = end - time.monotonic()
        share = min(left, 2 * left / (len(programs) - i))  # one that hangs must not take all of it
        status, text = run(o, program, share) if share > 1 else (124, "no time was left\n")
        sys.stderr.write("==== %s: status %d\n%s" % (name, status, text))
        if o.sanitizer and re.search(r"Device not supported|LibraryNotLoaded", text):
            print("device_tests.py: %s does not work on this device" % os.path.basename(o.sanitizer), file=sys.stderr)
            return 4
        passed, failed = len(re.findall(r"^\[ +OK \]", text, re.M)), len(re.findall(r"^\[  FAILED  \] [^0-9]", text, re.M))
        ok = status == 0 and passed > 0
        line = {"by": "baton", "key": "%s %s" % (what, name), "mode": "", "unit": "tests passed", "value": passed, "failed": failed,
                "status": status, "ok": ok}
        print(json.dumps(line), flush=True)
        if not ok:
            bad.append("%s (%s)" % (name, "timed out" if status == 124 else "status %d" % status))
    if bad:
        print("device_tests.py: %s: %s" % (what, ", ".join(bad)), file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
