"""Every family of tiny.py against the stored answers of transformers (tiny.json), as GGUF and as the folder
that Hugging Face would write, on ref and on cpu; or on cuda: tiny_test.py BATON_RUN [cuda]

Logits differ by less than 1e-5 of the largest one, every position's best token and the greedy continuation
are equal. The vocabulary's best token leads by 4e-4 or more everywhere, so none of them is chance.

Of weights in q8_0, which cpu packs, ref's logits are the measure: with 16 bits cpu's are as near as 5e-4.

On cuda that is asked of its fp32 kernels. In bf16 and f16, whose kernels want heads of 32 numbers at least,
each family has two heads instead of four, and ref's answers are the measure: logits as near as the type
allows, best tokens and the greedy continuation where the lead is beyond that."""

import array
import concurrent.futures
import json
import math
import os
import subprocess
import sys
import tempfile

import tiny

HERE = os.path.dirname(os.path.abspath(__file__))
NEAR, NEAR_PACKED = 1e-5, 5e-4  # of the largest logit
EXACT = [
    ["--backend", "ref", "--kv", "f32"],
    ["--backend", "cpu", "--kv", "f32", "--act-bits", "32", "--threads", "2"],
    ["--backend", "cpu", "--kv", "f32", "--act-bits", "32", "--isa", "portable"],
]


def run(baton_run, model, ids, *options):
    command = [baton_run, model, "--ids", ",".join(map(str, ids)), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done


def logits_of(baton_run, model, ids, path, *options):
    run(baton_run, model, ids, "--logits", path, *options)
    rows = array.array("f")
    with open(path, "rb") as f:
        rows.frombytes(f.read())
    return [rows[i : i + tiny.VOCAB] for i in range(0, len(rows), tiny.VOCAB)]


def check(name, want, rows, prompt, every):
    assert len(rows) == len(prompt), (name, len(rows))
    worst = 0
    for position, some in want["logits"].items():
        got = rows[int(position)][::every]
        assert len(got) == len(some), name
        worst = max(worst, *(abs(a - b) for a, b in zip(got, some)))
    assert worst <= NEAR * want["scale"], (name, worst, want["scale"])
    best = [max(range(len(r)), key=r.__getitem__) for r in rows]
    assert best == want["best"], (name, [i for i, (a, b) in enumerate(zip(best, want["best"])) if a != b])
    return worst / want["scale"]


def continuation(baton_run, model, prompt, count, *options):
    done = run(baton_run, model, prompt, "-n", str(count), *options)
    return [int(i) for i in done.stderr.split("ids ", 1)[1].split("\n", 1)[0].split(",")]


def check_packed(baton_run, name, want, folder, prompt, path):
    """The largest difference, as a share of the largest logit"""
    packed = ["--weights", "q8_0", "--kv", "f32"]
    truth = logits_of(baton_run, folder, prompt, path, "--backend", "ref", *packed)
    worst = 0
    for isa in ("auto", "portable"):
        got = logits_of(baton_run, folder, prompt, path, "--act-bits", "16", "--isa", isa, *packed)
        worst = max(worst, max(abs(a - b) for r, s in zip(truth, got) for a, b in zip(r, s)))
    assert worst <= NEAR_PACKED * want["scale"], (name + " packed", worst, want["scale"])
    return worst / want["scale"]


# Of the root of the mean square of the logits: what a type's roundings cost, and twice what was seen
NEAR_16 = {"bf16": 0.03, "f16": 0.004}


def lead(row):
    best, second = sorted(row)[-1:-3:-1]
    return best - second


def check_16(baton_run, name, model, prompt, count, path, act, *mode):
    """The relative error of the logits"""
    cuda = ["--backend", "cuda", "--act", act, *mode]
    truth = continuation(baton_run, model, prompt, count, "--backend", "ref", "--kv", "f32")
    said = prompt + truth[:-1]
    want = logits_of(baton_run, model, said, path, "--backend", "ref", "--kv", "f32")
    got = logits_of(baton_run, model, said, path, *cuda)
    off = sum((a - b) ** 2 for r, s in zip(want, got) for a, b in zip(r, s))
    error = math.sqrt(off / sum(a * a for r in want for a in r))
    assert error <= NEAR_16[act], (name, act, error)
    worst = max(abs(a - b) for r, s in zip(want, got) for a, b in zip(r, s))
    sure = [i for i, r in enumerate(want) if lead(r) > 2 * worst]
    assert len(sure) > len(want) // 8, (name, act, "best tokens beyond doubt", len(sure), worst)
    for i in sure:
        assert max(range(tiny.VOCAB), key=got[i].__getitem__) == max(
            range(tiny.VOCAB), key=want[i].__getitem__
        ), i
    heard = continuation(baton_run, model, prompt, count, *cuda)
    for i, (a, b) in enumerate(zip(heard, truth)):
        if len(prompt) - 1 + i not in sure:
            break
        assert a == b, (name, act, heard, truth)
    return error


def check_cuda_family(baton_run, stored, name, folder):
    """Prints a JSON line per type, as deploy/gpu-check.sh collects them; returns what failed."""
    prompt, want, path = stored["prompt"], stored["families"][name], "%s/%s.logits" % (folder, name)
    count, failed = len(want["greedy"]), []

    def exact():
        options = ["--backend", "cuda", "--act", "f32"]
        model = "%s/%s.gguf" % (folder, name)
        rows = logits_of(baton_run, model, prompt, path, *options)
        error = check(name, want, rows, prompt, stored["every"])
        got = continuation(baton_run, model, prompt, count, *options)
        assert got == want["greedy"], (name, got)
        return error

    def near(act, *mode):
        model = "%s/wide/%s.gguf" % (folder, name)
        return check_16(baton_run, name, model, prompt, count, path, act, *mode)

    checks = {"f32": exact, "bf16": lambda: near("bf16"), "f16": lambda: near("f16", "--deterministic")}
    for act, run_check in checks.items():
        line = {"by": "baton", "key": "family %s %s" % (name, act), "mode": "", "unit": "relative error"}
        try:
            line |= {"value": run_check(), "ok": True}
        except AssertionError as e:
            failed.append("%s in %s: %s" % (name, act, e))
            line |= {"value": 1, "ok": False}
        print(json.dumps(line), flush=True)
    return failed


def check_cuda(baton_run, stored):
    """What failed. Most of a run's time is its start, so a few run at a time."""
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(folder + "/wide")
        for name in stored["families"]:
            tiny.write_gguf(name, "%s/%s.gguf" % (folder, name))
            tiny.widen(name)
            tiny.write_gguf(name, "%s/wide/%s.gguf" % (folder, name))
        jobs = max(1, min(4, len(os.sched_getaffinity(0)) // 2))
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            done = pool.map(
                lambda name: check_cuda_family(baton_run, stored, name, folder), stored["families"]
            )
            return [line for failed in done for line in failed]


def check_host(baton_run, stored):
    """What failed"""
    prompt, failed = stored["prompt"], []
    with tempfile.TemporaryDirectory() as folder:
        for name, want in stored["families"].items():
            model = os.path.join(folder, name + ".gguf")
            tiny.write_gguf(name, model)
            tiny.write_folder(name, folder + "/" + name)
            runs = [(model, options) for options in EXACT] + [(folder + "/" + name, EXACT[1])]
            for model, options in runs:
                label = "%s on %s" % (os.path.basename(model), " ".join(options[1::2]))
                try:
                    rows = logits_of(baton_run, model, prompt, folder + "/logits", *options)
                    error = check(label, want, rows, prompt, stored["every"])
                    got = continuation(baton_run, model, prompt, len(want["greedy"]), *options)
                    assert got == want["greedy"], (label, got)
                    print("%s: worst difference %.1e of the largest logit" % (label, error))
                except AssertionError as e:
                    failed.append(str(e))
            try:
                error = check_packed(baton_run, name, want, model, prompt, folder + "/logits")
                print("%s in q8_0: %.1e" % (name, error))
            except AssertionError as e:
                failed.append(str(e))
    return failed


def main():
    baton_run, cuda = sys.argv[1], sys.argv[2:] == ["cuda"]
    with open(os.path.join(HERE, "tiny.json"), encoding="utf-8") as f:
        stored = json.load(f)
    assert sorted(stored["families"]) == sorted(tiny.FAMILIES)
    failed = check_cuda(baton_run, stored) if cuda else check_host(baton_run, stored)
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
