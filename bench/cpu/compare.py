#!/usr/bin/env python3
"""Speed of the backend cpu beside llama.cpp and beside what the machine can do at most, as Markdown.

    tests/golden/venv.sh                    llama.cpp built for this processor, and for AVX2
    .cache/golden/bin/python3 bench/cpu/compare.py --set smollm2 --threads 1,2 --rounds 3

Every program takes its turn in every round (A B C A B C ...), one process per turn, with the same prompt,
threads and numbers of steps: a prompt of 512 tokens, then decode steps at that depth for 1, 8 and 16
sequences at once, each with keys and values of its own. llama.cpp runs with and without flash attention in
the first round; a setting that was best in nothing then is left out. The ceilings are measured each round. A
turn in which others used more than 2 % of a CPU (--foreign) is repeated, and marked * if that does not help.

  --set        smollm2; gemma3 (deploy/fetch-model.sh gemma3-270m); or 1b: a random
               model in the shape of Llama-3.2-1B, made by bench/cpu/models.py
  --isa avx2   both sides restricted to AVX2
  --under CMD  a prefix of every timed command, such as "taskset -c 0" """

import argparse
import json
import os
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
GEMMA = os.path.join(ROOT, "models/gemma-3-270m-q4_k_m.gguf")
SMOL = os.path.join(ROOT, "models/SmolLM2-135M-Instruct.Q4_1.gguf")
TRIES = 3


class Program:
    """One line of the table: a command, and what its turns gave"""

    def __init__(self, name, command, ours):
        self.name, self.command, self.ours = name, command, ours
        self.turns, self.noisy, self.dropped = [], False, False

    def best(self, metric):
        return max(t[metric] for t in self.turns)

    def spread(self, metric):
        values = [t[metric] for t in self.turns]
        return 100 * (1 - min(values) / max(values))


def environment(o):
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
    if o.isa == "avx2":
        env["PYTHONPATH"] = os.path.join(ROOT, ".cache/golden/llama-avx2")
    return env


def call(o, command):
    """A turn: its JSON, from the quietest of a few tries"""
    best = None
    for _ in range(TRIES):
        run = subprocess.run(
            shlex.split(o.under) + command, capture_output=True, text=True, env=environment(o), check=False
        )
        if run.returncode:
            sys.exit("%s\n%s" % (" ".join(command), run.stderr[-2000:]))
        got = json.loads(run.stdout)
        if best is None or got["foreign"] < best["foreign"]:
            best = got
        if best["foreign"] <= o.foreign:
            break
    return best


def ours(o, threads, name, file, bits):
    command = [o.cpu_model, file, "--act-bits", str(bits), "--isa", o.isa, *common(o, threads)]
    return Program("Baton %s, act_bits %d" % (name, bits), command, True)


def llama(o, threads, name, file, flash):
    command = [sys.executable, os.path.join(HERE, "llama_run.py"), file, "--flash", str(flash)]
    command += common(o, threads)
    return Program("llama.cpp %s, flash attention %s" % (name, "on" if flash else "off"), command, False)


def common(o, threads):
    return [
        "--threads",
        str(threads),
        "--prompt",
        "512",
        "--steps",
        str(o.steps),
        "--streams",
        o.streams,
        "--ids",
        o.ids,
    ]


def programs(o, threads):
    cache = lambda name: os.path.join(o.models, name)
    if o.set == "smollm2":
        files = {"Q4_1": SMOL, "Q4_0": cache("SmolLM2.q4_0.gguf"), "Q8_0": cache("SmolLM2.q8_0.gguf")}
        own = [("Q4_1", b) for b in (16, 8, 32)] + [("Q4_0", 16), ("Q8_0", 16)]
    elif o.set == "gemma3":
        files = {"Q4_K_M": GEMMA}
        own = [("Q4_K_M", b) for b in (16, 8)]
    else:
        files = {"Q4_0": cache("random-1b.q4_0.gguf"), "Q8_0": cache("random-1b.q8_0.gguf")}
        own = [(t, b) for t in files for b in (16, 8)]
    out = [ours(o, threads, t, files[t], b) for t, b in own]
    return out + [llama(o, threads, t, file, flash) for t, file in files.items() for flash in (1, 0)]


def drop_slower_flash(all_programs, metrics):
    theirs = [p for p in all_programs if not p.ours]
    for on, off in zip(theirs[::2], theirs[1::2]):
        for a, b in ((on, off), (off, on)):
            a.dropped = all(a.best(m) < b.best(m) for m in metrics)


def measure(o, threads):
    todo, ceilings = programs(o, threads), []
    for number in range(o.rounds):
        ask = [o.cpu_model, "--ceilings", "--threads", str(threads), "--isa", o.isa]
        ceilings.append(call(o, ask))
        for p in todo:
            if p.dropped:
                continue
            turn = call(o, p.command)
            p.turns.append(turn)
            p.noisy |= turn["foreign"] > o.foreign
            print("%d %s %s" % (number, p.name, {m: turn[m] for m in o.metrics}), file=sys.stderr, flush=True)
        if number == 0:
            drop_slower_flash(todo, o.metrics)
    return todo, ceilings


def agreement(got, want):
    same = 0
    while same < min(len(got), len(want)) and got[same] == want[same]:
        same += 1
    return "all %d" % same if same == len(want) else "%d" % same


def cell(p, metric):
    return "%.*f (%.0f %%)" % (1 if p.best(metric) < 200 else 0, p.best(metric), p.spread(metric))


def table(o, threads, todo, ceilings, truth):
    read = max(c["read"] for c in ceilings)
    int8, fp32 = max(c["int8"] for c in ceilings), max(c["fp32"] for c in ceilings)
    lines = ["### %d thread%s" % (threads, "s" if threads > 1 else ""), ""]
    lines.append(
        "Ceilings, best of the rounds: DRAM read %.1f GB/s, int8 dot %.0f GOP/s, fp32 %.0f GFLOP/s."
        % (read, int8, fp32)
    )
    lines += [
        "",
        "| tok/s, best (spread) | prefill 512 | decode, 1 | share of DRAM | 8 | 16 | same greedy tokens |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for p in todo:
        if p.dropped:
            continue
        kind = p.turns[0]
        share = "%.0f %%" % (100 * p.best("gbs_1") / read) if "gbs_1" in kind else ""
        cells = [cell(p, m) for m in o.metrics]
        cells.insert(2, share)
        cells.append(agreement(kind["ids"], truth) if truth else "")
        lines.append("| %s%s | %s |" % (p.name, " *" if p.noisy else "", " | ".join(cells)))
    return lines + [""] + ratios(o, todo)


def ratios(o, todo):
    """The first of ours beside the best of theirs, and beside theirs on the same file"""
    mine, theirs = todo[0], [p for p in todo if not p.ours and not p.dropped]
    same = [p for p in theirs if p.name.split()[1] == mine.name.split()[1]]
    heads = ["prefill", "decode, 1 stream"] + o.streams.split(",")[1:]
    lines = ["| %s beside llama.cpp | %s |" % (mine.name, " | ".join(heads)), "|---" * (len(heads) + 1) + "|"]
    for name, group in (("its best of all files", theirs), ("the same file", same)):
        cells = ["%.2f" % (mine.best(m) / max(p.best(m) for p in group)) for m in o.metrics]
        lines.append("| %s | %s |" % (name, " | ".join(cells)))
    return lines + [""]


def text_ids():
    import llama_cpp

    vocab = llama_cpp.Llama(SMOL, vocab_only=True, verbose=False)
    with open(os.path.join(ROOT, "tests/golden/text.txt"), "rb") as f:
        return vocab.tokenize(f.read(), add_bos=False, special=False)[:512]


def true_tokens(o, ids):
    """What transformers says in fp32, kept beside the models"""
    if o.set != "smollm2":
        return None
    path = os.path.join(o.models, "SmolLM2.greedy.json")
    if not os.path.exists(path):
        sys.path.insert(0, os.path.join(ROOT, "tests/golden"))
        import reference

        answer = [token for token, _ in reference.greedy(reference.load(SMOL), ids, 65)]
        with open(path, "w", encoding="utf-8") as f:
            json.dump(answer, f)
    with open(path, encoding="utf-8") as f:
        return json.load(f)[: o.steps + 1]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--set", choices=("smollm2", "gemma3", "1b"), default="smollm2")
    p.add_argument("--threads", default="1,2")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--steps", type=int, default=64)
    p.add_argument("--streams", default="1,8,16", help="sequences of a decode step; the first is 1")
    p.add_argument("--foreign", type=float, default=2.0, help="percent of a CPU that others may use")
    p.add_argument("--isa", default="auto")
    p.add_argument("--under", default="")
    p.add_argument("--models", default=os.path.join(ROOT, ".cache/golden/models"))
    p.add_argument("--cpu-model", default=os.path.join(ROOT, "build/test/bin/cpu_model"))
    p.add_argument("--json", help="all turns go there")
    o = p.parse_args()
    o.metrics = ["prefill"] + ["decode_" + n for n in o.streams.split(",")]
    subprocess.run([sys.executable, os.path.join(HERE, "models.py"), SMOL, o.models], check=True, stdout=2)
    ids = text_ids()
    o.ids = os.path.join(o.models, "prompt.ids")
    with open(o.ids, "w", encoding="utf-8") as f:
        f.write(" ".join(map(str, ids)))
    truth, out, kept = true_tokens(o, ids), [], {}
    for threads in map(int, o.threads.split(",")):
        todo, ceilings = measure(o, threads)
        out += table(o, threads, todo, ceilings, truth)
        kept[threads] = {"ceilings": ceilings, "programs": {q.name: q.turns for q in todo}}
        if o.json:
            with open(o.json, "w", encoding="utf-8") as f:
                json.dump(kept, f, indent=1)
    print("\n".join(out))


if __name__ == "__main__":
    main()
