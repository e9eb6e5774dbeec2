#!/usr/bin/env bash
# What takes too long for tests/run.sh: all cells on SmolLM2, all seeds of the cluster test, and the whole suite under
# AddressSanitizer + UndefinedBehaviorSanitizer and ThreadSanitizer, with the same number of tests as the release build.
# Usage: tests/full.sh [release|tidy|cells|seeds|asan|tsan|golden]...      (default: all but golden)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -gt 0 ] || set -- release tidy cells seeds asan tsan

names() { ctest --test-dir "build/$1" -N | sed -nE 's/^ *Test +#[0-9]+: (.*)/\1/p' | sort; }

sanitized() {
    cmake --preset "$1" >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
    cmake --build --preset "$1"
    # Left out of a sanitizer build: lint (it reads sources) and what needs the large model.
    diff <(names test) <(names "$1") | sed -n 's/^</not run under '"$1"':/p' || true
    ctest --test-dir "build/$1" --output-on-failure --no-tests=error -j 2
}

for part in "$@"; do
    echo "== $part"
    case "$part" in
    release) tests/run.sh ;;
    tidy)
        deploy/install.sh tests/apt-packages-full.txt
        tests/lint/tidy.sh build/test
        ;;
    cells)
        env BATON_BIN="$PWD/build/test/bin" BATON_TINY_MODEL="$PWD/build/test/tiny.gguf" .cache/venv/bin/python3 tests/e2e/same_bytes_test.py smol-all
        ;;
    seeds) build/test/tests/cluster_cluster_test --seeds 1..2000 --steps 25000 ;;
    asan | tsan) sanitized "$part" ;;
    golden) tests/golden/run.sh ;;
    *)
        echo "full.sh: '$part': want release, tidy, cells, seeds, asan, tsan or golden" >&2
        exit 2
        ;;
    esac
done
