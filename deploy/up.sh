#!/usr/bin/env bash
# Starts the cluster that a config file describes with one mpirun, and stays in the foreground.
# Usage: deploy/up.sh CONFIG [--set key=value]...
#
# Prints the map (which process is where, on which cores and GPU) and the mpirun line, then (from the
# coordinator) one line `ready: http://HOST:PORT ...` when requests are served. Ctrl-C, SIGTERM
# or deploy/down.sh CONFIG stop everything in order. BATON_BIN names the folder of the programs (default:
# build/release/bin). Exit status: 0 after an orderly stop, 1 when the coordinator failed, when every worker
# ended before one could join, or when the stop was not orderly, 2 for a config that is refused.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bin=${BATON_BIN:-$root/build/release/bin}
[ $# -ge 1 ] || { echo "usage: deploy/up.sh CONFIG [--set key=value]..." >&2; exit 2; }
config=$1
if ! [ -x "$bin/baton-coordinator" ]; then
    echo "up.sh: no $bin/baton-coordinator: build first (deploy/quickstart.sh), or set BATON_BIN" >&2
    exit 2
fi

# Counts, hosts and the order of the ranks are the coordinator's word.
map=$("$bin/baton-coordinator" "$@" --check) || exit 2
ranks=$(grep '^rank=' <<<"$map")

run=${BATON_RUN:-$root/build/run}
mkdir -p "$run"
name=$(basename "$config")
name=${name%.yaml}
pidfile=$run/$name.pid
# The process must still be an up.sh: one that was killed leaves its file, and the number may be another's by
# now.
if [ -f "$pidfile" ] && grep -qs up.sh "/proc/$(head -n 1 "$pidfile")/cmdline"; then
    echo "up.sh: $config runs already (pid $(head -n 1 "$pidfile")): deploy/down.sh $config stops it" >&2
    exit 1
fi

spread=
line=(mpirun --enable-recovery --oversubscribe --bind-to none)
[ "$(id -u)" -ne 0 ] || line+=(--allow-run-as-root)
if grep '^slots ' <<<"$map" | grep -qv '^slots host=localhost '; then
    sed -nE 's/^slots host=([^ ]+) count=([0-9]+)$/\1 slots=\2/p' <<<"$map" >"$run/$name.hosts"
    line+=(--hostfile "$run/$name.hosts")
    spread=1
    # A login on another host knows nothing of this environment.
    for variable in LD_LIBRARY_PATH $(compgen -e NCCL_ || true); do
        [ -z "${!variable:-}" ] || line+=(-x "$variable")
    done
fi
# One app context per run of equal (role, host): rank order is the map's.
context=()
last=
while read -r entry; do
    role=$(sed -nE 's/.* role=([^ ]+).*/\1/p' <<<"$entry")
    host=$(sed -nE 's/.* host=([^ ]+).*/\1/p' <<<"$entry")
    if [ "$role/$host" = "$last" ]; then
        count=$((count + 1))
    else
        [ -z "$last" ] || context+=("$last $count")
        last=$role/$host
        count=1
    fi
done <<<"$ranks"
context+=("$last $count")
separator=()
for entry in "${context[@]}"; do
    role=${entry%%/*}
    host=${entry#*/}
    host=${host% *}
    count=${entry##* }
    line+=("${separator[@]}" -n "$count")
    # Among other hosts mpirun puts a context that names none wherever it likes.
    if [ -n "$spread" ] || [ "$host" != localhost ]; then line+=(--host "$host"); fi
    line+=("$bin/baton-$role" "$@")
    separator=(:)
done

sed -E 's/^rank=/map: rank=/' <<<"$ranks"
printf '%q ' "${line[@]}"
echo

# A session of its own: Ctrl-C reaches this script only, which then stops the cluster in order. Should this
# script be killed, mpirun gets SIGTERM.
setsid setpriv --pdeathsig TERM "${line[@]}" </dev/null &
mpirun=$!
# Requests may take limits.drain_ms to end, and then workers as long; the rest is what ending takes.
drain_ms=$(sed -nE 's/^  drain_ms: ([0-9]+)$/\1/p' <<<"$map")
stop_s=$((2 * drain_ms / 1000 + 10))
printf '%s\n' $$ "$stop_s" >"$pidfile"

# Not kill -0: to a zombie that bash has not collected yet it says yes.
alive() { [ -e "/proc/$1" ] && ! grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null; }

coordinator() { pgrep -P "$mpirun" -f 'baton-coordinator' 2>/dev/null | head -n 1; }

workers_here() { pgrep -P "$mpirun" -f 'baton-(prefill|decode|colocated)( |$)' >/dev/null; }

# True when every worker process has ended and none had ever joined: a start that failed (no device, a broken
# model, too little memory). A coordinator that had workers waits for new ones instead.
http=$(sed -nE 's/^  http: "(.*)"$/\1/p' <<<"$map")
barren() {
    local file list='' pid
    for file in "/proc/$mpirun/task/"*/children; do # not pgrep: looked at five times a second, for ever
        [ -r "$file" ] || return 1
        read -r list <"$file" || true
        for pid in $list; do [ "$pid" = "$watched" ] || return 1; done
    done 2>/dev/null
    curl -sS -m 2 --noproxy '*' "http://$http/health" 2>/dev/null | grep -q '"workers_joined":0,'
}

# Traps only take note: bash may run them in the middle of collecting a child, with SIGCHLD blocked, where
# nothing that starts processes works. A signal that comes between two looks is seen by the next one, so
# nothing here waits without end.
asked=
trap 'asked=1' INT TERM
nap() { sleep 0.2 || true; }

# The coordinator lets running requests end (limits.drain_ms at most), sends EXIT to every worker and leaves
# last; mpirun follows. Another signal ends all at once. Workers that still load their model have not joined,
# so nobody told them: mpirun ends those a little later. False: it had to be killed.
stop() {
    asked=
    local pid without=0
    pid=$(coordinator) || true
    kill -TERM "${pid:-$mpirun}" 2>/dev/null || true
    for _ in $(seq $((5 * stop_s))); do
        alive "$mpirun" || return 0
        [ -z "$asked" ] || kill -TERM "${pid:-$mpirun}" 2>/dev/null || true
        asked=
        if [ -n "$pid" ] && ! alive "$pid"; then without=$((without + 1)); fi
        # 5 s: what an orderly stop takes, and more.
        [ "$without" -ne 25 ] || kill -TERM "$mpirun" 2>/dev/null || true
        nap
    done
    kill -KILL "$mpirun" 2>/dev/null || true
    echo "up.sh: the cluster did not stop within $stop_s s (twice limits.drain_ms + 10 s): it was killed" >&2
    return 1
}

# mpirun's status says nothing with --enable-recovery, and it would wait for workers that wait for a
# coordinator. The coordinator is the cluster: when it is gone, all is over. On another host only mpirun sees
# it.
here=
first=$(sed -nE 's/^rank=0 .* host=([^ ]+) .*/\1/p' <<<"$map")
for own in localhost "$(hostname)" $(hostname -I 2>/dev/null || true); do
    [ "$own" != "$first" ] || here=1
done
all_here=
grep -v ' host=localhost ' <<<"$ranks" | grep -q . || all_here=1
watched=
missing=0
ended=0 # looks that found no worker
while [ -z "$asked" ] && alive "$mpirun"; do
    if [ -n "$watched" ]; then
        alive "$watched" || break
        if [ -n "$all_here" ] && barren; then ended=$((ended + 1)); else ended=0; fi
        [ "$ended" -lt 10 ] || break # 2 s: at the start mpirun may have more processes to begin
    elif [ -n "$here" ]; then
        watched=$(coordinator) || true
        # mpirun starts rank 0 first: a worker, but no coordinator, means one that has ended already. Other
        # children of it log in to other hosts, which takes as long as it takes.
        if [ -z "$watched" ] && workers_here; then missing=$((missing + 1)); fi
        [ "$missing" -lt 2 ] || break
    fi
    nap
done
status=0
if [ -n "$asked" ]; then
    stop || status=1
    asked=1
elif [ "$ended" -gt 0 ]; then
    echo "up.sh: every worker ended before it could join: the messages above say why" >&2
    stop || true
    status=1
else
    for _ in $(seq 25); do # what an orderly stop takes
        if ! alive "$mpirun" || [ -n "$asked" ]; then break; fi
        nap
    done
    kill -TERM "$mpirun" 2>/dev/null || true
    # Stopped by somebody else (SIGTERM to the coordinator) or ended by an error: the messages above say
    # which.
    [ -n "$asked" ] || { echo "up.sh: the cluster ended by itself; see the messages above" >&2; status=1; }
fi
for _ in $(seq 150); do
    alive "$mpirun" || break
    nap
done
kill -KILL "$mpirun" 2>/dev/null || true
rm -f "$pidfile"
exit "$status"
