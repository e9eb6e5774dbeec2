#!/usr/bin/env python3
"""Workers that die, freeze and come back, under live streams: the same bytes, or the documented error."""
import selectors
import struct
import unittest

from harness import *


def bodies(count, prompt, tokens):
    return [{"prompt": prompt_ids(prompt + i), "max_tokens": tokens, "ignore_eos": True,
             **({"temperature": 0} if i % 2 == 0 else {"temperature": 0.8, "seed": i})} for i in range(count)]


UNDISTURBED = {}


def undisturbed(requests):
    """Their texts on a cluster that nobody disturbs."""
    key = json.dumps(requests)
    if key not in UNDISTURBED:
        with Cluster(disaggregated()) as c:
            UNDISTURBED[key] = parallel(len(requests), lambda b: c.complete(**b)["choices"][0]["text"], requests)
    return UNDISTURBED[key]


def unchunked(raw):
    out = b""
    while raw:
        size, rest = raw.split(b"\r\n", 1)
        count = int(size, 16)
        out += rest[:count]
        assert rest[count:count + 2] == b"\r\n", rest[count:count + 2]
        raw = rest[count + 2:]
    return out


class Streams:
    """Streams read in the background by one thread, which only counts events; they are parsed when all is over, so that reading
    takes little of the cores that the workers need. progress[i] counts the events of stream i."""

    def __init__(self, c, requests):
        self.progress = [0] * len(requests)
        self.raw = [bytearray() for _ in requests]
        self.selector = selectors.DefaultSelector()
        for i, request in enumerate(requests):
            s = socket.create_connection(("127.0.0.1", c.http_port), timeout=60 * SLOW)
            body = json.dumps(dict(request, stream=True)).encode()
            s.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n"
                      b"content-length: %d\r\n\r\n" % len(body) + body)
            self.selector.register(s, selectors.EVENT_READ, i)
        self.thread = threading.Thread(target=self.read, args=(time.monotonic() + 120 * SLOW,), daemon=True)
        self.thread.start()

    def read(self, deadline):
        while self.selector.get_map() and time.monotonic() < deadline:
            for key, _ in self.selector.select(1):
                data = key.fileobj.recv(1 << 20)
                self.raw[key.data] += data
                self.progress[key.data] += data.count(b"data: ")
                if not data:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()

    def ends(self):
        """All events of each stream; the last is "[DONE]"."""
        self.thread.join(130 * SLOW)
        assert not self.selector.get_map(), "streams that did not end; events so far: %s" % self.progress
        out = []
        for raw in self.raw:
            head, body = bytes(raw).split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 200"), bytes(raw)
            lines = [l[6:] for l in unchunked(body).decode().split("\n") if l.startswith("data: ")]
            assert lines[-1] == "[DONE]", lines[-3:]
            out.append([json.loads(l) for l in lines[:-1]] + ["[DONE]"])
        return out

    def texts(self):
        out = []
        for events in self.ends():
            errors = [e for e in events[:-1] if "error" in e]
            assert not errors, errors
            out.append("".join(e["choices"][0]["text"] for e in events[:-1] if e["choices"]))
        return out


def in_state(c, state, role=None):
    return [w for w in c.health()[1]["workers"] if w["state"] == state and role in (None, w["role"])]


def busy(c, name):
    """By the coordinator's books: it holds requests, whatever its last heartbeat said."""
    return any(w["name"] == name and w["state"] == "ready" and w["assigned"] > 0 for w in c.health()[1]["workers"])


def busy_with_prompts(c, name):
    # Others wait in the queue, so it gets the next one as soon as it has finished one.
    return c.metric("baton_requests", state="wait_prefill") >= 2 and busy(c, name)


# Long enough that a worker is found and killed in the middle of it.
TOKENS = 1000
FROZEN_TOKENS = 1800
SLOW_PREFILL = {"token_budget": 16, "chunk_tokens": 16}


POISON = 299  # no other prompt has it


def poisoned(path):
    """The small checkpoint again, but the embedding of one token is no number."""
    with open(TINY, "rb") as f:
        data = bytearray(f.read())
    tensors, = struct.unpack_from("<Q", data, 8)
    at = data.index(b"token_embd.weight") - 8  # the first description
    rows = offset = 0
    for _ in range(tensors):
        name_bytes, = struct.unpack_from("<Q", data, at)
        name = bytes(data[at + 8:at + 8 + name_bytes])
        dims, = struct.unpack_from("<I", data, at + 8 + name_bytes)
        at += 12 + name_bytes
        if name == b"token_embd.weight":
            (cols, rows), (kind, offset) = struct.unpack_from("<QQ", data, at), struct.unpack_from("<IQ", data, at + 16)
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
                answers = parallel(8, lambda b: c.post("/v1/completions", b), requests[:3] + [bad] + requests[3:] + [bad])
                self.assertEqual([status for status, _ in answers], [200] * 3 + [500] + [200] * 3 + [500])
                self.assertEqual([a["choices"][0]["text"] for status, a in answers if status == 200], want)
                self.assertIn("cannot compute this request", answers[3][1]["error"]["message"])
                self.assertEqual(c.log().count(" joined control="), workers)  # each is in its first session
                self.assertEqual(c.metric("baton_replays_total"), 0)
                c.wait_idle()

    def test_a_poison_prompt_fails_alone_and_kills_nobody(self):
        self.poison(disaggregated(prefill={"kv_pages": 512}, decode={"kv_pages": 512}))

    def test_a_poison_prompt_fails_alone_in_a_colocated_worker(self):
        self.poison(colocated(colocated={"kv_pages": 512}))

    def test_kill_9_of_a_decode_worker_changes_no_byte(self):
        requests = bodies(8, 50, TOKENS)
        want = undisturbed(requests)
        with Cluster(disaggregated(d=2)) as c:
            pids = {name: c.worker_pid(name) for name in ("decode-0", "decode-1")}
            streams = Streams(c, requests)
            wait_for("a quarter of every stream", lambda: min(streams.progress) >= TOKENS // 4)
            worst = max(c.health()[1]["workers"], key=lambda w: w["assigned"] if w["role"] == "decode" else -1)
            kill(pids[worst["name"]])
            self.assertEqual(streams.texts(), want)
            self.assertGreater(c.metric("baton_replays_total"), 0)
            c.wait_idle()

    def test_kill_9_of_the_worker_that_carries_all_streams(self):
        # One decode worker at first: it carries all 8. The second joins by hand before the kill.
        requests = bodies(8, 50, TOKENS)
        want = undisturbed(requests)
        with Cluster(disaggregated()) as c:
            pid = c.worker_pid("decode-0")
            streams = Streams(c, requests)
            wait_for("the first tokens", lambda: min(streams.progress) >= 1)
            c.start_worker("decode")
            wait_for("a second decode worker", lambda: len(in_state(c, "ready", "decode")) == 2)
            wait_for("a quarter of every stream", lambda: min(streams.progress) >= TOKENS // 4)
            kill(pid)
            self.assertEqual(streams.texts(), want)
            self.assertEqual(c.metric("baton_replays_total"), 8)
            c.wait_idle()

    def test_kill_9_of_a_prefill_worker_during_prompts(self):
        requests = bodies(16, 2500, 20)  # seconds of prompts, so that the busy worker is seen on any machine
        want = undisturbed(requests)
        with Cluster(disaggregated(p=2, prefill=SLOW_PREFILL)) as c:
            pid = c.worker_pid("prefill-0")
            streams = Streams(c, requests)
            wait_for("a busy prefill worker", lambda: busy_with_prompts(c, "prefill-0"))
            kill(pid)
            self.assertEqual(streams.texts(), want)
            self.assertGreater(c.metric("baton_replays_total"), 0)
            c.wait_idle()

    def frozen(self, role, requests, fact):
        """Stopped for twice the time after which it counts as gone, in the middle of its work; then it goes on."""
        want = undisturbed(requests)
        gone_ms = 1000
        limits = {"heartbeat_ms": 100, "suspect_ms": 400, "gone_ms": gone_ms}
        with Cluster(disaggregated(p=2, d=2, limits=limits, prefill=SLOW_PREFILL)) as c:
            pid = c.worker_pid(role + "-0")
            streams = Streams(c, requests)
            wait_for("work at " + role + "-0", lambda: fact(c, streams))
            kill(pid, signal.SIGSTOP)
            stopped = time.monotonic()
            try:
                wait_for("the frozen worker to be gone", lambda: len(in_state(c, "ready")) == 3)
                self.assertEqual(streams.texts(), want)
                wait_for("twice the time", lambda: time.monotonic() - stopped > 2 * gone_ms / 1000)
            finally:
                kill(pid, signal.SIGCONT)
            wait_for("it to join again", lambda: len(in_state(c, "ready")) == 4)
            self.assertGreater(c.metric("baton_replays_total"), 0)
            c.wait_idle()

    def test_a_frozen_decode_worker_is_gone_and_comes_back_as_a_new_one(self):
        # All of them decode by then: one that still waits for its KV at the frozen worker is only placed anew, not replayed.
        self.frozen("decode", bodies(4, 50, FROZEN_TOKENS),
                    lambda c, streams: min(streams.progress) >= 20 and busy(c, "decode-0"))

    def test_a_frozen_prefill_worker_is_gone_and_comes_back_as_a_new_one(self):
        self.frozen("prefill", bodies(16, 2500, 20), lambda c, _: busy_with_prompts(c, "prefill-0"))

    def test_with_none_left_the_error_comes_after_the_deadline_and_service_after_a_new_worker(self):
        with Cluster(disaggregated(limits={"wait_prefill_ms": 1500})) as c:
            streams = Streams(c, bodies(2, 50, 4000))
            pid = c.worker_pid("decode-0")
            wait_for("some tokens", lambda: min(streams.progress) >= 20)
            kill(pid)
            for events in streams.ends():
                self.assertEqual(events[-2]["error"]["code"], 503, events[-2])
                self.assertIn("decode", events[-2]["error"]["message"])
            status, answer = c.post("/v1/completions", {"prompt": "x", "max_tokens": 4})
            self.assertEqual(status, 503, answer)
            self.assertEqual(c.health()[0], 503)
            c.start_worker("decode")
            wait_for("service", lambda: c.health()[0] == 200)
            self.assertEqual(c.complete(prompt="x", max_tokens=4, ignore_eos=True)["usage"]["completion_tokens"], 4)
            c.wait_idle()

    def test_the_coordinator_dies_and_the_workers_leave(self):
        with Cluster(disaggregated(limits={"rejoin_ms": 1000, "lease_ms": 1000})) as c:
            workers = c.pids("baton-prefill") + c.pids("baton-decode")
            self.assertEqual(len(workers), 2)
            kill(c.pids("baton-coordinator")[0])
            wait_for("the workers to exit", lambda: not c.pids("baton-prefill") + c.pids("baton-decode"), 60)
            c.process.wait(30 * SLOW)
            c.process = None

    def test_kill_9_of_mpirun_leaves_no_process(self):
        with Cluster(disaggregated()) as c:
            everyone = lambda: [p for role in ("prefill", "decode", "coordinator") for p in c.pids("baton-" + role)]
            self.assertEqual(len(everyone()), 3)
            kill(c.pids("mpirun .*baton-coordinator")[0])
            wait_for("all of them to end", lambda: not everyone())
            self.assertEqual(c.process.wait(30 * SLOW), 1)
            c.process = None


if __name__ == "__main__":
    unittest.main()
