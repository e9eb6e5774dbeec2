#!/usr/bin/env python3
"""The machine code of the GPU's kernels for sm_90, as the toolkit's cuobjdump shows it: what device.cuh says
about links, which no compiler promises to leave where it was written, and that nothing is spilled.

Usage: machine_code_test.py CUOBJDUMP OBJECT...    exits with 77 where CUOBJDUMP is not a program"""

import os
import re
import shutil
import subprocess
import sys
import unittest

ARCH = "sm_90"
# Launched by launch_kernel: they run at start, or in the other stream.
ORDINARY = {"kv_copy_kernel", "random_kernel", "rope_table_kernel"}
# What may come before the wait: narrow_kernel's weights (load16_ahead), as many as its ring has places.
AHEAD, RING = {"narrow_kernel": "LDG.E.NA.128"}, 4
GLOBAL = re.compile(r"(LDG|STG|LDGSTS|LD|ST|ATOM|ATOMG|RED|UBLKCP|UTMALDG)\b")
SPILLS = {"rope_table_kernel"}  # cos and pow of the math library, once at start


def dump(*args):
    return subprocess.run(
        [CUOBJDUMP, "-arch", ARCH, *args], check=True, capture_output=True, text=True
    ).stdout


def kernels():
    """(name, instructions in order) of each kernel."""
    for path in OBJECTS:
        for part in dump("-sass", path).split("Function : ")[1:]:
            ops = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ +)?([A-Z][A-Z0-9_.]*)", part)
            yield re.match(r"_Z\d+(\w+?_kernel)", part).group(1), ops


class MachineCode(unittest.TestCase):
    def test_a_linked_kernel_touches_no_global_memory_before_it_waits_but_weights(self):
        seen = set()
        for name, ops in kernels():
            seen.add(name)
            waits = [i for i, op in enumerate(ops) if op == "ACQBULK"]
            if name in ORDINARY:
                self.assertEqual(waits, [], name)
                continue
            self.assertEqual(len(waits), 1, name)
            before = ops[: waits[0]]
            self.assertEqual(before.count("PREEXIT"), 1, "%s triggers first" % name)
            self.assertNotIn("EXIT", before, "%s: every thread waits" % name)
            touches = [op for op in before if GLOBAL.match(op)]
            self.assertEqual(set(touches), {AHEAD[name]} if name in AHEAD else set(), name)
            if name in AHEAD:
                self.assertGreaterEqual(len(touches), 2 * RING, name)
        self.assertLessEqual(ORDINARY | set(AHEAD) | {"norm_kernel", "decode_kernel", "sample_kernel"}, seen)

    def test_no_kernel_spills(self):
        for path in OBJECTS:
            text = dump("--dump-resource-usage", path)
            found = re.findall(r"Function _Z\d+(\w+?_kernel)\w*:\s+REG:\d+ STACK:(\d+)", text)
            self.assertEqual(len(found), text.count("Function "), path)
            for name, stack in found:
                if name not in SPILLS:
                    self.assertEqual(int(stack), 0, name)


if __name__ == "__main__":
    CUOBJDUMP, OBJECTS = sys.argv[1], sys.argv[2:]
    if not shutil.which(CUOBJDUMP):
        print("not run: no cuobjdump, which comes with the CUDA toolkit")
        sys.exit(77)
    # It starts nvdisasm, which lies beside it.
    os.environ["PATH"] = os.path.dirname(shutil.which(CUOBJDUMP)) + ":" + os.environ["PATH"]
    unittest.main(argv=sys.argv[:1])
