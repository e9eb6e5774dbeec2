#!/usr/bin/env bash
# From a fresh Debian 12 to an answered request: installs, builds, fetches a small real model, starts one
# prefill and one decode worker with mpirun, streams a chat answer, prints its timeline, stops the cluster.
# Run again, it skips what is done.
# Usage: deploy/quickstart.sh [--keep] [PROMPT]
#   --keep   leave the cluster running and say how to talk to it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

keep=
if [ "${1:-}" = --keep ]; then keep=1; shift; fi
prompt=${1:-What is the capital of France, and what is it known for?}
config=deploy/config/local.yaml
started=$SECONDS

say() { printf '\n== %s\n' "$*"; }

say "packages"
deploy/install.sh
say "build (build/release)"
mkdir -p build
cmake --preset release >build/configure.log 2>&1 || { cat build/configure.log >&2; exit 1; }
cmake --build --preset release >build/build.log 2>&1 || { grep -A 20 FAILED build/build.log >&2; exit 1; }
tail -n 1 build/build.log
grep -o 'Backend cuda: .*' build/configure.log # ON where the CUDA toolkit was found
say "model"
deploy/fetch-model.sh smollm2
ls -lh models/SmolLM2-135M-Instruct.Q4_1.gguf

say "cluster"
mkdir -p build/run
log=build/run/quickstart.log
: >"$log"
if [ -n "$keep" ]; then
    setsid nohup deploy/up.sh "$config" >"$log" 2>&1 </dev/null &
else
    deploy/up.sh "$config" >"$log" 2>&1 &
fi
up=$!
stop() { kill -TERM "$up" 2>/dev/null || true; wait "$up" 2>/dev/null || true; }
[ -n "$keep" ] || trap stop EXIT
deadline=$((SECONDS + 60))
until grep -q '^ready: ' "$log"; do
    if ! kill -0 "$up" 2>/dev/null || [ $SECONDS -ge $deadline ]; then
        cat "$log" >&2
        echo "quickstart.sh: the cluster did not get ready; its messages are above" >&2
        [ -z "$keep" ] || stop
        exit 1
    fi
    read -r -t 0.1 <> <(:) || true
done
grep '^mpirun' "$log"
grep '^ready: ' "$log"
url=$(sed -nE 's/^ready: (http[^ ]+).*/\1/p' "$log")

say "request"
echo "> $prompt"
body=$(python3 -c 'import json, sys
print(json.dumps({"messages": [{"role": "user", "content": sys.argv[1]}], "max_tokens": 96, "temperature": 0,
                  "stream": True, "stream_options": {"include_usage": True}, "timings": True}))' "$prompt")
curl -sSN --max-time 120 "$url/v1/chat/completions" -H 'content-type: application/json' -d "$body" |
    python3 deploy/show-stream.py

if [ -n "$keep" ]; then
    say "running"
    cat <<TEXT
  curl $url/v1/chat/completions -H 'content-type: application/json' \\
       -d '{"messages": [{"role": "user", "content": "Hello!"}]}'
  build/release/bin/baton-ask "Hello!"        # --chat: a conversation
  curl $url/metrics
  stop it:   deploy/down.sh $config        messages: $log
TEXT
else
    say "stop"
    trap - EXIT
    stop
fi
echo "done in $((SECONDS - started)) s"
