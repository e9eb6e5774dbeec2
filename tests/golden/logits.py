"""Compares Baton's logits and greedy text with transformers (fp32, same dequantised weights) and with
llama.cpp.

logits.py MODEL.gguf BATON_RUN [--backends ref,cpu] [--positions N] [--no-greedy]

Fails when `ref` is further than 1e-3 from transformers, or `cpu` is further from it (mean KL divergence)
than its act_bits promise: 1e-5 at 16 and 32, no more than llama.cpp at 8. Prints a table for FIGURES.md."""

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
ACT_BITS = (16, 8, 32)
KL_MAX = 1e-5  # mean, to transformers, of act_bits 16 and 32


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


def report(name, ids, truth, got):
    want, have = log_softmax(truth), log_softmax(got)
    kl = (np.exp(want) * (want - have)).sum(axis=-1)
    error = np.linalg.norm(got.astype(np.float64) - truth, axis=-1) / np.linalg.norm(
        truth.astype(np.float64), axis=-1
    )
    perplexity = np.exp(-have[np.arange(len(ids) - 1), ids[1:]].mean())
    same = (truth.argmax(-1) == got.argmax(-1)).mean()
    print(
        f"| {name} | {error.max():.2e} | {error.mean():.2e} "
        f"| {kl.mean():.3e} | {kl.max():.2e} | {same:.2%} | {perplexity:.4f} |",
        flush=True,
    )
    return error.max(), kl.mean()


def compare_logits(o, llama, ids):
    model = reference.load(o.model)
    truth = reference.logits(model, ids)
    print(f"\n{len(ids)} positions, against transformers fp32\n")
    print(
        "| | relative error, worst position | mean | mean KL | worst KL | same best token | perplexity |\n"
        "|---|---|---|---|---|---|---|"
    )
    llama.reset()
    llama.eval(ids)
    _, llama_kl = report("llama.cpp (f16 KV)", ids, truth, np.array(llama.scores[: len(ids)]))
    failed = []
    runs = [("ref", "ref, f32 KV", ["--kv", "f32"], lambda error, kl: error < 1e-3)]
    for bits, most in ((16, KL_MAX), (8, llama_kl), (32, KL_MAX)):
        for kv in ("f16", "f32"):
            options = ["--kv", kv, "--act-bits", str(bits)]
            near = lambda error, kl, most=most: kl <= most
            runs.append(("cpu", f"cpu, act_bits {bits}, {kv} KV", options, near))
    for backend, name, options, near in runs:
        if backend not in o.backends.split(","):
            continue
        got = baton_logits(o.baton_run, o.model, ids, truth.shape[1], "--backend", backend, *options)
        error, kl = report(name, ids, truth, got)
        if not near(error, kl):
            failed.append(f"{name}: relative error {error:.2e}, mean KL {kl:.3e}; llama.cpp {llama_kl:.3e}")
    return model, failed


def until_end(ids, end):
    return ids[: ids.index(end) + 1] if end in ids else ids


def divergence(a, b):
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return f"token {i}"
    return "none"


def compare_greedy(o, llama, model):
    names = [f"act_bits {bits}" for bits in ACT_BITS] + ["llama.cpp"]
    print(
        f"\nGreedy, {GENERATED} tokens: the first that differs from transformers\n\n"
        f"| prompt | {' | '.join(names)} |\n|---|{'---|' * len(names)}"
    )
    for text in PROMPTS:
        ids = llama.tokenize(text.encode(), add_bos=False, special=False)
        end = llama.token_eos()
        truth = until_end([token for token, _ in reference.greedy(model, ids, GENERATED)], end)
        answers = []
        for bits in ACT_BITS:
            text_of = baton(o.baton_run, o.model, ids, "-n", str(GENERATED), "--act-bits", str(bits)).stderr
            answers.append([int(i) for i in text_of.split("ids ", 1)[1].split("\n", 1)[0].split(",")])
        llama.reset()
        theirs = []
        for token in llama.generate(ids, temp=0.0, repeat_penalty=1.0, top_k=1):
            theirs.append(token)
            if token == end or len(theirs) == GENERATED:
                break
        answers.append(theirs)
        print(f"| {text} | {' | '.join(divergence(a, truth) for a in answers)} |", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("model")
    p.add_argument("baton_run")
    p.add_argument("--backends", default="ref,cpu")
    p.add_argument("--positions", type=int, default=512)
    p.add_argument("--no-greedy", action="store_true", help="logits only")
    o = p.parse_args()
    llama = llama_cpp.Llama(
        o.model, n_ctx=2048, n_threads=1, n_threads_batch=1, logits_all=True, verbose=False
    )
    text = open(os.path.join(os.path.dirname(__file__), "text.txt"), "rb").read()
    bos = llama.metadata.get("tokenizer.ggml.add_bos_token") == "true"
    ids = llama.tokenize(text, add_bos=bos, special=False)[: o.positions]
    model, failed = compare_logits(o, llama, ids)
    if not o.no_greedy:
        compare_greedy(o, llama, model)
    for line in failed:
        print("FAILED", line, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
