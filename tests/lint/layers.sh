#!/usr/bin/env bash
# Who may include whom. A file may include its own folder and the folders listed for it here; nothing else of the project.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
declare -A may=(
    [common/base]=""
    [common/token]="base"
    [common/config]="base"
    [common/obs]="base"
    [common/checkpoint]="base"
    [common/text]="base token checkpoint"
    [common/model]="base checkpoint"
    [common/kv]="base token proto"
    [kernels]="base kv token proto"
    [common/ctl]="base token proto"
    [common/net]="base obs"
    [common/engine]="base obs token model kv kernels"
    [common/transfer]="base token kv proto engine kernels net"
    [common/worker_core]="base token kv ctl proto"
    [common/worker]="base config obs token checkpoint text model kv ctl proto kernels net engine transfer worker_core"
    [prefill_worker]="base token kv ctl worker_core worker"
    [decode_worker]="base token kv ctl worker_core worker"
    [colocated_worker]="base token kv ctl worker_core worker"
    [coordinator]="base config obs token checkpoint text kv ctl proto net"
    [sim]="base token kv ctl worker_core coordinator"
)
bad=0
for folder in "${!may[@]}"; do
    own=${folder#common/}
    allowed=" $own ${may[$folder]} "
    while IFS=: read -r file line text; do
        target=$(sed -E 's/.*"([a-z_]+)\/.*/\1/' <<<"$text")
        if [[ $allowed != *" $target "* ]]; then
            echo "$file:$line: $folder may not include $target/ (allowed:$allowed)"
            bad=1
        fi
    done < <(grep -rnE '^#include "[a-z_]+/' "$folder" --include='*.[ch]' --include='*.cu' --include='*.cuh' || true)
done
# A backend sees what the host backends share and, for reading rows of weights, the oracle; no other one. Only the table of backends knows that there is cuda, which is
# there or not; nothing above asks which.
declare -A backend=([ref]="ref host" [cpu]="cpu host" [host]="host" [cuda]="cuda host ref")
for name in "${!backend[@]}"; do
    while IFS=: read -r file line text; do
        target=$(sed -E 's/.*"kernels\/([a-z_]+)\/.*/\1/' <<<"$text")
        if [[ " ${backend[$name]} " != *" $target "* ]]; then
            echo "$file:$line: kernels/$name may not include kernels/$target/ (allowed: ${backend[$name]})"
            bad=1
        fi
    done < <(grep -rnE '^#include "kernels/[a-z_]+/' "kernels/$name" --include='*.[ch]' --include='*.cu' --include='*.cuh' || true)
done
above=(common coordinator prefill_worker decode_worker colocated_worker)
if grep -rnE '^#include ("kernels/[a-z_]+/|<cuda)|^# *(if|ifdef|ifndef|elif)\b.*\bBATON_CUDA\b' "${above[@]}" --include='*.[ch]'; then
    echo "only kernels/backends.c knows which backends there are"
    bad=1
fi
# The pure parts see no socket, clock, thread or device: neither by a system header nor through a module that has one.
pure=(common/kv/*.[ch] common/worker_core/*.[ch] common/token/*.[ch] common/ctl/*.[ch] sim/*.[ch] {prefill,decode,colocated}_worker/*_{core,policy}.[ch]
    coordinator/{core,inbox,outbox,dispatch,recovery,request,member,router,state}.[ch])
for file in "${pure[@]}"; do
    [ -f "$file" ] || continue
    if grep -nHE '^#include (<(event2/|zmq|pthread|poll|sys/|time\.h|unistd|signal)|"(base/ring\.h|net/(bus|loop)\.h|kernels/backend\.h))|clock_(now_ns|wall_s|random64)\(' "$file"; then
        echo "$file: a pure part may not use that: events and now_ns in, actions out"
        bad=1
    fi
done
[ $bad -eq 0 ] && echo "layers: clean"
exit $bad
