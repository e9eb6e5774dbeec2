#!/usr/bin/env python3
"""aiperf from PyPI, unmodified, against a cluster of SmolLM2: chat and completions, streamed, at a
concurrency and at a rate. All requests must end well, with as many tokens as were asked for by the
server's own count.

tests/clients/aiperf.py"""

import glob

from clients import *

PACKAGES = ("aiperf==0.13.0", "gguf")
REQUESTS, TOKENS = 24, 16


def profile(c, folder, out, kind, *load):
    name = os.path.basename(SMOL)[: -len(".gguf")]
    command = [venv("aiperf", *PACKAGES) + "/bin/aiperf", "profile", "-m", name, "--url", url(c)]
    command += ["--endpoint-type", kind, "--streaming", "--tokenizer", folder, "--use-server-token-count"]
    command += ["--request-count", str(REQUESTS), "--random-seed", "1", "--ui-type", "none"]
    command += ["--synthetic-input-tokens-mean", "64", "--output-tokens-mean", str(TOKENS)]
    command += ["--extra-inputs", "ignore_eos:true", "--extra-inputs", "min_tokens:%d" % TOKENS]
    command += ["--goodput", "time_to_first_token:60000 inter_token_latency:10000"]
    command += ["--output-artifact-dir", out] + list(load)
    env = dict(
        os.environ, DO_NOT_TRACK="1", HF_HOME=out + "/hf"
    )  # "offline" it would look for the folder in a cache
    ran = subprocess.run(
        command, cwd=out, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert ran.returncode == 0, ran.stdout[-4000:]
    (path,) = glob.glob(out + "/**/profile_export_aiperf.json", recursive=True)
    with open(path) as f:
        return json.load(f)


def main():
    with smol() as c:
        folder = c.dir.name + "/tokenizer"
        python = venv("aiperf", *PACKAGES) + "/bin/python3"
        subprocess.run([python, ROOT + "/tests/clients/hf_folder.py", SMOL, folder], check=True)
        for kind in ("chat", "completions"):
            for load in (("--concurrency", "4"), ("--request-rate", "8")):
                out = "%s/aiperf-%s%s" % (c.dir.name, kind, load[0])
                os.makedirs(out)
                told = profile(c, folder, out, kind, *load)
                got = {k: told[k]["avg"] for k in ("request_count", "output_sequence_length", "goodput")}
                print(
                    "%-12s %-16s %s, TTFT %.1f ms, ITL %.2f ms"
                    % (
                        kind,
                        " ".join(load),
                        got,
                        told["time_to_first_token"]["avg"],
                        told["inter_token_latency"]["avg"],
                    )
                )
                assert got["request_count"] == REQUESTS and got["goodput"] > 0, got
                assert got["output_sequence_length"] == TOKENS, got
        c.wait_idle()


if __name__ == "__main__":
    main()
