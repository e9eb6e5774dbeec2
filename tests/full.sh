#!/usr/bin/env bash
# What takes too long for tests/run.sh: all cells on SmolLM2, all seeds of the cluster test, and the whole
# suite under AddressSanitizer + UndefinedBehaviorSanitizer and ThreadSanitizer, with the same number of tests
# as the release build; the unit tests under valgrind; a minute of each fuzzer.
# Usage: tests/full.sh [release|tidy|lintian|cells|seeds|clients|fuzz|asan|tsan|valgrind|golden]...
#        (default: all but golden)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -gt 0 ] || set -- release tidy lintian cells seeds clients fuzz asan tsan valgrind

# Programs whose whole point is the large model are left out by the CMake files; every other one must have the
# same tests as in the release build, but for what tests/sanitizer-fewer.txt has a reason for.
sanitized() {
    if ! [ -f build/test/Testing/Temporary/LastTest.log ]; then
        echo "full.sh: nothing to compare $1 with: run tests/full.sh release first" >&2
        exit 1
    fi
    cmake --preset "$1" >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
    cmake --build --preset "$1"
    ctest --test-dir "build/$1" --output-on-failure --no-tests=error -j 2
    tests/counts.sh build/test >build/counts.test
    tests/counts.sh "build/$1" >"build/counts.$1"
    echo "== $1: $(total "build/counts.$1"); the release build: $(total build/counts.test)"
    by_label "build/counts.$1"
    LC_ALL=C join -v 1 build/counts.test "build/counts.$1" | sed "s/^/left out of $1: /"
    awk -v build="$1" '$3 != "-" { print "skipped under " build ": " $1 ": " $3 }' "build/counts.$1"
    LC_ALL=C join build/counts.test "build/counts.$1" | awk -v build="$1" '
        NR == FNR { if ($1 == build) { name = $2; sub(/^[^ ]+ +[^ ]+ +/, ""); why[name] = $0 } next }
        { same = $2 == $4 && $3 == $5 }
        same && !($1 in why) { next }
        {
            what = $1 ": " $4 " tests (skipped: " $5 ") under " build ", " $2 " (" $3 ") before"
            if (!same && $4 <= $2 && $1 in why) { print what ": " why[$1]; next }
            print "full.sh: " what (same ? ", though tests/sanitizer-fewer.txt has it" : "") >"/dev/stderr"
            bad = 1
        }
        END { exit bad }' tests/sanitizer-fewer.txt -
}

total() { awk '{ tests += $2 } END { printf "%d tests in %d programs", tests, NR }' "$1"; }

by_label() {
    awk '{ sub("/.*", "", $1); tests[$1] += $2; programs[$1]++ }
        END { for (l in tests) printf "%s: %d tests in %d programs\n", l, tests[l], programs[l] }' "$1" | sort
}

for part in "$@"; do
    echo "== $part"
    case "$part" in
    release) tests/run.sh ;;
    tidy)
        deploy/install.sh tests/apt-packages-full.txt
        tests/lint/tidy.sh build/test
        ;;
    lintian)
        deploy/install.sh tests/apt-packages-full.txt
        ctest --test-dir build/test --output-on-failure --no-tests=error -R '^package/install$'
        lintian --allow-root --fail-on error,warning build/test/package/baton.deb
        ;;
    cells)
        env BATON_BIN="$PWD/build/test/bin" BATON_TINY_MODEL="$PWD/build/test/tiny.gguf" \
            .cache/venv/bin/python3 tests/e2e/same_bytes_test.py smol-all
        ;;
    clients)
        for client in openai_client lm_eval aiperf schemathesis; do
            env BATON_BIN="$PWD/build/test/bin" "tests/clients/$client.py"
        done
        ;;
    seeds) build/test/tests/cluster_cluster_test --seeds 1..2000 --steps 25000 ;;
    fuzz)
        deploy/install.sh tests/apt-packages-full.txt
        tests/fuzz/run.sh 60
        ;;
    asan | tsan) sanitized "$part" ;;
    valgrind) tests/valgrind.py build/test ;;
    golden) tests/golden/run.sh ;;
    *)
        echo "full.sh: '$part': want release, tidy, lintian, cells, seeds, clients, fuzz, asan, tsan," \
            "valgrind, golden" >&2
        exit 2
        ;;
    esac
done
