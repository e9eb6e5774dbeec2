#!/usr/bin/env bash
# clang-tidy over every source file of the product. Prints findings only, then one summary line; exits 1 with
# findings. One file per process: with several, its va_list check misfires. A file that is compiled several
# times (kernels/cpu/isa) is read once, as it was compiled first. The files that take longest start first, so
# that no core waits at the end.
# Usage: tests/lint/tidy.sh BUILD_FOLDER [FILE...]     Needs compile_commands.json and the generated headers
# in it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ $# -gt 0 ] || { echo "tidy.sh: usage: tidy.sh BUILD_FOLDER [FILE...]" >&2; exit 2; }
build=$(realpath "$1")
shift
if [ ! -f "$build/compile_commands.json" ] || [ ! -f "$build/generated/proto/control.pb-c.h" ]; then
    echo "tidy.sh: $build is not a built folder: cmake --build it first" >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$build/compile_commands.json" "$work/compile_commands.json" <<'PY'
import json, sys
first = {}
for entry in json.load(open(sys.argv[1])):
    first.setdefault(entry["file"], entry)
json.dump(list(first.values()), open(sys.argv[2], "w"))
PY
if [ $# -eq 0 ]; then
    mapfile -t files < <(git ls-files 'common/*.c' 'coordinator/*.c' '*_worker/*.c' 'kernels/*.c' 'sim/*.c' \
        'bench/*/*.c' ':!bench/gpu' | xargs wc -c |
        sort -rn | awk '$2 != "total" { print $2 }')
else
    files=("$@")
fi
one() { # a file: its findings with the lines they point at, without the analyzer's path to them
    local out="$1/${2//\//_}"
    if clang-tidy -p "$1" --quiet --warnings-as-errors='*' "$2" >"$out.out" 2>"$out.err"; then return; fi
    if [ ! -s "$out.out" ]; then cat "$out.err"; fi
    awk '/: (warning|error): / { show = 1 } /: note: / { show = 0 } show' "$out.out" | sed "s|^$PWD/||"
    touch "$out.bad"
}
export -f one
# shellcheck disable=SC2016  # $1 and $2 are the inner shell's
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c 'one "$1" "$2"' one "$work" {}
bad=$(find "$work" -name '*.bad' | wc -l)
if [ "$bad" -gt 0 ]; then
    echo "tidy: findings in $bad of ${#files[@]} files"
    exit 1
fi
echo "tidy: ${#files[@]} files, clean"
