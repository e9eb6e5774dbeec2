#!/usr/bin/env python3
"""deploy/gpu-check.sh without a GPU: what it says and leaves alone; and with a made-up GPU and programs that pass, fail and hang."""
import glob
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = "ops logits serve serve-file ceilings prefill decode linear rows peers model model-deterministic memcheck racecheck".split()


def check(out, *args, **env):
    command = [ROOT + "/deploy/gpu-check.sh", "--out", out, *args]
    return subprocess.run(command, env=dict(os.environ, **env), capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)


def script(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def without_a_gpu_every_part_is_not_run_and_nothing_is_written(folder):
    done = check(folder + "/out", BATON_SMI="/bin/false")
    assert done.returncode == 3, done
    assert "no CUDA device was found" in done.stdout, done.stdout
    assert [line[9:] for line in done.stdout.splitlines() if line.startswith("not run: ")] == PARTS, done.stdout
    assert not os.path.exists(folder + "/out")


def an_unknown_part_is_refused_by_name(folder):
    done = check(folder + "/out", "ops", "speed", BATON_SMI="/bin/false")
    assert done.returncode == 2 and "'speed'" in done.stderr, done


FIGURE = """echo '{"by": "baton", "key": "%s", "mode": "%s", "unit": "TB/s", "value": %g, "ceiling": "%s"}'\n"""


def a_part_that_fails_or_hangs_is_recorded_and_the_rest_goes_on(folder):
    carry = folder + "/carry"
    script(folder + "/smi", 'case "$1" in -L) echo "GPU 0: Made up";; *) echo "made up";; esac\n')
    script(carry + "/bin/baton-coordinator", '[ "$1" = --version ] || echo "no cluster today" >&2\n')
    script(carry + "/bin/baton-prefill", "exit 0\n")
    script(carry + "/bin/baton-decode", "exit 0\n")
    script(carry + "/tests/cuda_device_good", "echo '[       OK ] a'; echo '[       OK ] b'\n")
    decode = "attend_decode d128 32/8 batch 64 ctx 4096"
    script(carry + "/bin/gpu_bench", 'case "$1" in\nceilings) ' + FIGURE % ("copy", "", 4, "") + ";;\ndecode) " +
           FIGURE % (decode, "default", 3.5, "copy") + ";;\nlinear) echo 'the device fell | off' >&2; exit 7;;\nprefill) sleep 60;;\nesac\n")
    with open(carry + "/commit", "w") as f:
        f.write("abc1234\n")
    out = folder + "/out"
    done = check(out, "--seconds", "19", "ops", "ceilings", "linear", "decode", "serve", "prefill", "rows",
                 BATON_SMI=folder + "/smi", BATON_CARRY=carry)
    assert done.returncode == 1, done
    written = glob.glob(out + "/gpu-check-*.json")
    assert len(written) == 1 and len(glob.glob(out + "/gpu-check-*.md")) == 1, os.listdir(out)
    with open(written[0]) as f:
        report = json.load(f)
    parts = {p["part"]: p for p in report["parts"]}
    assert {k: v["status"] for k, v in parts.items()} == {
        "ops": "passed", "ceilings": "passed", "linear": "failed", "decode": "passed", "serve": "failed", "prefill": "timed out",
        "rows": "not run"}, parts
    assert parts["linear"]["detail"] == "the device fell   off", parts["linear"]
    assert report["facts"]["commit"] == "abc1234" and report["facts"]["gpu"] == "made up", report["facts"]
    figures = {f["key"]: f for f in report["figures"]}
    assert figures["op test good"]["value"] == 2 and figures["op test good"]["ok"], figures
    assert figures[decode]["of_ceiling"] == 0.875 and figures[decode]["verdict"] == "met", figures
    assert len(report["targets_not_run"]) >= 8
    with open(written[0][:-4] + "md") as f:
        text = f.read()
    assert "| linear | failed |" in text and "| " + decode + " | default | 3.5 | TB/s | 4 | 88 % |" in text, text


if __name__ == "__main__":
    for test in [without_a_gpu_every_part_is_not_run_and_nothing_is_written, an_unknown_part_is_refused_by_name,
                 a_part_that_fails_or_hangs_is_recorded_and_the_rest_goes_on]:
        with tempfile.TemporaryDirectory() as folder:
            test(folder)
        print("passed:", test.__name__, flush=True)
    sys.exit(0)
