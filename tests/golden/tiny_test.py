"""Every family of tiny.py against the stored answers of transformers (tiny.json), as GGUF and as the folder
that Hugging Face would write, on ref and on cpu: tiny_test.py BATON_RUN

Logits differ by less than 1e-5 of the largest one, every position's best token and the greedy continuation
are equal. The vocabulary's best token leads by 4e-4 or more everywhere, so none of them is chance.

Of weights in q8_0, which cpu packs, ref's logits are the measure: with 16 bits cpu's are as near as 5e-4."""

import array
import json
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


def main():
    baton_run = sys.argv[1]
    with open(os.path.join(HERE, "tiny.json"), encoding="utf-8") as f:
        stored = json.load(f)
    prompt = stored["prompt"]
    assert sorted(stored["families"]) == sorted(tiny.FAMILIES)
    failed = []
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
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
