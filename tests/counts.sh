#!/usr/bin/env bash
# What the last ctest of a build folder ran: one line `NAME TESTS SKIPPED` per program, sorted by name. TESTS
# counts the facts (cmocka and unittest count themselves, same_bytes_test prints its cells; any other program
# is one), SKIPPED is a comma-separated list of the names of those that were skipped, or `-`.
# Usage: tests/counts.sh BUILD_FOLDER
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: tests/counts.sh BUILD_FOLDER" >&2; exit 2; }
log=$1/Testing/Temporary/LastTest.log
[ -f "$log" ] || { echo "counts.sh: no $log: run ctest --test-dir $1 first" >&2; exit 1; }
LC_ALL=C awk '
    function flush() {
        if (name != "") print name, (tests ? tests : 1), (skipped ? skipped : "-")
        tests = 0
        skipped = ""
    }
    function skip(what) { skipped = skipped == "" ? what : skipped "," what }
    /^[0-9]+\/[0-9]+ Test: / { flush(); name = $3 }
    /^\[=+\] Running [0-9]+ test\(s\)\.$/ { tests += $3 }
    /^Ran [0-9]+ tests? in / { tests += $2 }
    /^same bytes: / { tests++ }
    /^\[  SKIPPED \] / && !/listed below/ { if (!seen[name, $4 $5]++) skip($4 $5) }
    /^OK \(skipped=[0-9]+\)/ { skip($2) }
    /^Test Skipped\.?$/ { skip("all") }
    END { flush() }' "$log" | LC_ALL=C sort
