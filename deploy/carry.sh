#!/usr/bin/env bash
# Collects what Baton needs to run on a machine without its packages into one folder that git ignores, .carry/ (under 30 MB): the programs
# and the kernels' device tests (stripped), the Debian libraries that they link to, and the tests' model. A GPU machine then needs only
# the driver and cuBLASLt: deploy/gpu-check.sh finds and uses the folder.
# Usage: deploy/carry.sh [--model FILE] [BUILD]
#   --model FILE   also take this GGUF file along, if it fits
#   BUILD          a folder built with tests and CUDA (build/test)
# Left out: glibc, which must be the machine's own (the same version or newer), and CUDA.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
limit=$((30 * 1000 * 1000))

model=
if [ "${1:-}" = --model ]; then
    [ $# -ge 2 ] || { echo "carry.sh: --model needs a file" >&2; exit 2; }
    model=$2
    shift 2
fi
[ $# -le 1 ] || { echo "usage: deploy/carry.sh [--model FILE] [BUILD]" >&2; exit 2; }
build=${1:-build/test}
[ -z "$model" ] || [ -f "$model" ] || { echo "carry.sh: no file $model" >&2; exit 2; }
if ! [ -x "$build/bin/baton-coordinator" ] || ! [ -x "$build/bin/gpu_bench" ] || ! [ -x "$build/tests/make-tiny-model" ]; then
    echo "carry.sh: no programs with the backend cuda in $build/bin: build them first where nvcc is (cmake --preset test -DBATON_CUDA=ON; cmake --build --preset test)" >&2
    exit 2
fi

carry=${BATON_CARRY:-.carry}
new=$carry.new
rm -rf "$new"
mkdir -p "$new/bin" "$new/tests" "$new/lib/fallback"
trap 'rm -rf "$new"' EXIT

take() { # FOLDER FILE...
    local folder=$1 file
    shift
    for file in "$@"; do
        [ -x "$file" ] || continue
        strip --strip-all -o "$folder/$(basename "$file")" "$file"
    done
}
take "$new/bin" "$build"/bin/baton-* "$build"/bin/gpu_bench "$build"/bin/gpu_model
take "$new/tests" "$build"/tests/cuda_device_* "$build"/tests/baton-run

# What the programs link to, also by way of other libraries. C's own library belongs to the machine; a C++ library that is older than
# the machine's must not hide it from others, so it is only a fallback.
ldd "$new"/bin/* "$new"/tests/* | awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u >"$new/list"
if ldd "$new"/bin/* "$new"/tests/* | grep 'not found' | grep -v libcuda >&2; then
    echo "carry.sh: these libraries are missing here" >&2
    exit 1
fi
while read -r file; do
    name=$(basename "$file")
    case "$name" in
    libc.so* | libm.so* | libdl.so* | libpthread.so* | librt.so* | libresolv.so* | libutil.so* | libnsl.so* | ld-linux*) ;;
    libcu* | libnv* | libnccl*) ;;
    libstdc++.so* | libgcc_s.so*) cp -L "$file" "$new/lib/fallback/" ;;
    *) cp -L "$file" "$new/lib/" ;;
    esac
done <"$new/list"
rm "$new/list"
"$build/tests/make-tiny-model" "$new/tiny.gguf" >/dev/null
[ -z "$model" ] || cp "$model" "$new/"
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=unknown
git diff --quiet HEAD 2>/dev/null || commit="$commit, with changes"
echo "$commit" >"$new/commit"

bytes() { find "$@" -type f -printf '%s\n' | awk '{ sum += $1 } END { printf "%d", sum }'; }
total=$(bytes "$new")
for folder in bin tests lib; do
    printf '%-6s %8.1f MB in %d files\n' "$folder" "$(bytes "$new/$folder" | awk '{ print $1 / 1e6 }')" "$(find "$new/$folder" -type f | wc -l)"
done
printf '%-6s %8.1f MB of %d\n' all "$(awk -v b="$total" 'BEGIN { print b / 1e6 }')" $((limit / 1000000))
if [ "$total" -ge "$limit" ]; then
    echo "carry.sh: $total bytes are more than $limit. The largest:" >&2
    find "$new" -type f -printf '%s %f\n' | sort -rn | sed -n 1,5p >&2
    echo "carry.sh: nothing was changed. Leave out --model, or build with fewer architectures (-DBATON_CUDA_ARCHS=90)" >&2
    exit 1
fi
rm -rf "$carry"
mv "$new" "$carry"
trap - EXIT
echo "$carry is ready: $commit"
