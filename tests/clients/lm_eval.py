#!/usr/bin/env python3
"""lm-evaluation-harness from PyPI, unmodified, against a cluster of SmolLM2: a choice of answers, a
perplexity and a generation, of the few questions and texts in tests/clients/lm_eval_tasks. Where there
is a Python with llama-cpp-python (BATON_LLAMA_PYTHON, or .cache/golden of tests/golden/run.sh), its log-
probabilities of the same continuations give the same accuracy and the same perplexity.

tests/clients/lm_eval.py"""

import glob
import math

from clients import *

PACKAGES = ("lm_eval[api]==0.4.13", "transformers", "gguf")  # no torch
TASKS = ROOT + "/tests/clients/lm_eval_tasks"
# The weights are the same four bits; llama.cpp rounds activations to eight bits and Baton in its own way.
# Nats of a continuation of one to three tokens (an unlikely one may be 0.8 off), and a factor of the
# perplexity.
NEAR_NATS, NEAR_FACTOR = 1.5, 1.03


def evaluate(c, folder, out):
    """Runs all tasks: (results by task, samples by task)."""
    model = (
        "model=%s,base_url=%s/v1/completions,tokenizer=%s,tokenizer_backend=huggingface,num_concurrent=4"
        % (os.path.basename(SMOL)[: -len(".gguf")], url(c), folder)
    )
    command = [venv("lm_eval", *PACKAGES) + "/bin/lm_eval", "run", "--model", "local-completions"]
    command += [
        "--model_args",
        model + ",max_retries=1,timeout=600",
        "--batch_size",
        "4",
        "--include_path",
        TASKS,
    ]
    command += ["--tasks", "baton_choice,baton_generate,baton_perplexity"]
    command += ["--log_samples", "--output_path", out]
    env = dict(os.environ, **ALONE, HF_HOME=out + "/hf")
    subprocess.run(command, check=True, cwd=ROOT, env=env, stderr=subprocess.DEVNULL)
    (results,) = glob.glob(out + "/**/results_*.json", recursive=True)
    samples = {}
    for path in glob.glob(out + "/**/samples_*.jsonl", recursive=True):
        with open(path) as f:
            samples[os.path.basename(path)[len("samples_") :].rsplit("_", 1)[0]] = [json.loads(x) for x in f]
    with open(results) as f:
        return json.load(f)["results"], samples


def pairs_of(samples, eos):
    """What was scored, as (context, continuation) texts in the order of its results."""
    pairs = []
    for s in samples["baton_choice"]:
        pairs += [[a["arg_0"], a["arg_1"]] for _, a in sorted(s["arguments"].items())]
    return pairs + [[eos, a["arg_0"]] for s in samples["baton_perplexity"] for a in s["arguments"].values()]


def compare(results, samples):
    python = os.environ.get("BATON_LLAMA_PYTHON", ROOT + "/.cache/golden/bin/python3")
    if not os.path.exists(python):
        print("not compared with llama.cpp: no " + python)
        return
    for s in samples.values():
        s.sort(key=lambda sample: sample["doc_id"])
    script = [python, ROOT + "/tests/clients/llama_scores.py", SMOL]
    asked = json.dumps(pairs_of(samples, "<|im_end|>"))
    want = json.loads(
        subprocess.run(script, input=asked, stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    right, furthest, choices = 0, 0.0, 0
    for s in samples["baton_choice"]:
        got = [float(r[0][0]) for r in s["resps"]]
        theirs, choices = want[choices : choices + len(got)], choices + len(got)
        right += theirs.index(max(theirs)) == int(s["target"])
        furthest = max([furthest] + [abs(a - b) for a, b in zip(got, theirs)])
    acc = right / len(samples["baton_choice"])
    words = sum(len(s["target"].split()) for s in samples["baton_perplexity"])
    perplexity = math.exp(-sum(want[choices:]) / words)
    ours = results["baton_perplexity"]["word_perplexity,none"]
    print(
        "llama.cpp: acc %.4f, furthest score %.3f nats off, word_perplexity %.3f"
        % (acc, furthest, perplexity)
    )
    assert results["baton_choice"]["acc,none"] == acc, (results["baton_choice"], acc)
    assert furthest < NEAR_NATS, furthest
    assert max(ours / perplexity, perplexity / ours) < NEAR_FACTOR, (ours, perplexity)


def main():
    with smol() as c:
        folder, out = c.dir.name + "/tokenizer", c.dir.name + "/lm_eval"
        python = venv("lm_eval", *PACKAGES) + "/bin/python3"
        subprocess.run([python, ROOT + "/tests/clients/hf_folder.py", SMOL, folder], check=True)
        results, samples = evaluate(c, folder, out)
        assert sorted(results) == ["baton_choice", "baton_generate", "baton_perplexity"], results
        assert results["baton_generate"]["exact_match,none"] > 0, results
        c.wait_idle()
        compare(results, samples)


if __name__ == "__main__":
    main()
