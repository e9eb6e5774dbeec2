#!/usr/bin/env python3
"""deploy/gpu-check.sh without a GPU: what it says and leaves alone; and with a made-up GPU and programs that pass, fail and hang."""
import glob
import json
import os
import subprocess
import sys
import tarfile
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = "ops logits serve serve-file ceilings prefill decode linear rows peers model model-deterministic memcheck racecheck".split()


def check(out, *args, **env):
    command = [ROOT + "/deploy/gpu-check.sh", "--out", out, *args]
    return subprocess.run(command, env=dict(os.environ, **env), capture_output=True, text=True, timeout=110, stdin=subprocess.DEVNULL)


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


def made_up(folder):
    """An nvidia-smi, and carried programs that pass, fail and hang."""
    carry, programs = folder + "/carry", folder + "/programs"
    script(folder + "/smi", 'case "$1" in -L) echo "GPU 0: Made up";; *) echo "made up";; esac\n')
    script(programs + "/bin/baton-coordinator", '[ "$1" = --version ] || echo "no cluster today" >&2\n')
    script(programs + "/bin/baton-prefill", "exit 0\n")
    script(programs + "/bin/baton-decode", "exit 0\n")
    script(programs + "/tests/cuda_device_good", "echo '[       OK ] a'; echo '[       OK ] b'\n")
    decode = "attend_decode d128 32/8 batch 64 ctx 4096"
    script(programs + "/bin/gpu_bench", 'case "$1" in\nceilings) ' + FIGURE % ("copy", "", 4, "") + ";;\ndecode) " +
           FIGURE % (decode, "default", 3.5, "copy") + ";;\nlinear) echo 'the device fell | off' >&2; exit 7;;\nprefill) sleep 60;;\nesac\n")
    os.mkdir(carry)
    with tarfile.open(carry + "/programs.tar.xz", "w:xz") as packed:
        packed.add(programs + "/bin", "bin")
        packed.add(programs + "/tests", "tests")
    with open(carry + "/commit", "w") as f:
        f.write("abc1234\n")
    return dict(BATON_SMI=folder + "/smi", BATON_CARRY=carry), decode


def a_part_that_fails_or_hangs_is_recorded_and_the_rest_goes_on(folder):
    out = folder + "/out"
    env, decode = made_up(folder)
    done = check(out, "ops", "ceilings", "linear", "prefill", "decode", "serve", "rows", BATON_CHECK_LIMIT="12", **env)
    assert done.returncode == 1, done
    written = glob.glob(out + "/gpu-check-*.json")
    assert len(written) == 1 and len(glob.glob(out + "/gpu-check-*.md")) == 1, os.listdir(out)
    with open(written[0]) as f:
        report = json.load(f)
    parts = {p["part"]: p for p in report["parts"]}
    assert {k: v["status"] for k, v in parts.items()} == {
        "ops": "passed", "ceilings": "passed", "linear": "failed", "prefill": "timed out", "decode": "passed",
        "serve": "failed", "rows": "passed"}, parts
    assert parts["linear"]["detail"] == "the device fell   off", parts["linear"]
    assert report["facts"]["commit"] == "abc1234" and report["facts"]["gpu"] == "made up", report["facts"]
    figures = {f["key"]: f for f in report["figures"]}
    assert figures["op test good"]["value"] == 2 and figures["op test good"]["ok"], figures
    assert figures[decode]["of_ceiling"] == 0.875 and figures[decode]["verdict"] == "met", figures
    assert len(report["targets_not_run"]) >= 8
    with open(written[0][:-4] + "md") as f:
        text = f.read()
    assert "| linear | failed |" in text and "| " + decode + " | default | 3.5 | TB/s | 4 | 88 % |" in text, text


def when_the_time_is_over_the_rest_is_not_run(folder):
    done = check(folder + "/out", "--seconds", "1", "ops", "model", **made_up(folder)[0])
    assert done.returncode == 1, done
    lines = [line.split(None, 1) for line in done.stdout.splitlines() if "no time was left" in line]
    assert [line[0] for line in lines[:2]] == ["ops", "model"], done.stdout


if __name__ == "__main__":
    for test in [without_a_gpu_every_part_is_not_run_and_nothing_is_written, an_unknown_part_is_refused_by_name,
                 when_the_time_is_over_the_rest_is_not_run, a_part_that_fails_or_hangs_is_recorded_and_the_rest_goes_on]:
        with tempfile.TemporaryDirectory() as folder:
            test(folder)
        print("passed:", test.__name__, flush=True)
    sys.exit(0)
