#!/usr/bin/env bash
# Compares logits and greedy text with transformers and llama.cpp on SmolLM2 and prints the tables of
# FIGURES.md. Takes some minutes.
# Usage: tests/golden/run.sh [arguments of logits.py]     BATON_GOLDEN_PYTHON: a Python that has the modules;
# default: .cache/golden
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
model=models/SmolLM2-135M-Instruct.Q4_1.gguf
program=${BATON_RUN:-build/test/tests/baton-run}
python=${BATON_GOLDEN_PYTHON:-.cache/golden/bin/python3}

for file in "$model" "$program"; do
    [ -e "$file" ] || { echo "golden/run.sh: $file is missing: run tests/run.sh first" >&2; exit 1; }
done
if ! "$python" -c 'import gguf, llama_cpp, torch, transformers' 2>/dev/null; then
    if [ -n "${BATON_GOLDEN_PYTHON:-}" ]; then
        echo "golden/run.sh: $python lacks gguf, llama_cpp, torch or transformers" >&2
        exit 1
    fi
    tests/golden/venv.sh
fi
export PYTHONDONTWRITEBYTECODE=1
exec "$python" tests/golden/logits.py "$model" "$program" "$@"
