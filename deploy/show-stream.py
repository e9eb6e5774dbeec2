#!/usr/bin/env python3
"""Shows a chat completion stream from standard input: the text as it comes, then the request's timeline.

Usage: curl -sN URL/v1/chat/completions -d BODY | show-stream.py
BODY asks for "stream": true, "timings": true and "stream_options": {"include_usage": true}.
"""

import json
import sys

usage = None
text = False
for line in sys.stdin:
    line = line.strip()
    if not line.startswith("data:"):
        if line.startswith("{"):  # an error before the stream began
            sys.exit("error: " + json.loads(line).get("error", {}).get("message", line))
        continue
    data = line[5:].strip()
    if data == "[DONE]":
        break
    event = json.loads(data)
    if "error" in event:
        sys.exit("\nerror: " + event["error"]["message"])
    usage = event.get("usage") or usage
    for choice in event["choices"]:
        piece = choice["delta"].get("content") or ""
        text = text or bool(piece)
        sys.stdout.write(piece)
        sys.stdout.flush()
print()
if not text or not usage:
    sys.exit("show-stream: the stream ended without %s" % ("text" if not text else "usage"))
times = usage["timings"]
print("\n  prompt %d tokens, answer %d tokens" % (usage["prompt_tokens"], usage["completion_tokens"]))
for label, key in (
    ("queue", "queue_ms"),
    ("prefill", "prefill_ms"),
    ("hand-off", "handoff_ms"),
    ("decode wait", "decode_wait_ms"),
    ("first token", "first_token_ms"),
    ("decode", "decode_ms"),
    ("total", "total_ms"),
):
    if key in times:
        print("  %-12s %9.2f ms" % (label, times[key]))
print("  %-12s %9.1f tokens/s" % ("decode speed", times["tokens_per_second"]))
