#!/usr/bin/env python3
"""Every family of tests/golden/tiny.py through the whole cluster: a coordinator, a prefill worker and a
decode worker answer the ids that baton-run answers, and a colocated worker all that they do.

families_test.py BATON_RUN"""

import concurrent.futures
import subprocess
import sys

from harness import *

sys.path.insert(0, ROOT + "/tests/golden")
import tiny  # noqa: E402

PROMPT = [(i * i * 5 + i * 17 + 3) % 256 for i in range(45)]  # over the windows of 12, and three pages
COUNT = 20
AT_ONCE = 2


def alone(baton_run, model):
    """What the engine answers without a cluster"""
    command = [baton_run, model, "--ids", ",".join(map(str, PROMPT)), "-n", str(COUNT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr
    return [int(i) for i in done.stderr.split("ids ", 1)[1].split("\n", 1)[0].split(",")]


def served(name, config, model, handoffs):
    with Cluster(config, model) as c:
        body = {"prompt": PROMPT, "max_tokens": COUNT, "temperature": 0, "ignore_eos": True}
        body |= {"return_token_ids": True, "logprobs": 1}
        answer = c.complete(**body)
        c.wait_idle()
        assert c.metric("baton_handoffs_verified_total") == handoffs, name
        assert answer["usage"] == answer["usage"] | {"prompt_tokens": 45, "completion_tokens": COUNT}, name
        return answer["choices"][0]


def check(baton_run, name, folder):
    model = "%s/%s.gguf" % (folder, name)
    tiny.write_gguf(name, model)
    want = alone(baton_run, model)
    pair = served(name, disaggregated(), model, 1)
    one = served(name, colocated(), model, 0)
    assert pair == one, (name, pair, one)
    ids = pair["token_ids"]
    assert len(ids) == COUNT, (name, ids)
    assert ids[: len(want)] == want, (name, want, ids)
    assert len(want) == COUNT or want[-1] == tiny.END, (name, want)  # where baton-run stops
    print("%s: %s" % (name, ids), flush=True)


def main():
    baton_run = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="baton-families-") as folder:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: check(baton_run, name, folder), tiny.FAMILIES))


if __name__ == "__main__":
    main()
