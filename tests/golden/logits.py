"""Compares Baton's logits and greedy text with transformers (fp32, same dequantised weights) and with
llama.cpp.

logits.py MODEL.gguf BATON_RUN [--backends ref,cpu] [--positions N]

Fails when `ref` is further than 1e-3 from transformers, or when `cpu` is further from it (mean KL divergence)
than llama.cpp. Prints a table for FIGURES.md."""

import argparse
import os
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

import reference

PROMPTS = [
    "The capital of France is",
    "Once upon a time",
    "def fibonacci(n):",
    "Water boils at",
    "The three primary colours are",
    "Dear Sir or Madam,",
    "In 1969, the first human",
    "To be or not to be,",
]
GENERATED = 48


def baton(run, model, ids, *more):
    command = [run, model, "--ids", ",".join(map(str, ids)), *more]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def baton_logits(run, model, ids, vocab, *more):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "logits.f32")
        baton(run, model, ids, "--logits", path, *more)
        return np.fromfile(path, dtype=np.float32).reshape(len(ids), vocab)


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def report(name, truth, got):
    want, have = log_softmax(truth), log_softmax(got)
    kl = (np.exp(want) * (want - have)).sum(axis=-1)
    error = np.linalg.norm(got.astype(np.float64) - truth, axis=-1) / np.linalg.norm(
        truth.astype(np.float64), axis=-1
    )
    same = (truth.argmax(-1) == got.argmax(-1)).mean()
    print(
        f"| {name} | {error.max():.2e} | {error.mean():.2e} "
        f"| {kl.mean():.3e} | {kl.max():.2e} | {same:.2%} |",
        flush=True,
    )
    return error.max(), kl.mean()


def compare_logits(o, llama, ids):
    model = reference.load(o.model)
    truth = reference.logits(model, ids)
    print(f"\n{len(ids)} positions, against transformers fp32\n")
    print(
        "| | relative error, worst position | mean | mean KL | worst KL | same best token |\n"
        "|---|---|---|---|---|---|"
    )
    llama.reset()
    llama.eval(ids)
    _, llama_kl = report("llama.cpp (f16 KV)", truth, np.array(llama.scores[: len(ids)]))
    failed = []
    runs = {
        "ref": [("ref, f32 KV", ["--backend", "ref", "--kv", "f32"])],
        "cpu": [("cpu, f16 KV", ["--backend", "cpu"]), ("cpu, f32 KV", ["--backend", "cpu", "--kv", "f32"])],
    }
    for backend in o.backends.split(","):
        for name, options in runs[backend]:
            error, kl = report(name, truth, baton_logits(o.baton_run, o.model, ids, truth.shape[1], *options))
            if backend == "ref" and not error < 1e-3:
                failed.append(f"{name}: relative error {error:.2e}, want < 1e-3")
            if backend == "cpu" and not kl <= llama_kl:
                failed.append(f"{name}: mean KL {kl:.3e}, llama.cpp has {llama_kl:.3e}")
    return model, failed


def until_end(ids, end):
    return ids[: ids.index(end) + 1] if end in ids else ids


def divergence(a, b):
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return f"token {i}"
    return "none"


def compare_greedy(o, llama, model):
    print(
        f"\nGreedy, {GENERATED} tokens: the first that differs\n\n"
        "| prompt | cpu and transformers | llama.cpp and transformers |\n|---|---|---|"
    )
    for text in PROMPTS:
        ids = llama.tokenize(text.encode(), add_bos=False, special=False)
        end = llama.token_eos()
        truth = until_end([token for token, _ in reference.greedy(model, ids, GENERATED)], end)
        ours = baton(o.baton_run, o.model, ids, "-n", str(GENERATED)).stderr
        ours = [int(i) for i in ours.split("ids ", 1)[1].split("\n", 1)[0].split(",")]
        llama.reset()
        theirs = []
        for token in llama.generate(ids, temp=0.0, repeat_penalty=1.0, top_k=1):
            theirs.append(token)
            if token == end or len(theirs) == GENERATED:
                break
        print(f"| {text} | {divergence(ours, truth)} | {divergence(theirs, truth)} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model")
    p.add_argument("baton_run")
    p.add_argument("--backends", default="ref,cpu")
    p.add_argument("--positions", type=int, default=512)
    o = p.parse_args()
    llama = llama_cpp.Llama(
        o.model, n_ctx=2048, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    text = open(os.path.join(os.path.dirname(__file__), "text.txt"), "rb").read()
    ids = llama.tokenize(text, add_bos=False, special=False)[: o.positions]
    model, failed = compare_logits(o, llama, ids)
    compare_greedy(o, llama, model)
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
