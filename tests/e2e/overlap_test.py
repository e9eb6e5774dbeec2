#!/usr/bin/env python3
"""The KV of a prompt leaves while later layers are still being computed: read from the prefill worker's
trace, real processes, real clocks."""

import sys
import unittest

from harness import *

TOKENS = 1000


def fields(line):
    return dict(re.findall(r"(\w+)=(\S+)", line))


def rows(entry):
    begin, count = entry["rows"].split("+")
    return int(begin), int(begin) + int(count)


def own_log(c, program):
    """The file that this program of the cluster will log to. mpirun forwards what processes print piece by
    piece, and a piece may end in the middle of a line."""
    c.bin = c.dir.name + "/bin"
    os.mkdir(c.bin)
    for name in os.listdir(BIN):
        os.symlink(os.path.abspath(BIN + "/" + name), c.bin + "/" + name)
    path = c.bin + "/" + program
    os.remove(path)
    with open(path, "w") as f:
        f.write('#!/bin/sh\nexec "%s/%s" "$@" >"%s.log" 2>&1\n' % (os.path.abspath(BIN), program, path))
    os.chmod(path, 0o755)
    return path + ".log"


class Overlap(unittest.TestCase):
    def trace(self, rounds, **over):
        """[(layers that began, segments that left)] of each round's prompt of 1,000 tokens; a first one opens
        the pair."""
        config = disaggregated(cluster={"log_level": "trace"}, **over)
        with Cluster(config, self.model, start=False) as c:
            log = own_log(c, "baton-prefill")
            c.start()
            for seed in range(rounds + 1):
                c.complete(prompt=prompt_ids(TOKENS, seed), max_tokens=2, temperature=0, ignore_eos=True)
            c.stop()  # the worker has written all of it
            with open(log) as f:
                text = f.read()
        self.assertEqual(sanitizer_reports(text), [])
        lines = text.splitlines()
        begun = [fields(l) for l in lines if "layer begins" in l]
        sent = [fields(l) for l in lines if "segment sent" in l]
        requests = sorted({int(e["req"]) for e in sent})[1:]
        self.assertEqual(len(requests), rounds)
        return [
            ([e for e in begun if int(e["req"]) == r], [e for e in sent if int(e["req"]) == r])
            for r in requests
        ]

    def ahead(self, begun, sent):
        """By how many ns the first segment of the last chunk left before the chunk's last layer began."""
        begin = max(rows(e)[0] for e in begun)
        self.assertGreater(begin, 0, "the prompt was one chunk")
        last_layer = max(int(e["layer"]) for e in begun)
        began = next(
            int(e["clock_ns"]) for e in begun if rows(e)[0] == begin and int(e["layer"]) == last_layer
        )
        of_chunk = [e for e in sent if rows(e)[1] > begin]
        self.assertGreater(len(of_chunk), 1, "the chunk left in one piece")
        first = of_chunk[0]
        self.assertEqual(rows(first)[0], begin)
        self.assertEqual(int(first["layers"].split("..")[0]), 0)
        self.assertEqual(rows(of_chunk[-1])[1], TOKENS)
        return began - int(first["clock_ns"])

    def test_the_first_segment_of_the_last_chunk_leaves_before_its_last_layer_begins(self):
        # Computing and sending are two threads: which of them a busy machine lets run is not ours to say, but
        # not always the same one.
        ahead = [self.ahead(begun, sent) for begun, sent in self.trace(10, **self.over)]
        print("ms ahead of the last layer: " + " ".join("%.1f" % (a / 1e6) for a in ahead))
        self.assertGreater(max(ahead), 0)

    def test_without_overlap_nothing_leaves_before_the_last_layer(self):
        # The same reading of the trace tells the difference.
        for begun, sent in self.trace(3, **merge(self.over, {"handoff": {"overlap": False}})):
            self.assertGreater(min(int(e["clock_ns"]) for e in sent), max(int(e["clock_ns"]) for e in begun))


if __name__ == "__main__":
    kind = sys.argv.pop(1)
    Overlap.model = SMOL if kind == "smol" else TINY
    # The small checkpoint has 4 layers and little KV: one chunk of many rows, sent layer by layer, takes long
    # enough to be watched.
    Overlap.over = (
        {}
        if kind == "smol"
        else {"prefill": {"token_budget": 512, "chunk_tokens": 512}, "handoff": {"segment_kb": 16}}
    )
    unittest.main()
