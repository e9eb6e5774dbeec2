#!/usr/bin/env python3
"""Runs the unit tests of a build under valgrind's memcheck: what is read before it was written, what is read
or written where nothing is, what is lost. Its CPU has AVX2 and no AVX-512, so the kernels choose another set
than they would here. BATON_TEST_SMALL tells the tests to make less of what is large or repeated.
valgrind.py BUILD [REGEX]"""

import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FOUND = 99
LIMIT_S = 1800  # for what hangs
VALGRIND = [
    "valgrind",
    "--quiet",
    "--leak-check=full",
    "--errors-for-leak-kinds=definite,indirect",
    "--show-leak-kinds=definite,indirect",
    f"--error-exitcode={FOUND}",
    "--fair-sched=yes",
    f"--suppressions={HERE}/valgrind.supp",
]


def tests(build, wanted):
    """(name, command, environment, folder) of each test with the label `unit`, of one program each, after
    what makes their files has run"""
    shown = subprocess.run(
        ["ctest", "--test-dir", build, "-L", "unit", "--show-only=json-v1"], check=True, capture_output=True
    )
    for test in json.loads(shown.stdout)["tests"]:
        properties = {p["name"]: p["value"] for p in test.get("properties", [])}
        makes = "FIXTURES_SETUP" in properties
        if not makes and not wanted.search(test["name"]):
            continue
        if "command" not in test:
            sys.exit(f"valgrind: {test['name']} is not built: cmake --build {build}")
        if makes:
            subprocess.run(test["command"], check=True, capture_output=True)
            continue
        more = dict(line.split("=", 1) for line in properties.get("ENVIRONMENT", []))
        if test["name"].startswith("unit/") and "/tests/unit_" in test["command"][0]:
            yield test["name"], test["command"], more, properties.get("WORKING_DIRECTORY", build)


def main():
    build, wanted = sys.argv[1], re.compile(sys.argv[2] if len(sys.argv) > 2 else "")
    programs = failed = count = 0
    for name, command, more, folder in tests(build, wanted):
        begin = time.monotonic()
        try:
            run = subprocess.run(
                VALGRIND + command,
                env={**os.environ, **more, "BATON_TEST_SMALL": "1"},
                cwd=folder,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LIMIT_S,
                check=False,
            )
            output, code = run.stdout + run.stderr, run.returncode
        except subprocess.TimeoutExpired as e:
            output, code = str(e), -1
        passed = re.findall(r"\[  PASSED  \] (\d+) test", output)
        count += sum(map(int, passed))
        programs += 1
        print(f"valgrind: {name}: {code}, {time.monotonic() - begin:.0f} s", flush=True)
        if code:
            failed += 1
            print(output, flush=True)
    print(f"valgrind: {count} tests in {programs} programs, {failed} programs failed")
    return failed > 0 or programs == 0


sys.exit(main())
