#!/usr/bin/env python3
"""sizes.py finds what is planted against each of its rules, names it, and passes what is at the limit."""

import os
import subprocess
import sys
import tempfile

LINT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sizes.py")
WIDE = "x" * 50 + " "
CASES = [
    ("a.c", "y" * 110 + "\n", ""),
    ("a.c", "é" * 110 + "\n", ""),
    ("a.c", "y" * 111 + "\n", "a.c:1: 111 columns, the limit is 110"),
    ("x/CMakeLists.txt", "\n# " + "y" * 109 + "\n", "x/CMakeLists.txt:2: 111 columns, the limit is 110"),
    ("a.h", "\n" * 600, ""),
    ("a.h", "\n" * 601, "a.h: 601 lines, the limit is 600: one noun, one file pair"),
    ("A.md", WIDE * 2 + "z" * 18 + "\n", ""),
    ("A.md", WIDE * 2 + "z" * 19 + "\n", "A.md:1: 121 columns, the limit is 120"),
    ("A.md", "| " + WIDE * 4 + "|\n", ""),
    ("A.md", "```\n" + WIDE * 4 + "\n```\n", ""),
    ("A.md", "https://" + "z" * 200 + "\n", ""),
    ("deploy/a.sh", "#!/bin/sh\n", "deploy/a.sh: not executable: chmod +x"),
    ("notes.txt", WIDE * 9 + "\n", ""),
]


def lint(folder):
    run = subprocess.run([sys.executable, LINT, "--root", folder], capture_output=True, text=True)
    return run.returncode, run.stdout + run.stderr


if __name__ == "__main__":
    for name, text, want in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            for args in (["init", "-q"], ["add", "-A"]):
                subprocess.run(["git", "-C", folder, *args], check=True)
            said = lint(folder)
            assert said == ((1, want + "\n") if want else (0, "sizes: clean\n")), (name, text[:20], said)
    with tempfile.TemporaryDirectory() as folder:
        code, text = lint(folder)
        assert code == 1 and "git lists no files here" in text, text
    print(f"sizes.py: {len(CASES)} cases")
