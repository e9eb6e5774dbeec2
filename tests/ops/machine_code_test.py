#!/usr/bin/env python3
"""What the compiler made of the inner kernels: fails when a loop keeps its accumulators in memory.

machine_code_test.py --functions REGEX [--at-most N] [--must-use INSTRUCTION] [--count N] OBJECT...
machine_code_test.py --self-test CC

A spill is an instruction with a vector register and an operand on the stack, within a loop: a backward jump
and all that lies between it and its target. One in the innermost loop of a kernel can halve its speed without
changing a bit of its results, and only the disassembly shows it."""

import argparse
import os
import re
import subprocess
import sys
import tempfile

VECTOR = re.compile(r"%[xyz]mm\d")
STACK = re.compile(r"-?(?:0x[0-9a-f]+)?\((%rsp|%rbp)[,)]")
LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)\s*(.*)$")
HEAD = re.compile(r"^[0-9a-f]+ <(.+)>:$")
TARGET = re.compile(r"^([0-9a-f]+)\b")


def functions(path):
    """{name: [(address, operation, operands)]}"""
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", path], check=True, capture_output=True, text=True
    ).stdout
    out, name = {}, None
    for line in text.splitlines():
        head, code = HEAD.match(line), LINE.match(line)
        if head:
            name = head.group(1)
            out[name] = []
        elif code and name:
            out[name].append((int(code.group(1), 16), code.group(2), code.group(3).split(" #")[0]))
    return out


def loops(code):
    """[(first, last)] addresses of all backward jumps"""
    out = []
    for address, operation, operands in code:
        target = TARGET.match(operands)
        if operation.startswith("j") and target and int(target.group(1), 16) <= address:
            out.append((int(target.group(1), 16), address))
    return out


def spills(code):
    framed = any(op.startswith("mov") and args == "%rsp,%rbp" for _, op, args in code)
    ranges = loops(code)
    out = []
    for address, operation, operands in code:
        at = STACK.search(operands)
        if not at or not VECTOR.search(operands) or (at.group(1) == "%rbp" and not framed):
            continue
        if any(first <= address <= last for first, last in ranges):
            out.append("%x: %s %s" % (address, operation, operands.strip()))
    return out


def check(paths, pattern, at_most, must_use):
    """(functions found, complaints)"""
    found, wrong = 0, []
    for path in paths:
        for name, code in functions(path).items():
            if not re.fullmatch(pattern, name):
                continue
            found += 1
            got = spills(code)
            if len(got) > at_most:
                wrong.append("%s: %s: %d spills in loops, want at most %d:" % (path, name, len(got), at_most))
                wrong += ["    " + s for s in got[:4]]
            if must_use and not any(operation.startswith(must_use) for _, operation, _ in code):
                wrong.append("%s: %s: no %s in it" % (path, name, must_use))
    return found, wrong


SAMPLE = """
typedef float v8 __attribute__((vector_size(32)));
#define SUMS(name, count) \\
    __attribute__((noinline, target("avx2,fma"))) void name(const v8 *a, const float *b, v8 *out, long n) { \\
        v8 sum[count] = {{0}}; \\
        for (long i = 0; i < n; i++) \\
            _Pragma("GCC unroll 64") for (int c = 0; c < count; c++) sum[c] += a[i] * b[i * count + c]; \\
        for (int c = 0; c < count; c++) out[c] = sum[c]; \\
    }
SUMS(fits, 8)
SUMS(spills, 24)
"""


def self_test(cc):
    with tempfile.TemporaryDirectory() as folder:
        source, obj = os.path.join(folder, "sums.c"), os.path.join(folder, "sums.o")
        with open(source, "w", encoding="utf-8") as f:
            f.write(SAMPLE)
        subprocess.run([cc, "-O3", "-c", source, "-o", obj], check=True)
        assert check([obj], "fits", 0, "vfmadd") == (1, []), check([obj], "fits", 0, "vfmadd")
        found, wrong = check([obj], "spills", 0, None)
        assert found == 1 and len(wrong) > 4 and "ymm" in wrong[1], wrong
        found, wrong = check([obj], "fits", 0, "vpdpbusd")
        assert found == 1 and len(wrong) == 1 and "no vpdpbusd" in wrong[0], wrong
        assert check([obj], "fit", 0, None) == (0, [])
    print("machine_code_test: spills are found, and only they")
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--functions", help="a regular expression that matches whole names")
    p.add_argument("--at-most", type=int, default=0, help="spills of one function")
    p.add_argument("--must-use", help="an instruction that every one must have")
    p.add_argument("--count", type=int, default=1, help="there are so many of them, or more")
    p.add_argument("--self-test", metavar="CC")
    p.add_argument("objects", nargs="*")
    o = p.parse_args()
    if o.self_test:
        return self_test(o.self_test)
    found, wrong = check(o.objects, o.functions, o.at_most, o.must_use)
    if found < o.count:
        wrong.append("%d functions match %s, want %d or more" % (found, o.functions, o.count))
    print("\n".join(wrong or ["%d functions, at most %d spills in loops" % (found, o.at_most)]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
