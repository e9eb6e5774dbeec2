#!/usr/bin/env python3
"""table.py FILE...: puts results of the named faults (BATON_FAULT_RESULTS) into README.md beside it."""

import json
import os
import sys

BEGIN, END = "<!-- table.py begin -->\n", "<!-- table.py end -->\n"
COMMANDS = {"faults_test.py": "named", "others_test.py": "others"}


def took(row):
    """Time to recover, in words."""
    after = lambda key: "%.2f s" % row[key]
    noticed = ", noticed after %s" % after("detected_s") if "detected_s" in row else ""
    if "recovered_s" in row:
        return after("recovered_s") + noticed
    if "error_s" in row:
        return "error after %s%s; service %s after the next was started" % (
            after("error_s"),
            noticed,
            after("served_s"),
        )
    if "reset_s" in row:
        return "reset after %s, service after %s" % (after("reset_s"), after("served_s"))
    return "-"


def table(rows):
    run = rows[0]["run"]
    pauses = sorted(p for row in rows for p in row["pauses"])
    at = lambda share: pauses[min(len(pauses) - 1, int(share * len(pauses)))]
    out = (
        "Model `%s`, `gone_ms` %d, deadlines %d ms. Longest pause of a stream after the fault was noticed: "
        % (run["model"], run["gone_ms"], run["deadline_ms"])
    )
    out += "p50 %.2f s, p99 %.2f s, at most %.2f s (%d streams).\n\n" % (
        at(0.5),
        at(0.99),
        pauses[-1],
        len(pauses),
    )
    out += "| fault | promise | command | result | time to recover |\n|---|---|---|---|---|\n"
    for row in rows:
        cells = (
            row["fault"],
            row["promise"],
            "`-R fault/%s`" % COMMANDS[row["test"]],
            row["result"],
            took(row),
        )
        out += "| %s |\n" % " | ".join(cells)
    return out


def main():
    rows = [json.loads(line) for path in sys.argv[1:] for line in open(path)]
    if not rows:
        sys.exit(__doc__)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "README.md")
    with open(path) as f:
        text = f.read()
    head, tail = text.split(BEGIN)[0], text.split(END)[1]
    with open(path, "w") as f:
        f.write(head + BEGIN + table(rows) + END + tail)


if __name__ == "__main__":
    main()
