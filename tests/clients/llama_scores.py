#!/usr/bin/env python3
"""What llama.cpp gives the same continuations, tokenised by itself:

  llama_scores.py FILE.gguf < pairs.json > scores.json      with the package llama-cpp-python

pairs.json: [[context, continuation], ...]; scores.json: the sum of log-probabilities of each."""

import json
import sys

import numpy
from llama_cpp import Llama


def score(llama, context, continuation):
    first = len(llama.tokenize(context.encode(), add_bos=False, special=True))
    ids = llama.tokenize((context + continuation).encode(), add_bos=False, special=True)
    llama.reset()
    llama.eval(ids)
    logits = numpy.asarray(llama.scores[: len(ids)], numpy.float64)
    peak = logits.max(axis=1, keepdims=True)
    logprobs = logits - peak - numpy.log(numpy.exp(logits - peak).sum(axis=1, keepdims=True))
    return sum(logprobs[i - 1, ids[i]] for i in range(first, len(ids)))


def main(path):
    llama = Llama(path, n_ctx=1024, logits_all=True, verbose=False, n_threads=2)
    json.dump([score(llama, *pair) for pair in json.load(sys.stdin)], sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
