#!/usr/bin/env python3
"""What the documents say of the tree is so: every path in `backticks` is there, a walk through the code names
each file once, and the table of layers is the one that layers.py judges by.

  docs.py [--root DIR]"""

import argparse
import glob
import os
import re
import sys

import layers

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "proto/control.md", "proto/protocol.md")
# What a document may name that git does not hold: made by the build, by a run, or a pattern of names.
MADE = re.compile(r"^(build|\.cache|\.carry)/|NAME|\*|HOST|CONFIG|^~|^/")


def paths_in(text):
    """(line, path) of everything in backticks that looks like a file or folder of the tree; braces are
    spread."""
    for number, line in enumerate(text.split("\n"), 1):
        for word in re.findall(r"`([^`\s]+)`", line):
            spread = re.fullmatch(r"(.*)\{([^}]*)\}(.*)", word)
            for path in [spread[1] + part + spread[3] for part in spread[2].split(",")] if spread else [word]:
                if "/" in path and re.fullmatch(r"[\w./-]+", path) and not MADE.search(path):
                    yield number, path


def there(root, path):
    places = (path, os.path.join("common", path))
    return any(
        os.path.exists(os.path.join(root, p)) or glob.glob(os.path.join(root, p) + ".[ch]") for p in places
    )


def check_paths(root, document, text):
    first = {part.split("/")[0] for part in os.listdir(root)} | set(os.listdir(os.path.join(root, "common")))
    for line, path in paths_in(text):
        if path.split("/")[0] in first and not there(root, path):
            yield f"{document}:{line}: there is no {path}"


def check_walks(root, text):
    walks = re.findall(r"^#+ (A walk: .*)\n((?:(?!^#).*\n?)*)", text, re.M)
    for title, body in walks:
        named = [path for _, path in paths_in(body)]
        for path in sorted(set(named)):
            if named.count(path) > 1:
                yield f"ARCHITECTURE.md: {title}: names {path} {named.count(path)} times"
            if not os.path.isfile(os.path.join(root, path)):
                yield f"ARCHITECTURE.md: {title}: {path} is no file"
    if len(walks) < 2:
        yield "ARCHITECTURE.md: want the two walks, each under a heading 'A walk: ...'"


def check_table(text):
    for row in layers.table().split("\n"):
        if row not in text.split("\n"):
            yield f"ARCHITECTURE.md: the table of layers lacks '{row}' (layers.py --table prints it)"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    root = parser.parse_args().root
    texts = {d: open(os.path.join(root, d), encoding="utf-8").read() for d in DOCUMENTS}
    found = [text for d in DOCUMENTS for text in check_paths(root, d, texts[d])]
    found += [*check_walks(root, texts["ARCHITECTURE.md"]), *check_table(texts["ARCHITECTURE.md"])]
    for text in found:
        print(text)
    if not found:
        print("docs: clean")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
