#!/usr/bin/env bash
# Instructions of a sender's transfer thread per layer report and command, with few and with many parked
# offers.
#   bench/transfer_cost.sh [BUILD_FOLDER]
set -euo pipefail
program=${1:-build/release}/bin/transfer_cost
reports=400
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
instructions() { # OFFERS REPORTS
    valgrind --tool=callgrind --callgrind-out-file="$work/out" "$program" "$1" "$2" 2>"$work/err" || {
        cat "$work/err" >&2
        exit 1
    }
    awk '/^summary:|^totals:/ {n = $2} END {print n}' "$work/out"
}
for offers in 100 4096; do
    without=$(instructions $offers 0)
    with=$(instructions $offers $reports)
    echo "$offers offers: $(((with - without) / reports)) instructions per report and command"
done
