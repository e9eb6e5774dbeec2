#!/usr/bin/env python3
"""A sanitizer's report of a process of a cluster fails the test, whatever becomes of that process and of
what it prints.

sanitizer_test.py PLANTED_BUG address|thread      (in a build with BATON_SANITIZE only)"""

import sys
import unittest

from harness import *

PLANTED = sys.argv[1]
# Beside AddressSanitizer's, GCC 12's runtime of this one leaves its report on the error output whatever its
# log_path is. It ends the process.
UNDEFINED = "undefined"
BUGS = {
    "address": {
        "memory": "ERROR: AddressSanitizer: heap-use-after-free",
        "leak": "ERROR: LeakSanitizer: detected memory leaks",
        UNDEFINED: "runtime error: signed integer overflow",
    },
    "thread": {"race": "WARNING: ThreadSanitizer: data race"},
}[sys.argv[2]]


class Reports(unittest.TestCase):
    def setUp(self):
        self.addCleanup(self.forget)

    def forget(self):
        """So that only what was not planted fails this program."""
        for name in os.listdir(REPORTS.name):
            os.unlink(REPORTS.name + "/" + name)

    def test_one_of_a_rank_that_goes_on(self):
        for bug, report in BUGS.items():
            quiet = "" if bug == UNDEFINED else ">/dev/null 2>&1"
            with self.subTest(bug), tempfile.TemporaryDirectory() as folder:
                for name in os.listdir(BIN):
                    if name != "baton-decode":
                        os.symlink(BIN + "/" + name, folder + "/" + name)
                with open(folder + "/baton-decode", "w") as f:
                    f.write("#!/bin/sh\n(until [ -e %s/go ]; do sleep 0.1; done\n" % folder)
                    f.write("exec %s %s) </dev/null %s &\n" % (PLANTED, bug, quiet))
                    f.write('exec %s/baton-decode "$@"\n' % BIN)
                os.chmod(folder + "/baton-decode", 0o755)
                c = Cluster(disaggregated(), start=False)
                c.bin = folder
                with self.assertRaisesRegex(AssertionError, report):
                    with c:
                        c.start()
                        self.assertEqual(
                            c.complete(prompt="x", max_tokens=1)["usage"]["completion_tokens"], 1
                        )
                        open(folder + "/go", "w").close()
                        wait_for("the report", lambda: report in c.log() + reported())
                self.forget()

    def test_one_of_a_process_of_no_cluster_at_the_end_of_the_test(self):
        bug, report = next(iter(BUGS.items()))
        code = "from harness import *; subprocess.run([%r, %r], stderr=subprocess.DEVNULL)" % (PLANTED, bug)
        own = dict(os.environ)
        for options in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"):
            own[options] = own[options].rsplit(":log_path=", 1)[0]
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env=dict(own, PYTHONPATH=os.path.dirname(os.path.abspath(__file__))),
            capture_output=True,
            text=True,
            timeout=60 * SLOW,
        )
        self.assertEqual(ran.returncode, 1)
        self.assertIn(report, ran.stdout)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
