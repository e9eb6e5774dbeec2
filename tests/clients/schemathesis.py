#!/usr/bin/env python3
"""/openapi.json against what a cluster of mock workers answers, by schemathesis from PyPI: no server error,
no status or content type that is not in the file, and bodies of the shapes that it tells. Takes minutes; not
part of tests/run.sh.

tests/clients/schemathesis.py [--examples 25] [--seed 1]

Makes .cache/schemathesis, a virtual environment, once."""

import argparse
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, ROOT + "/tests/e2e")
from harness import *

PACKAGE = "schemathesis==4.32.5"
# What only a wrong answer can fail. That a body against the file is refused is not among them: limits that
# depend on the model are not in it.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def program():
    venv = os.environ.get("BATON_SCHEMATHESIS", ROOT + "/.cache/schemathesis")
    if not os.path.exists(venv + "/bin/schemathesis"):
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        pip = [venv + "/bin/pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(pip + [PACKAGE], check=True)
    return venv + "/bin/schemathesis"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--examples", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    run = program()
    config = disaggregated(
        model={"backend": "mock"}, mock={"latency": "instant"}, handoff={"slot_kb": 64, "segment_kb": 4}
    )
    with Cluster(config) as c:
        url = "http://127.0.0.1:%d" % c.http_port
        command = [
            run,
            "run",
            url + "/openapi.json",
            "--checks",
            CHECKS,
            "--phases",
            "examples,coverage,fuzzing",
        ]
        command += ["--max-examples", str(given.examples), "--seed", str(given.seed)]
        command += ["--exclude-path", "/events", "--request-timeout", "20"]  # /events does not end
        code = subprocess.run(command, cwd=c.dir.name).returncode
        c.wait_idle()
    return code


if __name__ == "__main__":
    sys.exit(main())
