"""Writes tiny.json, the stored answers of golden/tiny: what transformers (fp32, eager attention) makes of the
checkpoints of tiny.py. make_tiny.py > tiny.json

Of each family: best token at each position of the prompt, some logits after some positions, and a greedy
continuation. Fails where two tokens are so close that the best one is chance."""

import json
import os
import sys
import tempfile

import torch
import transformers

import tiny

PROMPT = [(i * i * 7 + i * 31 + 5) % 380 for i in range(40)]  # more than two pages, and three windows
POSITIONS = (0, 11, 12, 15, 16, 25, 39)
EVERY, GREEDY, LEAD = 16, 24, 2e-3  # LEAD: of the best token, as a share of the largest logit


def best_of(rows):
    top = rows.topk(2, dim=-1).values
    lead = ((top[:, 0] - top[:, 1]) / rows.abs().max()).min().item()
    return rows.argmax(-1).tolist(), lead


def answers(name, folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = list(PROMPT)
    with torch.no_grad():
        while len(ids) < len(PROMPT) + GREEDY:
            rows = model(torch.tensor([ids]), use_cache=False).logits[0]
            ids.append(rows[-1].argmax().item())
        rows = model(torch.tensor([ids]), use_cache=False).logits[0]
    best, lead = best_of(rows)
    print("%s: lead %.1e, %d tokens continue" % (name, lead, len(set(ids[40:]))), file=sys.stderr)
    return {
        "lead": lead,
        "scale": round(rows.abs().max().item(), 4),
        "best": best[: len(PROMPT)],
        "greedy": ids[len(PROMPT) :],
        "logits": {p: [round(x, 6) for x in rows[p, ::EVERY].tolist()] for p in POSITIONS},
    }


def main():
    out = {"prompt": PROMPT, "every": EVERY, "families": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name in tiny.FAMILIES:
            path = os.path.join(folder, name)
            tiny.write_folder(name, path)
            out["families"][name] = answers(name, path)
    json.dump(out, sys.stdout, indent=None, separators=(",", ":"))
    print()
    close = [name for name, f in out["families"].items() if f["lead"] < LEAD * 0.01]
    return "too close: " + ", ".join(close) if close else 0


if __name__ == "__main__":
    sys.exit(main())
