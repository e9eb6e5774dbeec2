#!/usr/bin/env python3
"""Logits of small Llama-architecture models (random weights, seeded) against Hugging Face transformers on the
same weights.

logits_check.py --baton-run PROGRAM --backend cuda|cpu|ref [--act bf16,f32] [--lengths N,N] [--jobs N]

transformers computes in fp32 on the CPU. Two ways are checked per model and type: all positions of prompts
(prefill), and greedy tokens (decode), each of which must be the one that transformers finds best, unless the
runner-up is nearer than twice the error. Each run of Baton is a process of its own, most of whose time goes
into its start, so a few run at a time. Prints one JSON line per figure. Exit status 0 when all are within
their bounds, 1 when not."""

import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gguf_write  # noqa: E402

BOUNDS = {"bf16": 2e-2, "f16": 2e-2, "f32": 1e-4}
MODELS = {
    "d64 8/2": dict(
        hidden_size=512, num_attention_heads=8, num_key_value_heads=2, head_dim=64, intermediate_size=1408
    ),
    "d128 8/2": dict(
        hidden_size=1024, num_attention_heads=8, num_key_value_heads=2, head_dim=128, intermediate_size=2816
    ),
}
LAYERS, VOCAB, CONTEXT = 4, 2048, 2048


def make_model(dims, seed):
    """Weights are rounded to bf16, so that the file holds them exactly. A matrix keeps the size of a row:
    with larger queries and keys a right bf16 implementation comes near the bound (activations rounded to bf16
    between the operations, sums and residual stream in fp32: 0.6 % here, 1.2 % with queries and keys of 1.5
    times the size)."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        num_hidden_layers=LAYERS,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=False,
        attention_bias=False,
        mlp_bias=False,
        attn_implementation="eager",
        **dims
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:
                p.copy_(1 + 0.1 * torch.randn(p.shape))
            else:
                scale = 1.0 if "embed" in name else p.shape[1] ** -0.5
                p.copy_((torch.randn(p.shape) * scale).bfloat16().float())
        model.lm_head.weight[
            : len(gguf_write.SPECIALS)
        ] *= 0.125  # the ends of a text do not come by accident
        model.lm_head.weight *= 2
    return model.float().eval()


def run(o, path, ids, act, *more):
    command = [o.baton_run, path, "--ids", ",".join(map(str, ids)), "--backend", o.backend, *more]
    if o.backend == "cuda":
        command += ["--act", act] + (["--deterministic"] if o.deterministic else [])
    elif act == "f32":
        command += ["--kv", "f32"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=o.timeout)
    if done.returncode != 0:
        sys.exit(
            "logits_check.py: %s ... ended with %d:\n%s" % (command[0], done.returncode, done.stderr[-2000:])
        )
    return done.stderr


def baton_logits(o, path, ids, act):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits.f32")
        run(o, path, ids, act, "--logits", out)
        with open(out, "rb") as f:
            raw = bytearray(f.read())
    if len(raw) != len(ids) * VOCAB * 4:
        sys.exit("logits_check.py: %d bytes of logits for %d tokens" % (len(raw), len(ids)))
    return torch.frombuffer(raw, dtype=torch.float32).reshape(len(ids), VOCAB).clone()


def hf_logits(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float()


def relative_error(got, truth):
    """Of the worst position; NaN counts as the worst."""
    error = (got.double() - truth.double()).norm(dim=-1) / truth.double().norm(dim=-1)
    return float("inf") if not torch.isfinite(error).all() else float(error.max())


def wrong_best(got, truth):
    """Positions whose best token differs although transformers' best is clear of every other by more than the
    error there."""
    best = torch.topk(truth, 2, dim=-1)
    gap = best.values[:, 0] - best.values[:, 1]
    error = (got - truth).abs().max(dim=-1).values
    clear = gap > 2 * error  # each of the two logits may be off by the error
    return int(((got.argmax(-1) != best.indices[:, 0]) & clear).sum()), int(clear.sum())


def prompt_ids(length):
    return torch.randint(300, VOCAB, (length,), generator=torch.Generator().manual_seed(length)).tolist()


DECODE_PROMPT = list(range(400, 437))


def greedy_ids(o, path, act):
    stderr = run(o, path, DECODE_PROMPT, act, "-n", str(o.decode))
    return [int(i) for i in re.search(r"^ids ([-0-9,]+)$", stderr, re.M).group(1).split(",")]


def wrong_greedy(model, out, bound):
    """How many of Baton's greedy tokens lie further below transformers' best than rounding explains."""
    truth = hf_logits(model, DECODE_PROMPT + out)[len(DECODE_PROMPT) - 1 : -1]
    chosen = truth.gather(1, torch.tensor(out).unsqueeze(1)).squeeze(1)
    # An error of the size of the bound, all of it in the one logit that matters, cannot be told from a wrong
    # choice.
    slack = 2 * bound * truth.norm(dim=-1) / VOCAB**0.5 * 4
    return int((truth.max(dim=-1).values - chosen > slack).sum())


def check(o, pool, name, path, model):
    """Prints a line per type; False when one is out of its bounds."""
    lengths, fine = [int(n) for n in o.lengths.split(",")], True
    runs = {
        act: (
            [pool.submit(baton_logits, o, path, prompt_ids(n), act) for n in lengths],
            pool.submit(greedy_ids, o, path, act) if o.decode else None,
        )
        for act in o.act.split(",")
    }
    truths = [hf_logits(model, prompt_ids(n)) for n in lengths]
    for act, (prompts, greedy) in runs.items():
        bound = BOUNDS[act]
        got = [p.result() for p in prompts]
        error = max(relative_error(g, t) for g, t in zip(got, truths))
        wrong, clear = (sum(n) for n in zip(*(wrong_best(g, t) for g, t in zip(got, truths))))
        out = greedy.result() if greedy else []
        bad = wrong_greedy(model, out, bound) if out else 0
        ok = error < bound and wrong == 0 and clear > 0 and bad == 0
        fine &= ok
        print(
            json.dumps(
                {
                    "by": "baton",
                    "key": "logits %s %s %s" % (o.backend, name, act),
                    "unit": "relative error",
                    "mode": "deterministic" if o.deterministic else "default",
                    "value": error,
                    "bound": bound,
                    "best_token_wrong": wrong,
                    "best_token_clear": clear,
                    "greedy_wrong": bad,
                    "greedy_tokens": len(out),
                    "ok": ok,
                }
            ),
            flush=True,
        )
    return fine


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--baton-run", required=True)
    p.add_argument("--backend", required=True)
    p.add_argument("--act", default="bf16,f32", help="types, comma-separated")
    p.add_argument("--lengths", default="1,33,700", help="tokens of the prompts; 700 takes two steps")
    p.add_argument("--models", default=",".join(MODELS))
    p.add_argument("--decode", type=int, default=48, help="greedy tokens; 0 = none")
    p.add_argument("--deterministic", action="store_true")
    p.add_argument(
        "--jobs", type=int, default=max(1, min(4, len(os.sched_getaffinity(0)) // 2)), help="runs at a time"
    )
    p.add_argument("--timeout", type=float, default=120, help="seconds for one run of baton-run")
    o = p.parse_args()
    good = True
    with concurrent.futures.ThreadPoolExecutor(o.jobs) as pool:
        for name in o.models.split(","):
            model = make_model(MODELS[name], seed=5)
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "model.gguf")
                gguf_write.write(path, model)
                good &= check(o, pool, name, path, model)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
