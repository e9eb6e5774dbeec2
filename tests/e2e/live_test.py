#!/usr/bin/env python3
"""What the coordinator shows of a running cluster: the trace, as a reader of it needs it."""

import unittest

from harness import *


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = Cluster(disaggregated(limits={"heartbeat_ms": 50}))

    @classmethod
    def tearDownClass(cls):
        cls.c.stop()
        cls.c.dir.cleanup()

    def ask(self, tokens=12):
        return self.c.complete(prompt=prompt_ids(tokens), max_tokens=8, temperature=0, ignore_eos=True)

    def trace(self, query=""):
        status, raw = self.c.get("/trace" + query)
        self.assertEqual(status, 200, raw)
        return json.loads(raw)["traceEvents"]

    def test_the_trace_has_every_request_with_its_workers_and_the_steps_that_computed_it(self):
        parallel(4, self.ask, range(10, 30))
        # A step is told by the heartbeat after it.
        steps = lambda: {
            (e["pid"], e["name"]) for e in self.trace() if e["ph"] == "X" and e.get("cat") == "step"
        }
        wait_for("steps of both workers", lambda: {name for _, name in steps()} >= {"prefill", "decode"})
        events = self.trace("?last=20")
        names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
        self.assertEqual(sorted(names.values()), ["coordinator", "decode-0", "prefill-0"])
        requests = [e for e in events if e["name"].startswith("request ")]
        self.assertEqual(len(requests), 20)
        self.assertEqual(len({e["args"]["req"] for e in requests}), 20)
        for e in requests:
            a = e["args"]
            self.assertEqual((a["prefill"], a["decode"], a["end"]), ("prefill-0", "decode-0", "done"))
            self.assertEqual((a["output_tokens"], a["attempts"]), (8, 1))
            mine = [s for s in events if s["ph"] == "X" and s.get("args", {}).get("req") == a["req"] and s != e]
            stages = ["queue", "prefill", "hand-off", "decode wait", "decode"]
            self.assertEqual([s["name"] for s in mine if names[s["pid"]] == "coordinator"], stages)
            self.assertEqual([s["name"] for s in mine if names[s["pid"]] == "prefill-0"], stages[1:3])
            self.assertEqual([s["name"] for s in mine if names[s["pid"]] == "decode-0"], stages[3:])
        arrows = {p: {e["id"] for e in events if e["ph"] == p} for p in "sf"}
        self.assertEqual(len(arrows["s"]), 20)
        self.assertEqual(arrows["s"], arrows["f"])
        self.assertEqual(len([e for e in self.trace("?last=3") if e["name"].startswith("request ")]), 3)

    def test_a_bad_number_is_refused_with_the_remedy(self):
        status, raw = self.c.get("/trace?last=none")
        self.assertEqual(status, 400)
        self.assertIn("a number from 1 to 4096", json.loads(raw)["error"]["message"])


if __name__ == "__main__":
    unittest.main()
