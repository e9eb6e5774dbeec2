#!/usr/bin/env bash
# Stops, in order, the cluster that deploy/up.sh started with the same config file.
# Usage: deploy/down.sh CONFIG
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ $# -ge 1 ] || { echo "usage: deploy/down.sh CONFIG" >&2; exit 2; }
name=$(basename "$1")
pidfile=${BATON_RUN:-$root/build/run}/${name%.yaml}.pid
# The process must still be an up.sh: one that was killed leaves its file, and the number may be another's by
# now.
if ! [ -f "$pidfile" ] || ! grep -qs up.sh "/proc/$(cat "$pidfile")/cmdline"; then
    echo "down.sh: $1 is not running (no live $pidfile)" >&2
    exit 1
fi
pid=$(cat "$pidfile")
kill -TERM "$pid"
for _ in $(seq 750); do
    kill -0 "$pid" 2>/dev/null || exit 0
    read -r -t 0.1 <> <(:) || true
done
echo "down.sh: pid $pid did not stop within 75 s: kill -KILL $pid" >&2
exit 1
