#!/usr/bin/env bash
# Installs what is missing, builds (build/test), fetches the small model, and runs every test through ctest.
# Usage: tests/run.sh [ctest arguments]      Longer runs (all cells, all seeds, sanitizers): tests/full.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
deploy/install.sh deploy/apt-packages.txt tests/apt-packages.txt
deploy/fetch-model.sh smollm2
tests/venv.sh
mkdir -p build
cmake --preset test >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build --preset test
exec ctest --test-dir build/test --output-on-failure --no-tests=error -j 2 "$@"
