#!/usr/bin/env bash
# clang-tidy over every source file of the product, one file per process (with several, its va_list check misfires).
# Usage: tests/lint/tidy.sh BUILD_FOLDER [FILE...]     Needs BUILD_FOLDER/compile_commands.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$1
shift
if [ $# -eq 0 ]; then
    mapfile -t files < <(git ls-files 'common/*.c' 'coordinator/*.c' '*_worker/*.c' 'kernels/*.c')
else
    files=("$@")
fi
printf '%s\n' "${files[@]}" | xargs -P 2 -n 1 clang-tidy -p "$build" --quiet --warnings-as-errors='*' 2>/dev/null
