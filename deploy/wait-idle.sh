#!/usr/bin/env bash
# Waits until a coordinator has no request left: what goes before its SIGTERM, which hangs up on clients. New
# requests must be kept away meanwhile, as a Kubernetes Service does with a pod that is to end.
# Usage: wait-idle.sh HOST:PORT SECONDS      of cluster.http; bash alone, since an image has no curl
# Exit status: 0 idle, or nobody answers there any more; 1 still busy after so long, 2 usage.
set -euo pipefail
if ! [[ $# -eq 2 && $1 =~ ^[^:/]+:[0-9]+$ && $2 =~ ^[0-9]+$ ]]; then
    echo "usage: wait-idle.sh HOST:PORT SECONDS" >&2
    exit 2
fi
host=${1%:*}
port=${1#*:}

health() {
    exec 3<>"/dev/tcp/$host/$port" || return 1
    printf 'GET /health HTTP/1.0\r\n\r\n' >&3
    timeout 5 cat <&3
}

idle='"requests":{"queued":0,"prefill":0,"wait_kv":0,"decode":0}'
while true; do
    page=$(health 2>/dev/null) || exit 0
    [[ $page != *"$idle"* ]] || exit 0
    if [ "$SECONDS" -ge "$2" ]; then
        echo "wait-idle.sh: $1 has requests still, after $2 s" >&2
        exit 1
    fi
    sleep 1
done
