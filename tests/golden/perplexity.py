"""Perplexity of text.txt by llama.cpp and by Baton, of any GGUF files of a model that both can run.

perplexity.py BATON_RUN MODEL.gguf...

Fails when Baton's is further than 1 % from llama.cpp's at 16 bits. Prints a table for FIGURES.md."""

import collections
import os
import sys

import gguf
import llama_cpp
import numpy as np

import logits


def perplexity(values, ids):
    rows = logits.log_softmax(values[:-1])
    return float(np.exp(-rows[np.arange(len(ids) - 1), ids[1:]].mean()))


def types_of(path):
    count = collections.Counter(t.tensor_type.name for t in gguf.GGUFReader(path).tensors)
    del count["F32"]
    return ", ".join(f"{n} {name}" for name, n in count.most_common())


def main():
    run, *models = sys.argv[1:]
    text = open(os.path.join(os.path.dirname(__file__), "text.txt"), "rb").read()
    print("| file | tensors | llama.cpp | act_bits 16 | act_bits 8 |\n|---|---|---|---|---|")
    failed = []
    for path in models:
        llama = llama_cpp.Llama(path, n_ctx=2048, n_threads=2, logits_all=True, verbose=False)
        ids = llama.tokenize(text, add_bos=True, special=False)  # where the vocabulary asks for one
        llama.eval(ids)
        theirs = perplexity(np.array(llama.scores[: len(ids)]), ids)
        vocab = llama.n_vocab()
        ours = [
            perplexity(logits.baton_logits(run, path, ids, vocab, "--threads", "2", "--act-bits", bits), ids)
            for bits in ("16", "8")
        ]
        name = os.path.basename(path)
        print(f"| {name} | {types_of(path)} | {theirs:.4f} | {ours[0]:.4f} | {ours[1]:.4f} |", flush=True)
        if not abs(ours[0] / theirs - 1) <= 0.01:
            failed.append(name)
    for name in failed:
        print("FAILED", name, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
