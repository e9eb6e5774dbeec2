#!/usr/bin/env bash
# Whether the coordinator counts a worker of this host as ready: what a worker, which has no port of its own,
# can be probed by. True: its model is loaded, it has joined, and it was heard lately.
# Usage: worker-ready.sh ROLE ENDPOINT [KEY]
# Prefill, decode or colocated; cluster.client of the config; client.key of the cluster.
# Exit status: 0 ready, 1 not, or the coordinator does not answer, 2 usage.
set -euo pipefail
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "usage: worker-ready.sh ROLE ENDPOINT [KEY]" >&2
    exit 2
fi
bin=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../bin" && pwd)
host=$(</proc/sys/kernel/hostname)
# Columns of the table: id, name, role, state, host, ...
"${BATON_BIN:-$bin}/baton-ctl" --endpoint "$2" ${3:+--key "$3"} workers | {
    while read -r _ _ role state at _; do
        if [ "$role/$state/$at" = "$1/ready/$host" ]; then exit 0; fi
    done
    echo "worker-ready.sh: $2 knows no ready $1 worker of host $host" >&2
    exit 1
}
