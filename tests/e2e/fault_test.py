#!/usr/bin/env python3
"""Processes that die as mpirun's ranks, and prompts that are poison; tests/fault has the other faults."""

import math
import struct
import unittest

from streams import *


def holds_work(c, role, name):
    """A worker that does not run holds requests that it has not finished."""
    worker = c.worker(name)
    if not worker:  # the test itself was not let run for so long that the worker is gone
        return c.metric("baton_replays_total") > 0
    if role == "prefill":
        # It may hold one that it was told to let go of. But while others wait in the queue, it has been given
        # another.
        return worker["assigned"] > 0 and c.metric("baton_requests", state="wait_prefill") > 0
    return worker["assigned"] > 0


def caught(c, role, requests, begun):
    """Streams of the requests, and the name and process of the worker of this role that is stopped (SIGSTOP)
    in the middle of some of them: begun(streams), and not all that it was given is finished. Where they end
    before they are looked at, with new streams."""
    pids = {w["name"]: c.worker_pid(w["name"]) for w in in_state(c, "ready", role)}
    for _ in range(10):
        streams = Streams(c, requests)
        wait_for("work at a %s worker" % role, lambda: begun(streams) or streams.over())
        name = max(in_state(c, "ready", role), key=lambda w: w["assigned"])["name"]
        kill(pids[name], signal.SIGSTOP)
        # What it said before has been heard by then.
        wait_for(
            "silence of %s" % name, lambda: (c.worker(name) or {"silence_ms": math.inf})["silence_ms"] > 300
        )
        if holds_work(c, role, name):
            return streams, name, pids[name]
        kill(pids[name], signal.SIGCONT)
        streams.ends()
    raise AssertionError("the streams end before anybody can see them run")


def tokens_of_all(count):
    """Each stream is being decoded: the first token is of the prompt."""
    return lambda streams: min(streams.progress) >= count


def a_queue(c):
    return lambda _: c.metric("baton_requests", state="wait_prefill") >= 2


# Long enough that a worker is found in the middle of it.
TOKENS = 1000
POISON = 299  # no other prompt has it


def poisoned(path):
    """The small checkpoint again, but the embedding of one token is no number."""
    with open(TINY, "rb") as f:
        data = bytearray(f.read())
    (tensors,) = struct.unpack_from("<Q", data, 8)
    at = data.index(b"token_embd.weight") - 8  # the first description
    rows = offset = 0
    for _ in range(tensors):
        (name_bytes,) = struct.unpack_from("<Q", data, at)
        name = bytes(data[at + 8 : at + 8 + name_bytes])
        (dims,) = struct.unpack_from("<I", data, at + 8 + name_bytes)
        at += 12 + name_bytes
        if name == b"token_embd.weight":
            (cols, rows), (kind, offset) = struct.unpack_from("<QQ", data, at), struct.unpack_from(
                "<IQ", data, at + 16
            )
            assert kind == 8, "Q8_0"
        at += 8 * dims + 12
    assert POISON < rows
    row = (at + 31) // 32 * 32 + offset + POISON * cols // 32 * 34
    struct.pack_into("<H", data, row, 0x7E00)  # the scale of its first block
    with open(path, "wb") as f:
        f.write(data)


class Faults(unittest.TestCase):
    def poison(self, config):
        requests = bodies(6, 60, 50)
        want = undisturbed(requests)
        with tempfile.TemporaryDirectory() as folder:
            poisoned(folder + "/poison.gguf")
            with Cluster(config, folder + "/poison.gguf") as c:
                workers = len(c.health()[1]["workers"])
                bad = {"prompt": prompt_ids(40) + [POISON] + prompt_ids(20), "max_tokens": 4}
                answers = parallel(
                    8, lambda b: c.post("/v1/completions", b), requests[:3] + [bad] + requests[3:] + [bad]
                )
                self.assertEqual([status for status, _ in answers], [200] * 3 + [500] + [200] * 3 + [500])
                self.assertEqual([a["choices"][0]["text"] for status, a in answers if status == 200], want)
                self.assertIn("cannot compute this request", answers[3][1]["error"]["message"])
                self.assertEqual(c.metric("baton_workers_lost_total"), 0)
                self.assertEqual(len(in_state(c, "ready")), workers)
                self.assertEqual(c.metric("baton_replays_total"), 0)
                c.wait_idle()

    def test_a_poison_prompt_fails_alone_and_kills_nobody(self):
        self.poison(disaggregated(prefill={"kv_pages": 512}, decode={"kv_pages": 512}))

    def test_a_poison_prompt_fails_alone_in_a_colocated_worker(self):
        self.poison(colocated(colocated={"kv_pages": 512}))

    def test_kill_9_of_the_worker_that_carries_all_streams(self):
        # One decode worker at first: it carries all 8. The second joins by hand before the kill.
        requests = bodies(8, 50, TOKENS)
        want = undisturbed(requests)
        with Cluster(disaggregated()) as c:
            streams, name, pid = caught(c, "decode", requests, tokens_of_all(50))
            carried = c.worker(name)["assigned"]
            c.start_worker("decode")
            wait_for(
                "a second decode worker",
                lambda: [w for w in in_state(c, "ready", "decode") if w["name"] != name],
            )
            kill(pid)
            self.assertEqual(streams.texts(), want)
            self.assertEqual(c.metric("baton_replays_total"), carried)
            c.wait_idle()

    def test_a_cluster_that_lost_its_only_worker_waits_for_a_new_one(self):
        with Cluster(colocated()) as c:
            kill(c.worker_pid("colocated-0"))
            wait_for("it is gone", lambda: c.health()[1]["workers"] == [])
            gone = time.monotonic()
            wait_for(
                "twice the time after which up.sh ends a cluster that never had a worker",
                lambda: time.monotonic() - gone > 5,
            )
            self.assertIsNone(c.process.poll(), c.log()[-2000:])
            c.start_worker("colocated")
            wait_for("service", lambda: c.health()[0] == 200)
            self.assertEqual(
                c.complete(prompt="x", max_tokens=4, ignore_eos=True)["usage"]["completion_tokens"], 4
            )
            c.wait_idle()

    def test_the_coordinator_dies_and_the_workers_leave(self):
        with Cluster(disaggregated(limits={"rejoin_ms": 4000})) as c:
            workers = c.pids("baton-prefill") + c.pids("baton-decode")
            self.assertEqual(len(workers), 2)
            kill(c.pids("baton-coordinator")[0])
            wait_for("the workers to exit", lambda: not c.pids("baton-prefill") + c.pids("baton-decode"))
            c.process.wait(120 * SLOW)
            c.process = None

    def test_kill_9_of_mpirun_leaves_no_process(self):
        with Cluster(disaggregated()) as c:
            everyone = lambda: [
                p for role in ("prefill", "decode", "coordinator") for p in c.pids("baton-" + role)
            ]
            self.assertEqual(len(everyone()), 3)
            kill(c.pids("mpirun .*baton-coordinator")[0])
            wait_for("all of them to end", lambda: not everyone())
            self.assertEqual(c.process.wait(120 * SLOW), 1)
            c.process = None


if __name__ == "__main__":
    unittest.main()
