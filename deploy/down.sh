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
if ! [ -f "$pidfile" ] || ! grep -qs up.sh "/proc/$(head -n 1 "$pidfile")/cmdline"; then
    echo "down.sh: $1 is not running (no live $pidfile)" >&2
    exit 1
fi
{ read -r pid && read -r stop_s; } <"$pidfile" # up.sh kills it after stop_s
kill -TERM "$pid"
for _ in $(seq $((10 * stop_s + 350))); do
    kill -0 "$pid" 2>/dev/null || exit 0
    read -r -t 0.1 <> <(:) || true
done
echo "down.sh: pid $pid did not stop within $((stop_s + 35)) s: kill -KILL $pid" >&2
exit 1
