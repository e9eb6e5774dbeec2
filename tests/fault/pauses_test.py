"""What marathon_pauses.py makes of an event log, a trace and the gaps that clients saw."""

import json
import unittest

from marathon_pauses import Pauses, Trace


def slice_of(pid, begin_s, end_s, name, cat, **args):
    times = {"ts": begin_s * 1e6, "dur": (end_s - begin_s) * 1e6}
    return json.dumps(
        {"ph": "X", "pid": pid, "tid": 0, **times, "name": name, "cat": cat, "args": args},
        separators=(",", ":"),
    )


def event(kind, t_ms, role, incarnation, request=None):
    of_request = {"id": request, "req": 7, "cause": "death"}
    return {"event": kind, "t_ms": t_ms, "role": role, "incarnation": incarnation, **of_request}


TRACE = ",\n".join(
    [
        slice_of(1, 0, 9, "request 7", "request", req=7, prompt_tokens=5),
        slice_of(1, 1, 2, "prefill", "request", req=7, worker="prefill-0"),
        slice_of(2, 1, 2, "prefill", "request", req=7),
        slice_of(2, 1.1, 1.6, "prefill", "step", prefill_rows=40, decode_rows=0),
        slice_of(2, 3.0, 3.6, "prefill", "step", prefill_rows=90, decode_rows=0),
    ]
)
EVENTS = [
    event("ready", 0, "prefill", "a"),
    event("ready", 0, "decode", "b"),
    event("gone", 1000, "decode", "b"),
    event("replay", 1000, "decode", "b", "x"),
    event("ready", 4000, "decode", "c"),
]


class PausesTest(unittest.TestCase):
    def test_the_only_decode_workers_death_lasts_until_the_next_ones_token(self):
        """At 2 s the client has one token of the prefill worker's, and waits on."""
        gaps = [("x", 0.5, 2.0), ("x", 2.0, 4.5), ("x", 4.5, 4.6), ("y", 0.5, 2.0)]
        (pause,) = Pauses(EVENTS, 0, Trace(TRACE), gaps, 80).all
        self.assertEqual(pause["pause_s"], 3.5)
        self.assertEqual(pause["without_a_role_s"], 3)
        self.assertEqual((pause["prefill_s"], pause["rows"], pause["bound_s"]), (1, 40, 0.5))

    def test_beside_another_worker_it_lasts_until_the_next_token(self):
        other = [event("ready", 0, "decode", "d")]
        (pause,) = Pauses(other + EVENTS, 0, Trace(TRACE), [("x", 0.5, 2.0), ("x", 2.0, 4.5)], 80).all
        self.assertEqual((pause["pause_s"], pause["without_a_role_s"]), (1, 0))


if __name__ == "__main__":
    unittest.main()
