"""Single-thread speed of one process next to llama.cpp, by turns, so that both meet the same noise: speed.py
MODEL.gguf BATON_RUN [ROUNDS]

Prints the best of the rounds: tokens per second of a prompt of 512 tokens, and of 64 decode steps after it.
"""

import re
import subprocess
import sys
import time

import llama_cpp

PROMPT, STEPS = 512, 64


def baton(model, run):
    err = subprocess.run(
        [run, model, "--bench", str(PROMPT)], check=True, capture_output=True, text=True
    ).stderr
    return [float(x) for x in re.findall(r"([0-9.]+) tok/s", err)]


def llama(m, ids):
    m.reset()
    start = time.perf_counter()
    m.eval(ids)
    first = time.perf_counter()
    for i in range(STEPS):
        m.eval([ids[i]])
    end = time.perf_counter()
    return [PROMPT / (first - start), STEPS / (end - first)]


def main():
    model, run = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    m = llama_cpp.Llama(
        model, n_ctx=1024, n_batch=PROMPT, n_ubatch=PROMPT, n_threads=1, n_threads_batch=1, verbose=False
    )
    ids = [i * 7919 % m.n_vocab() for i in range(PROMPT)]
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(baton(model, run))
        theirs.append(llama(m, ids))
    print("| | prefill 512, tok/s | decode, tok/s |\n|---|---|---|")
    best = lambda runs: [max(r[i] for r in runs) for i in range(2)]
    a, b = best(ours), best(theirs)
    print(
        f"| Baton | {a[0]:.0f} | {a[1]:.1f} |\n| llama.cpp | {b[0]:.0f} | {b[1]:.1f} |\n"
        f"| ratio | {a[0] / b[0]:.2f} | {a[1] / b[1]:.2f} |"
    )


if __name__ == "__main__":
    main()
