#!/usr/bin/env bash
# The one command for a machine with an NVIDIA GPU: runs the kernels' tests against the reference, compares
# the logits of every model family with stored answers and those of larger models with Hugging Face
# transformers, serves with a prefill and a decode worker on one GPU, runs compute-sanitizer, measures; then
# prints one table and writes it to bench/results/gpu-check-DATE.json and .md. No network, no package registry
# and no mpirun is needed.
# Usage: deploy/gpu-check.sh [--seconds N] [--out FOLDER] [PART]...
#   --seconds N   for everything together (540); a part that fails or outlasts its share is recorded as such,
#                 and the rest goes on
#   --out FOLDER  where the results go ($OUT, else bench/results): the table, and the log of each part that
#                 failed or timed out, at most 8 of 16 MB
#   PART          ops memcheck racecheck families logits serve serve-file ceilings prefill decode linear rows
#                 model model-deterministic ipc nccl peers (default: all)
# Programs: those of .carry/ (deploy/carry.sh) if they run here, else of build/check/, which is built when
# CMake, nvcc, libcmocka-dev and the packages of deploy/apt-packages.txt are there; the build's time is then
# missing at the end. Libraries of CUDA: the system's, or those in Python's packages. The part serve-file
# serves BATON_MODEL, else .carry/model.gguf, the model of deploy/fetch-model.sh, or the tests' small model.
# BATON_CHECK_WORK: a folder for the logs, which is then kept. For tests: BATON_CARRY (another folder than
# .carry), BATON_SMI, BATON_SANITIZER and BATON_TORCH (another nvidia-smi, compute-sanitizer, Python with
# torch), BATON_CHECK_LIMIT (most seconds of a part). Exit status: 0 when no part failed or timed out and one
# passed (a missed target is a line of the table, not a failure), 1 when not, 2 for wrong arguments or no
# programs, 3 without a GPU (then nothing is written).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
all=(ops memcheck racecheck families logits serve serve-file
    ceilings prefill decode linear rows model model-deterministic ipc nccl peers)
# Seconds that a part may take for certain; what the parts before it left over comes on top. With 20 seconds
# to unpack before and to make the table after, they fit into the 540 seconds: bench/gpu/gpu_check_test.py
# adds them up.
declare -A box=([ops]=40 [memcheck]=50 [racecheck]=45 [families]=25 [logits]=45 [serve]=40 [serve-file]=25
    [ceilings]=20 [prefill]=20 [decode]=25 [linear]=30 [rows]=15 [model]=30 [model-deterministic]=30
    [ipc]=20 [nccl]=20 [peers]=40)

seconds=540
out=${OUT:-bench/results}
parts=()
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds | --out)
        [ $# -ge 2 ] || { echo "gpu-check.sh: $1 needs a value" >&2; exit 2; }
        if [ "$1" = --out ]; then out=$2; else seconds=$2; fi
        shift
        ;;
    *)
        if [ "$1" = --help ]; then
            sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$root/deploy/gpu-check.sh"
            exit 0
        fi
        [[ " ${all[*]} " == *" $1 "* ]] || { echo "gpu-check.sh: '$1': want some of ${all[*]}" >&2; exit 2; }
        parts+=("$1")
        ;;
    esac
    shift
done
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
    echo "gpu-check.sh: --seconds $seconds: want a whole number" >&2
    exit 2
fi
[ ${#parts[@]} -gt 0 ] || parts=("${all[@]}")

# --- what is here ---

first_of() { # the first argument that can be run
    local candidate
    for candidate in "$@"; do
        if command -v "$candidate" >/dev/null 2>&1; then command -v "$candidate"; return; fi
    done
}

smi=${BATON_SMI:-$(first_of nvidia-smi /usr/local/nvidia/bin/nvidia-smi /usr/lib/wsl/lib/nvidia-smi)}
gpu=
if [ -n "$smi" ]; then gpu=$(timeout 30 "$smi" -L 2>/dev/null | grep -m 1 '^GPU ') || true; fi
if [ -z "$gpu" ]; then
    echo "gpu-check.sh: no CUDA device was found (${smi:-no nvidia-smi here})"
    for part in "${parts[@]}"; do echo "not run: $part (up to ${box[$part]} s)"; done
    echo "Nothing was written. What was never run on a GPU is listed in bench/results/README.md."
    exit 3
fi
smi_value() { timeout 30 "$smi" --query-gpu="$1" --format=csv,noheader -i 0 2>/dev/null | head -n 1; }
nvcc=$(first_of nvcc /usr/local/cuda/bin/nvcc)
toolkit=/usr/local/cuda
sanitizer=$(first_of "${BATON_SANITIZER:-}" compute-sanitizer $toolkit/bin/compute-sanitizer \
    $toolkit/compute-sanitizer/compute-sanitizer)
has_module() { # PYTHON MODULE
    timeout 60 "$1" -c 'import importlib.util as i, sys; sys.exit(not i.find_spec(sys.argv[1]))' "$2"
}
# A Python that has torch, if there is one.
python=''
torch=''
for candidate in ${BATON_TORCH:+"$BATON_TORCH"} python3 /opt/torch/.venv/bin/python3 /opt/venv/bin/python3 \
    /opt/conda/bin/python3; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    [ -n "$python" ] || python=$(command -v "$candidate")
    if [ -z "$torch" ] && has_module "$candidate" torch; then torch=$(command -v "$candidate"); fi
done
[ -z "$torch" ] || python=$torch
[ -n "$python" ] || { echo "gpu-check.sh: no python3 here, which makes the table" >&2; exit 2; }

# Folders with libraries of CUDA: asked for only where the system's linker does not know them.
known=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null) || known=
has_library() { grep -qF "	$1 " <<<"$known"; }
packages='import sys; print("\n".join(p for p in sys.path if p.endswith("-packages")))'
wheels=$("$python" -c "$packages" 2>/dev/null) || wheels=
folder_of() { # NAME: of the first file of this name among the usual places
    local folder
    while read -r folder; do
        for path in "$folder"/nvidia/*/lib/"$1"; do
            if [ -e "$path" ]; then dirname "$path"; return; fi
        done
    done <<<"$wheels"
    for path in /usr/local/nvidia/lib64/"$1" /usr/local/nvidia/lib/"$1" $toolkit/lib64/"$1" \
        /usr/local/cuda-*/lib64/"$1" /usr/local/cuda*/targets/*/lib/"$1" /usr/lib64-nvidia/"$1" \
        /usr/lib/wsl/lib/"$1"; do
        if [ -e "$path" ]; then dirname "$path"; return; fi
    done
}
libraries=
add_folder() { [ -z "$1" ] || libraries=${libraries:+$libraries:}$1; }
for name in libcuda.so.1 libcublasLt.so.13 libcublasLt.so.12 libnccl.so.2; do
    has_library "$name" || add_folder "$(folder_of "$name")"
done
inherited=${LD_LIBRARY_PATH:-}

# --- programs ---

# Only Baton's own programs see the carried libraries: Python has its own.
use() { # FOLDER OF PROGRAMS, FOLDER OF TESTS, FOLDER OF LIBRARIES or nothing, THE TESTS' MODEL
    bin=$1 tests=$2 path=$3 tiny=$4
    if [ -n "$path" ] && ! has_library 'libstdc++.so.6'; then path=$path:$path/fallback; fi
    if [ -n "$libraries" ]; then path=${path:+$path:}$libraries; fi
    if [ -n "$inherited" ]; then path=${path:+$path:}$inherited; fi
    run=(env ${path:+"LD_LIBRARY_PATH=$path"})
}
runs() {
    "${run[@]}" "$bin/baton-coordinator" --version >/dev/null 2>>"$work/runs.log" &&
        timeout 60 "${run[@]}" "$bin/gpu_bench" --here >/dev/null 2>>"$work/runs.log"
}

work=${BATON_CHECK_WORK:-$(mktemp -d)}
mkdir -p "$work"
[ -n "${BATON_CHECK_WORK:-}" ] || trap 'rm -rf "$work"' EXIT
: >"$work/parts.tsv"
: >"$work/runs.log"
build() {
    local arch generator=() header=
    arch=$(smi_value compute_cap | tr -d .) # only for the GPU that is here
    [[ $arch =~ ^[0-9]+$ ]] || arch='80;90'
    if [ -n "$nvcc" ] && ! [ -e "$(dirname "$nvcc")/../include/cublasLt.h" ]; then # that of Python's packages
        header=$(folder_of ../include/cublasLt.h)
    fi
    command -v ninja >/dev/null || generator=(-G "Unix Makefiles")
    mkdir -p build
    cmake --preset test -B build/check "${generator[@]}" -DBATON_CUDA=ON \
        ${nvcc:+-DCMAKE_CUDA_COMPILER="$nvcc"} \
        ${header:+-DBATON_CUBLASLT_INCLUDE="$header"} -DBATON_CUDA_ARCHS="$arch" >"$work/build.log" 2>&1 &&
        timeout 300 cmake --build build/check -j "$(nproc)" --target gpu_check >>"$work/build.log" 2>&1 &&
        build/check/tests/make-tiny-model build/check/tiny.gguf >>"$work/build.log" 2>&1
}
carry=${BATON_CARRY:-$root/.carry}
programs=carried
if [ -f "$carry/programs.tar.xz" ]; then
    "$python" -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' \
        "$carry/programs.tar.xz" "$work/carry" 2>"$work/runs.log" || true
fi
use "$work/carry/bin" "$work/carry/tests" "$work/carry/lib" "$work/carry/tiny.gguf"
if ! runs; then
    if [ -d "$carry" ]; then
        echo "gpu-check.sh: the programs of $carry do not run here (driver $(smi_value driver_version))," \
            "so they are built:" >&2
        head -n 3 "$work/runs.log" >&2
        : >"$work/runs.log"
    fi
    use "$root/build/check/bin" "$root/build/check/tests" "" "$root/build/check/tiny.gguf"
    programs="built here"
    if ! build || ! runs; then
        echo "gpu-check.sh: no programs: neither .carry/ (deploy/carry.sh makes it on a machine that builds" \
            "Baton) nor a build here:" >&2
        tail -n 5 "$work/build.log" >&2
        head -n 3 "$work/runs.log" >&2
        exit 2
    fi
fi

fact() { printf '%s\t%s\n' "$1" "$2" >>"$work/facts.tsv"; }
: >"$work/facts.tsv"
fact date "$(date -u +%Y-%m-%dT%H%MZ)"
fact command "deploy/gpu-check.sh${parts[*]:+ ${parts[*]}}"
fact gpu "$(smi_value name)"
fact driver "$(smi_value driver_version)"
fact nvcc "$([ -z "$nvcc" ] || "$nvcc" --version | sed -nE 's/.*release ([0-9.]+).*/\1/p')"
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=
[ "$programs" != carried ] || commit=$(cat "$carry/commit" 2>/dev/null || echo "$commit")
fact commit "${commit:-unknown}"
fact programs "$programs"
sed 's/\t/: /' "$work/facts.tsv"

# --- the parts ---

left() { echo $((seconds - SECONDS)); }
# What a part may take: all that is left but for the shares of the parts after it and 10 seconds for the
# table; its own share at least.
share() { # NAME
    local limit=$(($(left) - 10)) most=$(($(left) - 10)) name after=
    for name in "${parts[@]}"; do
        [ -z "$after" ] || limit=$((limit - box[$name]))
        [ "$name" != "$1" ] || after=yes
    done
    [ "$limit" -ge "${box[$1]}" ] || limit=${box[$1]}
    [ "$limit" -le "$most" ] || limit=$most
    [ "$limit" -le "${BATON_CHECK_LIMIT:-$limit}" ] || limit=$BATON_CHECK_LIMIT
    echo "$limit"
}
# NAME COMMAND...: JSON lines on its stdout are figures; @limit@ in the command is when it should end itself.
part() {
    local name=$1 limit begin=$SECONDS status=0 result=passed
    shift
    limit=$(share "$name")
    if [ "$limit" -lt 5 ]; then record "$name" "not run" 0 "no time was left"; return; fi
    timeout --kill-after=10 "$limit" "${@//@limit@/$((limit - 3))}" \
        >"$work/$name.jsonl" 2>"$work/$name.log" </dev/null || status=$?
    case $status in
    0) ;;
    4) result="not run" ;; # the tool cannot work here
    124 | 137) result="timed out" ;;
    *) result=failed ;;
    esac
    record "$name" "$result" $((SECONDS - begin)) "$([ $status -eq 0 ] || detail "$name")"
}
# The last line of a part's messages, without what would break the table.
detail() { grep -v '^[[:space:]]*$' "$work/$1.log" | tail -n 1 | tr '\t|' '  ' | cut -c 1-160; }
record() {
    printf '%s\t%s\t%s\t%s\n' "$@" >>"$work/parts.tsv"
    printf '%-20s %s, %s s %s\n' "$@"
}
missing() { record "$1" "not run" 0 "$2"; }

# The kernels' tests, compiled for the device.
device_tests=("$python" bench/gpu/device_tests.py "$tests" --library-path "$path" --tiny-model "$tiny"
    --seconds @limit@)

run_part() {
    local name=$1 file
    case "$name" in
    ops) part ops "${device_tests[@]}" ;;
    memcheck | racecheck)
        if [ -z "$sanitizer" ]; then missing "$name" "no compute-sanitizer here"; return; fi
        part "$name" "${device_tests[@]}" --sanitizer "$sanitizer" --tool "$name"
        ;;
    families) # every architecture's tiny checkpoint against stored answers
        part families "$python" tests/golden/tiny_test.py "$work/baton-run" cuda
        ;;
    logits)
        if [ -z "$torch" ] || ! has_module "$torch" transformers; then
            missing logits "no Python with torch and transformers here"
            return
        fi
        part logits "$torch" bench/gpu/logits_check.py --baton-run "$work/baton-run" --backend cuda
        ;;
    serve) part serve "$python" bench/gpu/serve_check.py --bin "$work" --model random:llama-3.2-1b ;;
    serve-file)
        for file in "${BATON_MODEL:-}" "$carry/model.gguf" models/SmolLM2-135M-Instruct.Q4_1.gguf "$tiny"; do
            [ ! -f "$file" ] || break
            if [ -n "$file" ] && [ "$file" = "${BATON_MODEL:-}" ]; then
                missing serve-file "BATON_MODEL: no file $file"
                return
            fi
        done
        if [ ! -f "$file" ]; then missing serve-file "no model here: set BATON_MODEL"; return; fi
        fact "model of serve-file" "$(basename "$file")"
        part serve-file "$python" bench/gpu/serve_check.py --bin "$work" --model "$(realpath "$file")" \
            --kv-mb 128
        ;;
    ceilings | prefill | decode | linear | rows) part "$name" "${run[@]}" "$bin/gpu_bench" "$name" ;;
    peers)
        if [ -z "$torch" ]; then missing peers "no Python with torch here"; return; fi
        part peers "$torch" bench/gpu/peers.py
        ;;
    model) part model "${run[@]}" "$bin/gpu_model" ;;
    ipc) # two processes on one GPU, which both write its memory
        part ipc "$python" bench/gpu/serve_check.py --bin "$work" --model "$tiny" --kv-mb 128 --transport ipc
        ;;
    nccl) # two processes on one GPU: that it works, never how fast
        if ! has_library libnccl.so.2 && [ -z "$(folder_of libnccl.so.2)" ]; then
            missing nccl "no libnccl here"
            return
        fi
        part nccl "$python" bench/gpu/serve_check.py --bin "$work" --model "$tiny" --kv-mb 128 \
            --transport nccl
        ;;
    model-deterministic) part model-deterministic "${run[@]}" "$bin/gpu_model" --deterministic ;;
    esac
}

# Python starts Baton's programs, and must not get their libraries itself.
wrap() {
    printf '#!/bin/sh\nexec %s "$@"\n' "$(printf '%q ' "${run[@]}" "$1")" >"$work/$(basename "$1")"
    chmod +x "$work/$(basename "$1")"
}
for program in "$bin"/baton-*; do wrap "$program"; done
if [ -x "$tests/baton-run" ]; then wrap "$tests/baton-run"; fi

# The first import of torch reads gigabytes from disk: it goes on beside the first parts, so that no part that
# needs it pays.
importing=
if [ -n "$torch" ] && [[ " ${parts[*]} " =~ \ (logits|peers)\  ]]; then
    timeout 300 "$torch" -c 'import torch' >"$work/import.log" 2>&1 </dev/null &
    importing=$!
fi
for name in "${parts[@]}"; do
    run_part "$name"
    # As it was found: nothing here sets clocks.
    case "$name" in
    prefill | model | model-deterministic)
        fact "SM and memory clock, power after $name" "$(smi_value clocks.sm,clocks.mem,power.draw)"
        ;;
    esac
done
[ -z "$importing" ] || kill "$importing" 2>/dev/null || true
for file in model model-deterministic; do
    [ -f "$work/$file.log" ] || continue
    nodes=$(sed -nE 's/.*step recorded.*rows=([0-9]+) nodes=([0-9]+).*/\1 rows: \2/p' "$work/$file.log" |
        sort -u | paste -sd ';')
    [ -z "$nodes" ] || fact "nodes of a recorded step, $file" "$nodes"
done
echo
status=0
"$python" bench/gpu/report.py "$work" "$out" || status=$?
# What is left of a failure when the machine is given back: the ends of its logs.
kept=0 kept_max=8 bytes_max=$((16 << 20))
stem=$out/gpu-check-$(sed -n 's/^date\t//p' "$work/facts.tsv")
while IFS=$'\t' read -r name result _; do
    case "$result" in failed | "timed out") ;; *) continue ;; esac
    if [ "$kept" -eq "$kept_max" ]; then
        echo "gpu-check.sh: more than $kept_max parts failed: no log of $name and those after it is kept" >&2
        break
    fi
    kept=$((kept + 1))
    bytes=$(stat -c %s "$work/$name.log")
    if [ "$bytes" -gt "$bytes_max" ]; then
        note="gpu-check.sh: the end of a log of $bytes bytes"
        { echo "$note" && tail -c $((bytes_max - ${#note} - 1)) "$work/$name.log"; } >"$stem-$name.log"
    else
        cp "$work/$name.log" "$stem-$name.log"
    fi
    echo "log: $stem-$name.log"
done <"$work/parts.tsv"
exit $status
