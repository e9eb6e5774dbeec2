#!/usr/bin/env python3
"""Figures about the sources of a checkout: how many files, how long, how much is asserted, what is too wide,
what runs in circles. For comparing two states; nothing is judged here.

  figures.py [DIR]      default: this checkout"""

import os
import re
import statistics
import subprocess
import sys

PRODUCT = (
    "common/",
    "coordinator/",
    "kernels/",
    "prefill_worker/",
    "decode_worker/",
    "colocated_worker/",
    "sim/",
    "proto/",
)
ASSERTION = re.compile(r"\b(PRE|POST|CHECK|DEBUG_ASSERT)\(")
# clang-format puts the head of a function at column 0 and its body behind " {" at the end of a line.
FUNCTION = re.compile(
    r"^(?!typedef|struct|enum|union|#|else|extern)(?P<head>[A-Za-z_][^;{}=]*?\b(?P<name>\w+)\([^;{}]*\)) \{\n"
    r"(?P<body>.*?)^\}",
    re.M | re.S,
)


def sources(root):
    listed = subprocess.run(
        ["git", "-C", root, "ls-files"], check=True, capture_output=True, text=True
    ).stdout.split("\n")
    return [
        f
        for f in listed
        if re.search(r"\.(c|h|cu|cuh|cpp|py|sh|cmake|proto)$|CMakeLists\.txt$", f)
        and os.path.exists(os.path.join(root, f))
    ]


def lengths(name, files, texts):
    counts = sorted((texts[f].count("\n"), f) for f in files)
    print(
        f"{name}: {len(files)} files, {sum(c for c, _ in counts)} lines, "
        f"median {statistics.median(c for c, _ in counts):g}, "
        f"longest {counts[-1][0]} ({counts[-1][1]})"
    )


def circles(files, texts):
    node = {f: re.sub(r"\.(c|h|cu|cuh)$", "", f) for f in files if re.search(r"\.(c|h|cu|cuh)$", f)}
    edges = {n: set() for n in node.values()}
    for f, n in node.items():
        for name in re.findall(r'^\s*#\s*include "([^"]+)"', texts[f], re.M):
            for path in (name, "common/" + name, os.path.join(os.path.dirname(f), name)):
                if path in node and node[path] != n:
                    edges[n].add(node[path])
    reach = {}

    def reachable(start):
        if start not in reach:
            seen, todo = set(), [start]
            while todo:
                for w in edges[todo.pop()] - seen:
                    seen.add(w)
                    todo.append(w)
            reach[start] = seen
        return reach[start]

    rings = {
        tuple(sorted(w for w in reachable(n) | {n} if n in reachable(w) or w == n))
        for n in edges
        if n in reachable(n)
    }
    print(f"circles of includes: {len(rings)}")
    for ring in sorted(rings):
        print("   " + " ".join(ring))


def functions(files, texts):
    total = asserted = public = public_without = 0
    for f in files:
        if not f.endswith(".c"):
            continue
        for m in FUNCTION.finditer(texts[f]):
            body = m["body"]
            total += 1
            asserted += len(ASSERTION.findall(body))
            if not m["head"].startswith("static") and body.count("\n") > 3:
                public += 1
                public_without += not ASSERTION.search(body)
    print(
        f"functions of the product (C): {total}, assertions: {asserted} ({asserted / total:.2f} each); "
        f"public ones of more than 3 lines: {public}, without an assertion: {public_without}"
    )


def main():
    root = (
        sys.argv[1]
        if len(sys.argv) > 1
        else os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    )
    files = sources(root)
    texts = {f: open(os.path.join(root, f), encoding="utf-8").read() for f in files}
    product = [f for f in files if f.startswith(PRODUCT)]
    rest = [f for f in files if not f.startswith(PRODUCT)]
    lengths("product", product, texts)
    lengths("tests, benches, scripts", rest, texts)
    functions(product, texts)
    wide = {f: sum(len(line) > 110 for line in texts[f].split("\n")) for f in files}
    print(f"lines over 110 columns: {sum(wide.values())} in {sum(n > 0 for n in wide.values())} files")
    circles(product, texts)


if __name__ == "__main__":
    main()
