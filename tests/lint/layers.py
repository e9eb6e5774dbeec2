#!/usr/bin/env python3
"""Who may include whom, and what links with what.

  layers.py [--root DIR]            includes: rooms, pure parts, circles
  layers.py [--root DIR] --links BUILD   link lines of a build folder: pure programs have no engine, no socket
  layers.py --table                      the rooms as the Markdown table of ARCHITECTURE.md

Four rules, each judged on what a file *sees*, that is, on the closure of its includes, not on the includes
that stand in it:
  rooms    a file may include its own folder and the folders that ROOMS lists for it;
  pure     a pure part sees no socket, clock, thread or device, and no header of a room that has one;
  circles  a NAME.h and its NAME.c are one node; no node depends on itself through others;
  one list only kernels/backends.c knows which backends there are.
"""

import argparse
import os
import re
import subprocess
import sys

# folder: the folders that it may include besides its own
ROOMS = {
    "common/base": "",
    "common/token": "base latency",
    "common/latency": "base",
    "common/config": "base latency",
    "common/obs": "base",
    "common/grammar": "base",
    "common/checkpoint": "base",
    "common/text": "base token checkpoint",
    "common/model": "base checkpoint",
    "common/kv": "base token proto",
    "kernels": "base kv token latency proto",
    "common/ctl": "base token proto",
    "common/net": "base obs",
    "common/engine": "base obs token grammar model kv kernels",
    "common/transfer": "base token kv proto engine kernels net",
    "common/worker_core": "base token latency kv ctl proto",
    "common/worker": "base config obs token latency checkpoint text model kv ctl proto kernels net engine "
    "transfer worker_core",
    "prefill_worker": "base token kv ctl worker_core worker",
    "decode_worker": "base token kv ctl worker_core worker",
    "colocated_worker": "base token kv ctl worker_core worker",
    "coordinator": "base config obs grammar token checkpoint text kv ctl proto net",
    "sim": "base token latency kv ctl worker_core coordinator",
    "bench/stats": "base",
    "bench/rows": "base stats",
    "bench/workload": "base stats rows",
    "bench/load": "base obs token net proto stats rows workload",
    "bench/experiment": "base config checkpoint stats rows",
    "bench/report": "base stats rows",
    "planner/profile": "base config latency stats workload experiment",
    "planner/fleet": "base token latency kv ctl worker_core prefill_worker decode_worker colocated_worker "
    "coordinator stats profile",
    "planner/judge": "base latency stats rows workload profile fleet",
    "planner/search": "base config latency stats rows workload report profile fleet judge replay",
    "planner/measure": "base config obs latency net stats rows workload load experiment profile",
    "planner/replay": "base token config obs latency kv ctl proto net coordinator stats rows workload load "
    "experiment report profile fleet judge measure",
    "planner/distserve": "base latency stats rows workload profile fleet judge",
    "proto": "",
}
# A backend sees what the host backends share and, for reading rows of weights, the oracle; no other one.
BACKENDS = {
    "ref": "ref host",
    "cpu": "cpu host",
    "host": "host",
    "cuda": "cuda host ref",
    "mock": "mock host ref",
}

PURE = [
    r"common/(token|latency|grammar|kv|ctl|worker_core)/.*",
    r"sim/.*",
    r"planner/profile/(step_cost|profile|profile_points|fit|nnls)\.[ch]",
    r"planner/fleet/.*",
    r"bench/stats/.*",
    r"bench/workload/(draw|arrivals|prompt|prompt_text|schedule|named|trace)\.[ch]",
    r"(prefill|decode|colocated)_worker/\w+_(core|policy)\.[ch]",
    r"coordinator/(core|core_types|events|inbox|outbox|dispatch|recovery|request|request_table)\.[ch]",
    r"coordinator/(holds|member|router|state)\.[ch]",
]
IMPURE_ROOMS = (
    "common/net/",
    "common/engine/",
    "common/transfer/",
    "common/worker/",
    "common/config/",
    "common/model/",
    "common/text/",
    "common/checkpoint/",
    "kernels/",
)
IMPURE_SYSTEM = re.compile(
    r"^(event2/|zmq|pthread|poll|sys/|time\.h|unistd|signal|semaphore|threads|cuda|cublas|nccl)"
)
IMPURE_FILES = ("common/base/ring.h",)
IMPURE_CALLS = re.compile(r"\bclock_(now_ns|wall_s|wall_text|random64)\(")

# program or test of a build folder: libraries that its link line may not have
PURE_LINK = "net engine transfer kernels model text checkpoint worker config zmq event"
LINKS = {
    "tests/cluster_cluster_test": PURE_LINK,
    "tests/unit_prefill_core_test": PURE_LINK,
    "tests/unit_steady_test": PURE_LINK,
    "tests/planner_fit_test": PURE_LINK,
    "bin/baton-coordinator": "engine transfer kernels model worker_core worker",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


class House:
    def __init__(self, root):
        self.root = root
        listed = subprocess.run(
            ["git", "-C", root, "ls-files", "-co", "--exclude-standard"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split("\n")
        folders = tuple(f + "/" for f in ROOMS)
        self.files = [
            f
            for f in listed
            if f.startswith(folders)
            and re.search(r"\.(c|h|cu|cuh)$", f)
            and os.path.exists(os.path.join(root, f))
        ]
        if not self.files:
            sys.exit("layers.py: git lists no sources here: is this a checkout of the project?")
        self.text = {f: open(os.path.join(root, f), encoding="utf-8").read() for f in self.files}
        self.includes = {f: self.read(f) for f in self.files}

    def read(self, file):
        """[(line, the project's file or None, the name as written)]"""
        out = []
        for m in INCLUDE.finditer(self.text[file]):
            line = self.text[file].count("\n", 0, m.start()) + 1
            name = m.group(2)
            found = (
                next((p for p in (name, "common/" + name) if p in self.text), None)
                if m.group(1) == '"'
                else None
            )
            out.append((line, found, name))
        return out

    def seen_from(self, file):
        """Every include that `file` sees: (the way to it, the project's file or None, the name as
        written)."""
        way, todo = {file: [file]}, [file]
        while todo:
            at = todo.pop()
            for _, found, name in self.includes[at]:
                yield way[at], found, name
                if found and found not in way:
                    way[found] = way[at] + [found]
                    todo.append(found)


def room_of(path):
    return max((r for r in ROOMS if path.startswith(r + "/")), key=len)


def short(room):
    return room.split("/")[-1]


def check_rooms(house):
    for file in house.files:
        allowed = {short(room_of(file)), *ROOMS[room_of(file)].split()}
        for line, found, name in house.includes[file]:
            target = name.split("/")[0] if "/" in name and not found else found and short(room_of(found))
            if found and target not in allowed:
                yield f"{file}:{line}: may not include {target}/ (allowed: {' '.join(sorted(allowed))})"


def check_pure(house):
    for file in house.files:
        if not any(re.fullmatch(p, file) for p in PURE):
            continue
        for way, found, name in house.seen_from(file):
            bad = (
                (found in IMPURE_FILES or found.startswith(IMPURE_ROOMS))
                if found
                else IMPURE_SYSTEM.match(name)
            )
            if bad:
                yield f"{' > '.join(way)} > {found or name}: a pure part may not see that"
        for i, line in enumerate(house.text[file].split("\n"), 1):
            if IMPURE_CALLS.search(line):
                yield f"{file}:{i}: a pure part may not ask the clock: now_ns comes in"


def check_backends(house):
    for file in house.files:
        own = re.match(r"kernels/(\w+)/", file)
        for line, found, name in house.includes[file]:
            target = re.match(r"kernels/(\w+)/", name)
            if own and target and target.group(1) not in BACKENDS[own.group(1)].split():
                yield f"{file}:{line}: kernels/{own.group(1)} may not include kernels/{target.group(1)}/"
            if not file.startswith("kernels/") and (target or re.match(r"(cuda|cublas|nccl)", name)):
                yield f"{file}:{line}: only kernels/backends.c knows which backends there are"
        if not file.startswith("kernels/"):
            for m in re.finditer(r"^#\s*(?:if|ifdef|ifndef|elif)\b.*\bBATON_CUDA\b", house.text[file], re.M):
                line = house.text[file].count("\n", 0, m.start()) + 1
                yield f"{file}:{line}: only kernels/backends.c knows which backends there are"


def circles(house):
    """Strongly connected nodes (Tarjan); an edge leads from a node to each whose header one of its files
    includes."""
    node = lambda f: re.sub(r"\.(c|h|cu|cuh)$", "", f)
    edges = {}
    for file in house.files:
        edges.setdefault(node(file), set())
        for _, found, _ in house.includes[file]:
            if found and node(found) != node(file):
                edges[node(file)].add(node(found))
    index, low, stack, out = {}, {}, [], []

    def visit(v):
        index[v] = low[v] = len(index)
        stack.append(v)
        for w in sorted(edges[v]):
            if w not in index:
                visit(w)
                low[v] = min(low[v], low[w])
            elif w in stack:
                low[v] = min(low[v], index[w])
        if low[v] == index[v]:
            ring = []
            while not ring or ring[-1] != v:
                ring.append(stack.pop())
            if len(ring) > 1:
                out.append(sorted(ring))

    sys.setrecursionlimit(10000)
    for v in sorted(edges):
        if v not in index:
            visit(v)
    return out


def check_links(root, build):
    for target, words in LINKS.items():
        lines = subprocess.run(
            ["ninja", "-C", build, "-t", "commands", "-s", target], capture_output=True, text=True
        )
        if lines.returncode:
            yield f"{target}: no such target in {build}"
            continue
        line = lines.stdout
        for word in words.split():
            if re.search(rf"libbaton_{word}\.a|lib{word}[\w.-]*\.(so|a)|-l{word}\b", line):
                yield f"{target}: its link line has {word}"


def table():
    rows = ["| folder | may include |", "|---|---|"]
    return "\n".join(rows + [f"| `{room}` | {ROOMS[room] or 'nothing'} |" for room in ROOMS])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    parser.add_argument("--links", metavar="BUILD")
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    if args.table:
        print(table())
        return 0
    if args.links:
        found = list(check_links(args.root, args.links))
    else:
        house = House(args.root)
        found = [*check_rooms(house), *check_pure(house), *check_backends(house)]
        found += [f"circle: {' '.join(ring)}" for ring in circles(house)]
    for text in found:
        print(text)
    if not found:
        print("layers: clean")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
