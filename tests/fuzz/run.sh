#!/usr/bin/env bash
# Builds the fuzzers (build/fuzz; clang, AddressSanitizer and UndefinedBehaviorSanitizer) and runs each for a
# while on one core. Prints executions and coverage (edges) of each; fails when one finds something.
#
#   tests/fuzz/run.sh [SECONDS [NAME]...]        (default: 60 seconds each, all)
#
# What was found is kept as build/fuzz/found/NAME-*: when it is mended, it goes to tests/fuzz/corpus/NAME,
# with a name that says what it was. What reached new code is kept in build/fuzz/corpus/NAME for the next run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
shift $(($# > 0))
cmake --preset fuzz >build/fuzz.log 2>&1 || { cat build/fuzz.log >&2; exit 1; }
cmake --build --preset fuzz >>build/fuzz.log 2>&1 || { tail -50 build/fuzz.log >&2; exit 1; }
if [ $# -eq 0 ]; then
    mapfile -t names < <(ls build/fuzz/seeds)
    set -- "${names[@]}"
fi

# The dictionary of a fuzzer: what is committed, and the words that the sources know.
words() { grep -ohE '"[a-zA-Z_$][a-zA-Z_0-9$.-]{1,40}"' "$@" | LC_ALL=C sort -u; }
dictionary() {
    case "$1" in
    http | jinja) cat "tests/fuzz/$1.dict" ;;
    front) cat tests/fuzz/{http,json}.dict && words coordinator/openai_*.c ;;
    keys) words common/net/curve.c ;;
    openai) cat tests/fuzz/json.dict && words coordinator/openai_*.c coordinator/api.c ;;
    grammar) cat tests/fuzz/json.dict && words common/grammar/*.c common/grammar/grammar.h ;;
    hf_tokenizer) cat tests/fuzz/json.dict && words common/checkpoint/hf_{tokenizer,rules}.c ;;
    hf_config) cat tests/fuzz/json.dict && words common/checkpoint/hf_{config,rope,names}.c ;;
    safetensors) cat tests/fuzz/json.dict && words common/checkpoint/safetensors.c ;;
    config) words common/config/*.c ;;
    gguf) words common/checkpoint/checkpoint.h common/text/[bnptv]*.c common/model/*.c ;;
    esac
}

found=0
mkdir -p build/fuzz/found build/fuzz/logs
for name; do
    mkdir -p "build/fuzz/corpus/$name"
    mapfile -t seeds <"build/fuzz/seeds/$name"
    { echo '"null"' && dictionary "$name"; } >"build/fuzz/$name.dict" # an empty one is an error
    log=build/fuzz/logs/$name
    # 64 KiB: longer inputs are slower and show little that these do not.
    "build/fuzz/tests/fuzz_$name" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=65536 \
        -dict="build/fuzz/$name.dict" -artifact_prefix="build/fuzz/found/$name-" -print_final_stats=1 \
        "build/fuzz/corpus/$name" "${seeds[@]}" >"$log" 2>&1 || found=1
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    cov=$(grep -oE 'cov: [0-9]+' "$log" | tail -1 || true)
    printf 'fuzz: %-13s %9s executions, %s\n' "$name" "${runs:-?}" "${cov:-no coverage}"
    grep -E '^(==.*ERROR|SUMMARY|.*runtime error|.* failed:|artifact_prefix)' "$log" || true
done
exit "$found"
