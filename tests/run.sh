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
# Where the CUDA toolkit is, its compiler takes its time too: seconds of single tasks, of the last builds of
# this folder.
awk '$4 ~ /\.cu\.o$/ { task[$4] = $2 - $1 }
    END {
        for (t in task) sum += task[t]
        printf "build: %d s so far, kernels for GPUs: %.0f task-seconds\n", s, sum / 1000
    }' s=$SECONDS build/test/.ninja_log
exec ctest --test-dir build/test --output-on-failure --no-tests=error -j 2 "$@"
