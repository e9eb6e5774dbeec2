#!/usr/bin/env bash
# Collects what Baton needs to run on a machine without its packages into one folder that git ignores, .carry/
# (under 30 MB): the programs and the kernels' device tests (stripped), the Debian libraries that they link
# to, and the tests' model, packed, since every program has the same kernels in it. A GPU machine then needs
# only the driver and cuBLASLt: deploy/gpu-check.sh unpacks and uses them. By hand:
#   tar -xJf .carry/programs.tar.xz -C FOLDER
#   LD_LIBRARY_PATH=FOLDER/lib:WHERE_CUBLASLT_IS FOLDER/bin/baton-coordinator --version
# Usage: deploy/carry.sh [--model FILE] [BUILD]
#   --model FILE   also take this GGUF file along, as .carry/model.gguf, if it fits
#   BUILD          a folder built with tests and CUDA (build/test)
# Left out: glibc, which must be the machine's own (the same version or newer), CUDA, and NCCL, a fifth of a
# gigabyte: the part nccl of gpu-check.sh looks for it there, also in Python's packages.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=$((30 * 1000 * 1000))

model=
if [ "${1:-}" = --model ]; then
    [ $# -ge 2 ] || { echo "carry.sh: --model needs a file" >&2; exit 2; }
    model=$2
    shift 2
fi
if [ $# -gt 1 ] || [[ ${1:-} == -* ]]; then
    echo "usage: deploy/carry.sh [--model FILE] [BUILD]" >&2
    exit 2
fi
build=${1:-build/test}
[ -z "$model" ] || [ -f "$model" ] || { echo "carry.sh: no file $model" >&2; exit 2; }
if ! [ -x "$build/bin/baton-coordinator" ] || ! [ -x "$build/bin/gpu_bench" ] ||
    ! [ -x "$build/tests/make-tiny-model" ]; then
    echo "carry.sh: no programs with the backend cuda in $build/bin: build them first where nvcc is" \
        "(cmake --preset test -DBATON_CUDA=ON; cmake --build --preset test)" >&2
    exit 2
fi

carry=${BATON_CARRY:-.carry}
new=$carry.new
work=$(mktemp -d)
rm -rf "$new"
mkdir -p "$new" "$work/bin" "$work/tests" "$work/lib/fallback"
trap 'rm -rf "$new" "$work"' EXIT

take() { # FOLDER FILE...
    local folder=$1 file
    shift
    for file in "$@"; do
        [ -x "$file" ] || continue
        strip --strip-all -o "$folder/$(basename "$file")" "$file"
    done
}
take "$work/bin" "$build"/bin/baton-* "$build"/bin/gpu_bench "$build"/bin/gpu_model
take "$work/tests" "$build"/tests/cuda_device_* "$build"/tests/baton-run
"$build/tests/make-tiny-model" "$work/tiny.gguf" >/dev/null

# What the programs link to, also by way of other libraries. C's own library belongs to the machine; a C++
# library that is older than the machine's must not hide it from others, so it is only a fallback.
linked=$(ldd "$work"/bin/* "$work"/tests/*)
if grep 'not found' <<<"$linked" | grep -v libcu >&2; then
    echo "carry.sh: these libraries are missing here" >&2
    exit 1
fi
while read -r file; do
    case "$(basename "$file")" in
    libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so*) ;;
    libresolv.so* | libutil.so* | libnsl.so* | ld-linux*) ;;
    libcu* | libnv* | libnccl*) ;;
    libstdc++.so* | libgcc_s.so*) cp -L "$file" "$work/lib/fallback/" ;;
    *) cp -L "$file" "$work/lib/" ;;
    esac
done < <(awk '$2 == "=>" && $3 ~ /^\// { print $3 }' <<<"$linked" | sort -u)

bytes() { find "$@" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum }'; }
megabytes() { awk -v b="$1" 'BEGIN { printf "%.1f MB", b / 1e6 }'; }
for folder in bin tests lib; do
    printf '%-6s %10s in %d files\n' "$folder" "$(megabytes "$(bytes "$work/$folder")")" \
        "$(find "$work/$folder" -type f | wc -l)"
done
# A window larger than all of it finds the kernels again in each program.
tar -C "$work" -cf - bin tests lib tiny.gguf | xz -T1 --lzma2=preset=6,dict=256MiB >"$new/programs.tar.xz"
[ -z "$model" ] || cp "$model" "$new/model.gguf"
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=unknown
git diff --quiet HEAD 2>/dev/null || commit="$commit, with changes"
echo "$commit" >"$new/commit"

total=$(bytes "$new")
printf '%-6s %10s of less than %s\n' packed "$(megabytes "$total")" "$(megabytes $limit)"
if [ "$total" -ge "$limit" ]; then
    echo "carry.sh: $total bytes are more than $limit. The largest:" >&2
    find "$new" "$work" -type f -printf '%s %f\n' | sort -rn | head -n 5 >&2
    echo "carry.sh: nothing was changed. Leave out --model, or build for one architecture" \
        "(-DBATON_CUDA_ARCHS=90)" >&2
    exit 1
fi
rm -rf "$carry"
mv "$new" "$carry"
echo "$carry is ready: $commit"
