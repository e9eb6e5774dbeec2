#!/usr/bin/env python3
"""How long files and lines may be, and that every script can be run: sizes.py [--root DIR]

A source file has at most 600 lines (one noun, one file pair), a line of code 110 columns, a line of Markdown
120; rows of tables, code blocks and lines that are one long link may be wider. Columns are characters."""

import argparse
import os
import re
import subprocess
import sys

LINES = 600
CODE = re.compile(r"\.(c|h|cu|cuh|cpp|py|sh|proto|cmake)$|(^|/)CMakeLists\.txt$|^\.ci/run$")
COUNTED = re.compile(r"\.(c|h|cu|cuh|cpp|py|sh|proto)$")
SCRIPT = re.compile(r"^(deploy/[^/]*|tests/[^/]*|tests/(lint|golden)/[^/]*)\.sh$|^\.ci/run$")
# file: a text of its line that may be wider, and why it cannot be cut
WIDE = {}


def git(root, *args):
    out = subprocess.run(["git", "-C", root, *args], capture_output=True, text=True)
    if out.returncode or not out.stdout:
        sys.exit("sizes.py: git lists no files here: is this a git checkout of yours?")
    return out.stdout.splitlines()


def wide_lines(name, text):
    limit, fenced = (120 if name.endswith(".md") else 110), False
    for number, line in enumerate(text.split("\n"), 1):
        if name.endswith(".md"):
            if line.lstrip().startswith("```"):
                fenced = not fenced
            if fenced or line.lstrip().startswith("|") or re.fullmatch(r"\s*\S+", line):
                continue
        if len(line) > limit and not (name in WIDE and WIDE[name] in line):
            yield f"{name}:{number}: {len(line)} columns, the limit is {limit}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("--root", default=os.path.join(here, "../.."))
    root = parser.parse_args().root
    found = []
    for entry in git(root, "ls-files", "-s"):
        mode, name = entry.split()[0], entry.split("\t", 1)[1]
        path = os.path.join(root, name)
        if SCRIPT.search(name) and mode != "100755":
            found.append(f"{name}: not executable: chmod +x")
        if not os.path.exists(path) or not (CODE.search(name) or name.endswith(".md")):
            continue
        with open(path, encoding="utf-8") as f:
            text = f.read()
        if COUNTED.search(name) and text.count("\n") > LINES:
            lines = text.count("\n")
            found.append(f"{name}: {lines} lines, the limit is {LINES}: one noun, one file pair")
        found += wide_lines(name, text)
    print("\n".join(found) if found else "sizes: clean")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
