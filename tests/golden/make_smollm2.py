"""Writes smollm2.txt, the stored answers of golden/smollm2_test, from transformers in fp32:
make_smollm2.py MODEL.gguf > smollm2.txt

ids N id...                        a text
top POSITION id:logit x 8          the best logits after that position of the text
greedy M N id... id...             M prompt ids, then N greedy ids; only prompts whose best token leads by
                                   0.1 at every step
text N PERPLEXITY id...            text.txt, and how well its tokens after the first are foreseen
scores N logprob:rank:near x N     of each of these; the rank is 1 + how many logits are above the token's,
                                   and `near` other logits are so close to it that the rank is as uncertain"""

import os
import sys

import llama_cpp
import numpy as np

import reference

TEXT = (
    "The lighthouse on the northern cape was built in 1874, "
    "after three ships had been lost on the same reef.\n\n"
    "def count_words(text):\n    counts = {}\n    for word in"
)
PROMPTS = [
    "The capital of France is",
    "Once upon a time",
    "def fibonacci(n):",
    "Water boils at",
    "In 1969, the first human",
    "The three primary colours are",
    "To be or not to be,",
    "A list of fruits: apple,",
    "The opposite of hot is",
    "1, 2, 3, 4,",
    "The days of the week are",
    "Hello, my name is",
]
COUNT, LEAD, NEAR = 16, 0.1, 1e-3


def words(ids):
    return " ".join(map(str, ids))


def log_probs(rows, ids):
    rows = rows[:-1].astype(np.float64)
    rows -= rows.max(axis=-1, keepdims=True)
    log_p = rows - np.log(np.exp(rows).sum(axis=-1, keepdims=True))
    return log_p[np.arange(len(ids) - 1), ids[1:]]


def scores(rows, ids):
    for log_p, row, token in zip(log_probs(rows, ids), rows, ids[1:]):
        own = row[token]
        near = (np.abs(row - own) < NEAR).sum() - 1
        yield f"{log_p:.5f}:{1 + (row > own).sum()}:{near}"


def main():
    path = sys.argv[1]
    vocab = llama_cpp.Llama(path, vocab_only=True, verbose=False)
    encode = lambda text: vocab.tokenize(text.encode(), add_bos=False, special=False)
    model = reference.load(path)
    ids = encode(TEXT)
    print("ids", len(ids), words(ids))
    for position, row in enumerate(reference.logits(model, ids)):
        if position % 2 == 0:
            best = np.argsort(-row, kind="stable")[:8]
            print("top", position, " ".join(f"{i}:{row[i]:.5f}" for i in best))
    for text in PROMPTS:
        prompt, answer = encode(text), reference.greedy(model, encode(text), COUNT)
        if min(lead for _, lead in answer) >= LEAD:
            print("greedy", len(prompt), COUNT, words(prompt), words(token for token, _ in answer))
    with open(os.path.join(os.path.dirname(__file__), "text.txt"), encoding="utf-8") as f:
        ids = encode(f.read())
    rows = reference.logits(model, ids)
    print("text", len(ids), "%.6f" % np.exp(-log_probs(rows, ids).mean()), words(ids))
    print("scores", len(ids) - 1, " ".join(scores(rows, ids)))


if __name__ == "__main__":
    main()
