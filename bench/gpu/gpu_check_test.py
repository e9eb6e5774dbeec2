#!/usr/bin/env python3
"""deploy/gpu-check.sh without a GPU: what it says and leaves alone; and with a made-up GPU, a made-up
compute-sanitizer and programs that pass, fail and hang. device_tests.py by itself, where a program hangs."""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = (
    "ops memcheck racecheck families logits serve serve-file "
    "ceilings prefill decode linear rows model model-deterministic ipc nccl peers"
).split()
SECONDS, UNPACK_AND_TABLE = 540, 20


def check(out, *args, **env):
    command = [ROOT + "/deploy/gpu-check.sh", *(["--out", out] if out else []), *args]
    return subprocess.run(
        command,
        env={**{k: v for k, v in os.environ.items() if k != "OUT"}, **env},
        capture_output=True,
        text=True,
        timeout=500,
        stdin=subprocess.DEVNULL,
    )


def script(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


def without_a_gpu_every_part_is_not_run_and_nothing_is_written(folder):
    done = check(folder + "/out", BATON_SMI="/bin/false")
    assert done.returncode == 3, done
    assert "no CUDA device was found" in done.stdout, done.stdout
    boxes = re.findall(r"^not run: (\S+) \(up to (\d+) s\)$", done.stdout, re.M)
    assert [name for name, _ in boxes] == PARTS, done.stdout
    total = sum(int(seconds) for _, seconds in boxes)
    assert total + UNPACK_AND_TABLE <= SECONDS, "every part can take its share: %d s" % total
    assert not os.path.exists(folder + "/out")


def an_unknown_part_is_refused_by_name(folder):
    done = check(folder + "/out", "ops", "speed", BATON_SMI="/bin/false")
    assert done.returncode == 2 and "'speed'" in done.stderr, done


DETERMINISTIC = 'echo "deterministic=$BATON_TEST_DETERMINISTIC" >&2\n'
GOOD = DETERMINISTIC + "echo '[       OK ] a'; echo '[       OK ] b' # .nv_fatbin\n"
FIGURE = (
    """echo '{"by": "baton", "key": "%s", "mode": "%s", "unit": "TB/s", "value": %g, "ceiling": "%s"}'\n"""
)


def made_up(folder, decode_speed=3.5):
    """An nvidia-smi, and carried programs that pass, fail and hang."""
    carry, programs = folder + "/carry", folder + "/programs"
    script(folder + "/smi", 'case "$1" in -L) echo "GPU 0: Made up";; *) echo "made up";; esac\n')
    script(programs + "/bin/baton-coordinator", '[ "$1" = --version ] || echo "no cluster today" >&2\n')
    script(programs + "/bin/baton-prefill", "exit 0\n")
    script(programs + "/bin/baton-decode", "exit 0\n")
    script(programs + "/tests/cuda_device_good", GOOD)
    script(programs + "/tests/cuda_device_host_only", "echo '[       OK ] c'\n")
    decode = "attend_decode d128 32/8 batch 64 ctx 4096"
    script(
        programs + "/bin/gpu_bench",
        'case "$1" in\nceilings) '
        + FIGURE % ("copy", "", 4, "")
        + ";;\ndecode) "
        + FIGURE % (decode, "default", decode_speed, "copy")
        + ";;\nlinear) echo 'the device fell | off' >&2; exit 7;;\nprefill) sleep 60;;\nesac\n",
    )
    os.mkdir(carry)
    with tarfile.open(carry + "/programs.tar.xz", "w:xz") as packed:
        packed.add(programs + "/bin", "bin")
        packed.add(programs + "/tests", "tests")
    with open(carry + "/commit", "w") as f:
        f.write("abc1234\n")
    # Finds a race in every program; memcheck cannot work.
    script(
        folder + "/sanitizer",
        'case "$*" in *racecheck*) for program; do :; done; "$program"; exit 9;; esac\n'
        'echo "========= Error: Device not supported"; exit 255\n',
    )
    return dict(BATON_SMI=folder + "/smi", BATON_CARRY=carry, BATON_SANITIZER=folder + "/sanitizer"), decode


def a_part_that_fails_or_hangs_is_recorded_and_the_rest_goes_on(folder):
    out = folder + "/out"
    env, decode = made_up(folder)
    done = check(
        out,
        "ops",
        "memcheck",
        "racecheck",
        "ceilings",
        "linear",
        "prefill",
        "decode",
        "serve",
        "rows",
        BATON_CHECK_LIMIT="12",
        **env
    )
    assert done.returncode == 1, done
    logs = {os.path.basename(p).split("Z-", 1)[1] for p in glob.glob(out + "/*.log")}
    assert logs == {"racecheck.log", "linear.log", "prefill.log", "serve.log"}, logs
    with open(glob.glob(out + "/*Z-racecheck.log")[0]) as f:
        assert "deterministic=1\n" in f.read(), "under a sanitizer every case is a deterministic one"
    with open(glob.glob(out + "/*Z-linear.log")[0]) as f:
        assert f.read() == "the device fell | off\n"
    written = glob.glob(out + "/gpu-check-*.json")
    assert len(written) == 1 and len(glob.glob(out + "/gpu-check-*.md")) == 1, os.listdir(out)
    with open(written[0]) as f:
        report = json.load(f)
    parts = {p["part"]: p for p in report["parts"]}
    assert {k: v["status"] for k, v in parts.items()} == {
        "ops": "passed",
        "memcheck": "not run",
        "racecheck": "failed",
        "ceilings": "passed",
        "linear": "failed",
        "prefill": "timed out",
        "decode": "passed",
        "serve": "failed",
        "rows": "passed",
    }, parts
    assert parts["linear"]["detail"] == "the device fell   off", parts["linear"]
    assert report["facts"]["commit"] == "abc1234" and report["facts"]["gpu"] == "made up", report["facts"]
    figures = {f["key"]: f for f in report["figures"]}
    assert figures["op test good"]["value"] == 2 and figures["op test good"]["ok"], figures
    assert (
        figures["op test host_only"]["ok"] and "racecheck host_only" not in figures
    ), "no kernels, nothing to check"
    assert figures["racecheck good"]["status"] == 9 and not figures["racecheck good"]["ok"], figures
    assert parts["racecheck"]["detail"] == "device_tests.py: racecheck: good (status 9)", parts
    assert figures[decode]["of_ceiling"] == 0.875 and figures[decode]["verdict"] == "met", figures
    assert len(report["targets_not_run"]) >= 8
    with open(written[0][:-4] + "md") as f:
        text = f.read()
    assert (
        "| linear | failed |" in text and "| " + decode + " | default | 3.5 | TB/s | 4 | 88 % |" in text
    ), text


def a_missed_target_is_in_the_table_and_is_no_failure(folder):
    env, decode = made_up(folder, decode_speed=0.5)
    done = check(folder + "/out", "ceilings", "decode", **env)
    assert done.returncode == 0, done
    assert "targets: 0 met, 1 not met" in done.stdout and not glob.glob(folder + "/out/*.log"), done.stdout
    with open(glob.glob(folder + "/out/gpu-check-*.md")[0]) as f:
        row = "| " + decode + " | default | 0.5 | TB/s | 4 | 12 % |  |  | >= 80 % of ceiling | not met |"
        assert row in f.read()


def of_nine_logs_of_failures_eight_are_kept_and_none_is_longer_than_16_mb(folder):
    """OUT names the folder where nothing else does."""
    env, _ = made_up(folder)
    loud = 'yes "a line of thirty-one characters" | head -c 17000000 >&2; echo "the end" >&2; exit 1\n'
    for name in ("gpu_bench", "gpu_model"):
        script(folder + "/programs/bin/" + name, '[ "$1" = --here ] || { ' + loud + "}\n")
    with tarfile.open(folder + "/carry/programs.tar.xz", "w:xz", preset=0) as packed:
        packed.add(folder + "/programs/bin", "bin")
        packed.add(folder + "/programs/tests", "tests")
    parts = "ceilings prefill decode linear rows model model-deterministic serve serve-file".split()
    done = check(None, *parts, OUT=folder + "/mine", BATON_MODEL=folder + "/carry/commit", **env)
    assert (
        done.returncode == 1
        and "more than 8 parts failed: no log of serve-file and those after it is kept" in done.stderr
    ), done
    logs = sorted(glob.glob(folder + "/mine/*.log"))
    assert len(logs) == 8, logs
    with open([p for p in logs if p.endswith("Z-rows.log")][0], "rb") as f:
        text = f.read()
    assert len(text) == 16 << 20 and text.endswith(b"\nthe end\n"), len(text)
    assert text.startswith(b"gpu-check.sh: the end of a log of 17000008 bytes\n"), text[:80]


def torch_is_imported_beside_the_first_part_only_when_a_part_wants_it(folder):
    """The part waits for the import, which therefore goes on beside it; what finds torch is made up."""
    env, _ = made_up(folder)
    script(
        folder + "/torch",
        'case "$*" in *find_spec*) exit 0;; "-c import torch") : >%s/imported; exit 0;; esac\n'
        'exec python3 "$@"\n' % folder,
    )
    env["BATON_TORCH"] = folder + "/torch"
    wait = "for i in $(seq 200); do [ ! -e %s/imported ] || exit 0; sleep 0.05; done; exit 1\n" % folder
    script(folder + "/programs/bin/gpu_bench", '[ "$1" = --here ] || { ' + wait + "}\n")
    with tarfile.open(folder + "/carry/programs.tar.xz", "w:xz") as packed:
        packed.add(folder + "/programs/bin", "bin")
        packed.add(folder + "/programs/tests", "tests")
    done = check(folder + "/out", "rows", BATON_CHECK_LIMIT="20", **env)
    assert done.returncode == 1 and not os.path.exists(folder + "/imported"), done
    done = check(folder + "/out2", "rows", "peers", BATON_CHECK_LIMIT="20", **env)
    assert "rows                 passed" in done.stdout, done.stdout


def when_the_time_is_over_the_rest_is_not_run(folder):
    done = check(folder + "/out", "--seconds", "1", "ops", "model", **made_up(folder)[0])
    assert done.returncode == 1, "none passed: %s" % done
    lines = [line.split(None, 1) for line in done.stdout.splitlines() if "no time was left" in line]
    assert [line[0] for line in lines[:2]] == ["ops", "model"], done.stdout


def programs_that_cannot_use_the_device_are_named_with_the_reason(folder):
    """A driver older than the toolkit, say. Then it would build, but cmake fails here."""
    env, _ = made_up(folder)
    script(
        folder + "/bin/gpu_bench",
        '[ "$1" != --here ] || { echo "gpu_bench: the driver is too old" >&2; exit 3; }\n',
    )
    script(folder + "/bin/baton-coordinator", "exit 0\n")
    script(folder + "/path/cmake", "exit 1\n")
    with tarfile.open(folder + "/carry/programs.tar.xz", "w:xz") as packed:
        packed.add(folder + "/bin", "bin")
    done = check(folder + "/out", "ops", **dict(env, PATH=folder + "/path:" + os.environ["PATH"]))
    assert done.returncode == 2 and "the driver is too old" in done.stderr, done
    assert not os.path.exists(folder + "/out")


def device_tests(folder, *args):
    return [sys.executable, ROOT + "/bench/gpu/device_tests.py", folder, *args]


def hangs(folder):
    """A program that leaves its child's id in a file and waits for the child for ever."""
    script(
        folder + "/cuda_device_hang",
        "sleep 1000 & echo $! >%s/child.new; mv %s/child.new %s/child; wait\n" % (folder, folder, folder),
    )


def gone(pid):
    """True when the process is no more, or soon: a signal that was sent cannot be refused."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with open("/proc/%d/stat" % pid) as f:
                if f.read().rsplit(") ", 1)[1].startswith("Z"):
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def child_of_hang(folder):
    end = time.monotonic() + 60
    while not os.path.exists(folder + "/child"):
        assert time.monotonic() < end, "the program did not start"
        time.sleep(0.01)
    with open(folder + "/child") as f:
        return int(f.read())


def a_device_test_that_hangs_is_killed_with_its_children_and_takes_no_other_with_it(folder):
    hangs(folder)
    for name in "abcdef":
        script(folder + "/cuda_device_" + name, GOOD)
    done = subprocess.run(
        device_tests(folder, "--jobs", "2", "--seconds", "20"), capture_output=True, text=True, timeout=500
    )
    lines = {line["key"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1 and lines["op test hang"]["status"] == 124, done
    assert len(lines) == 7 and all(lines["op test " + name]["ok"] for name in "abcdef"), done.stdout
    assert gone(child_of_hang(folder))


def device_tests_that_are_told_to_end_leave_nothing_running(folder):
    hangs(folder)
    process = subprocess.Popen(
        device_tests(folder, "--seconds", "1000"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    pid = child_of_hang(folder)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert gone(pid)


if __name__ == "__main__":
    for test in [
        without_a_gpu_every_part_is_not_run_and_nothing_is_written,
        an_unknown_part_is_refused_by_name,
        when_the_time_is_over_the_rest_is_not_run,
        a_part_that_fails_or_hangs_is_recorded_and_the_rest_goes_on,
        a_missed_target_is_in_the_table_and_is_no_failure,
        of_nine_logs_of_failures_eight_are_kept_and_none_is_longer_than_16_mb,
        torch_is_imported_beside_the_first_part_only_when_a_part_wants_it,
        programs_that_cannot_use_the_device_are_named_with_the_reason,
        a_device_test_that_hangs_is_killed_with_its_children_and_takes_no_other_with_it,
        device_tests_that_are_told_to_end_leave_nothing_running,
    ]:
        with tempfile.TemporaryDirectory() as folder:
            test(folder)
        print("passed:", test.__name__, flush=True)
    sys.exit(0)
