#!/usr/bin/env bash
# Makes .cache/venv with the Python packages that the end-to-end tests use (the official openai client). Run
# again, it does nothing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
want=openai==3.54.0
stamp=.cache/venv/.baton-$want
[ ! -f "$stamp" ] || exit 0
rm -rf .cache/venv
python3 -m venv .cache/venv
.cache/venv/bin/pip install --quiet --disable-pip-version-check "$want"
touch "$stamp"
