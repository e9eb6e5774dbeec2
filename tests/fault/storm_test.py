#!/usr/bin/env python3
"""A cancel storm: of 2,000 requests one in five is left by its client at a random moment, half of them by
closing the HTTP connection, half by a CANCEL of the native socket. Nothing of them stays behind."""

import importlib
import os
import struct
import sys
import unittest

import zmq
from grpc_tools import protoc

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import *
from fault_test import unchunked

COUNT, LEAVE, AT_ONCE = 2000, 400, 160
DEADLINE_S = 300  # of the whole storm; it takes some 10 s
# Milliseconds per step, so that each stage lasts long enough to be left in; pools are small, so that prompts
# are parked and wait in the queue.
LATENCY = """prefill: {alpha_ms: 3, beta_ms: 0.02, gamma_ms: 0}
decode: {alpha_ms: 4, beta_ms: 0.01, gamma_ms: 0}
"""


def client_proto(folder):
    """The messages of the native socket, from their description."""
    proto = os.path.join(ROOT, "proto")
    assert protoc.main(["", "-I" + proto, "--python_out=" + folder, "client.proto"]) == 0
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("client_pb2")
    finally:
        sys.path.remove(folder)


def requests_of(seed):
    random, out = Random(seed), []
    for i in range(100):
        body = {
            "prompt": prompt_ids(1 + random.below(400), seed=i % 5),
            "max_tokens": 2 + random.below(40),
            "ignore_eos": True,
            "temperature": 0,
        }
        if i % 2:
            body["cache_salt"] = "s%d" % i
        out.append(body)
    return out


class Native:
    """One session (proto/client.proto)."""

    def __init__(self, c, messages):
        self.m, self.sent, self.heard = messages, 0, 0
        self.session = random.getrandbits(64)
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect("tcp://127.0.0.1:%d" % c.client_port)
        self.pinged = time.monotonic()

    def send(self, **body):
        self.sent += 1
        data = self.m.ClientMessage(**body).SerializeToString()
        self.socket.send_multipart([struct.pack("<QQ", self.session, self.sent), data])

    def ping(self):
        if time.monotonic() - self.pinged > 1:
            self.pinged = time.monotonic()
            self.send(ping=self.m.ClientPing())

    def events(self):
        """All that can be read now."""
        while self.socket.poll(0):
            head, data = self.socket.recv_multipart()
            self.heard += 1
            assert struct.unpack("<QQ", head) == (self.session, self.heard), (head, self.heard)
            event = self.m.ServerEvent.FromString(data)
            yield event
            yield from event.more


class Ask:
    """A request on its way. leaves: when its client gives it up, or None."""

    def __init__(self, storm, number):
        self.number, self.which = number, number % len(storm.requests)
        self.native = (number + number // len(storm.requests)) % 2 == 1
        self.body, self.want = storm.requests[self.which], storm.texts[self.which]
        self.begun = time.monotonic()
        self.leaves = None
        self.left = False
        self.text = b""


class Storm:
    def __init__(self, c, messages, requests, texts):
        self.c, self.requests, self.texts = c, requests, texts
        self.native = Native(c, messages)
        self.poller = zmq.Poller()
        self.poller.register(self.native.socket, zmq.POLLIN)
        self.random = Random(7)
        self.http = {}  # descriptor -> Ask
        self.asked = {}  # native id -> Ask
        self.usual_s = 0.1  # that a request takes: moments to leave are drawn within it
        self.left = {False: 0, True: 0}  # by native or not
        self.told_canceled = 0
        self.wrong = []

    def begin(self, number):
        ask = Ask(self, number)
        # One in five; where an answer was faster than its client's leaving, another one leaves. In the last
        # tenth they do so at once, so that it is one in five in the end.
        leaving = sum(a.leaves is not None and not a.left for a in self.alive() if a.native == ask.native)
        if self.left[ask.native] + leaving < min(LEAVE // 2, LEAVE * (number + COUNT // 20) // COUNT // 2):
            ask.leaves = ask.begun + self.usual_s * self.random.below(1000) / 1000
        if ask.native:
            self.ask_native(ask)
        else:
            self.ask_http(ask)

    def alive(self):
        return list(self.http.values()) + list(self.asked.values())

    def ask_native(self, ask):
        m, body = self.native.m, ask.body
        request = m.ClientRequest(
            id=ask.number + 1,
            tokens=m.ClientTokens(ids=body["prompt"]),
            max_tokens=body["max_tokens"],
            ignore_eos=True,
            temperature=0,
        )
        if "cache_salt" in body:
            request.cache_salt = body["cache_salt"].encode()
        self.native.send(request=request)
        self.asked[request.id] = ask

    def ask_http(self, ask):
        ask.streams = self.random.below(2) == 0
        data = json.dumps(dict(ask.body, stream=ask.streams)).encode()
        ask.socket = socket.create_connection(("127.0.0.1", self.c.http_port), timeout=60 * SLOW)
        ask.socket.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(data) + data
        )
        self.http[ask.socket.fileno()] = ask
        self.poller.register(ask.socket.fileno(), zmq.POLLIN)

    def leave(self, now, last):
        for ask in self.alive():
            if ask.left or ask.leaves is None or (ask.leaves > now and not last):
                continue
            ask.left = True
            self.left[ask.native] += 1
            if ask.native:
                self.native.send(cancel=self.native.m.ClientCancel(id=ask.number + 1))
            else:
                self.close(ask)

    def close(self, ask):
        self.poller.unregister(ask.socket.fileno())
        del self.http[ask.socket.fileno()]
        ask.socket.close()

    def ends(self, ask, text):
        self.usual_s += (time.monotonic() - ask.begun - self.usual_s) / 20
        if text != ask.want:
            self.wrong.append("request %d: %r, want %r" % (ask.number, text, ask.want))

    def read_http(self, descriptor):
        ask = self.http[descriptor]
        data = ask.socket.recv(1 << 18)
        ask.text += data
        if data:
            return
        self.close(ask)
        head, body = ask.text.split(b"\r\n\r\n", 1)
        if not head.startswith(b"HTTP/1.1 200"):
            self.wrong.append("request %d: %r" % (ask.number, ask.text))
        elif ask.streams:
            lines = [l[6:] for l in unchunked(body)[0].decode().split("\n") if l.startswith("data: ")]
            events = [json.loads(l) for l in lines[:-1]]
            assert lines[-1] == "[DONE]", lines[-2:]
            self.ends(ask, "".join(e["choices"][0]["text"] for e in events if e.get("choices")))
        else:
            self.ends(ask, json.loads(body)["choices"][0]["text"])

    def read_native(self):
        for event in self.native.events():
            body = event.WhichOneof("body")
            ask = self.asked.get(event.id)
            if body == "pong":
                continue
            assert ask, event  # nothing follows an end
            if body == "token":
                ask.text += event.token.text
            elif body == "error":
                self.wrong.append("request %d: %s" % (ask.number, event.error))
                del self.asked[event.id]
            elif body == "end":
                del self.asked[event.id]
                if event.end.reason == self.native.m.END_CANCELED:
                    self.told_canceled += 1
                    # The bytes that came are a beginning of the right ones.
                    if not ask.left or not ask.want.encode().startswith(ask.text):
                        self.wrong.append("request %d: canceled behind %r" % (ask.number, ask.text))
                else:
                    self.ends(ask, (ask.text + event.end.text).decode())

    def go(self):
        begun, next_number = time.monotonic(), 0
        while next_number < COUNT or self.http or self.asked:
            now = time.monotonic()
            assert now - begun < DEADLINE_S * SLOW, "alive: %d" % len(self.alive())
            while next_number < COUNT and len(self.http) + len(self.asked) < AT_ONCE:
                self.begin(next_number)
                next_number += 1
            self.leave(time.monotonic(), next_number >= COUNT - COUNT // 10)
            self.native.ping()
            for what, _ in self.poller.poll(2):
                if what == self.native.socket:
                    self.read_native()
                elif what in self.http:
                    self.read_http(what)
        self.native.socket.close()


def left_by(folder):
    """Clients that left by how they did, as the log of events has them."""
    counts = {}
    with open(folder + "/events.jsonl") as f:
        for event in map(json.loads, f):
            if event["event"] == "client_left":
                counts[event["cause"]] = counts.get(event["cause"], 0) + 1
    return counts


def stages_left(c):
    """In which stage the canceled requests of the last minutes were: stage -> count, of /trace."""
    status, raw = c.get("/trace?last=4096")
    assert status == 200, raw
    last, canceled = {}, set()
    for event in json.loads(raw)["traceEvents"]:
        if event.get("ph") != "X" or event["cat"] != "request":
            continue
        req = event["args"]["req"]
        if "end" in event["args"]:
            if event["args"]["end"] == "canceled":
                canceled.add(req)
        elif event["ts"] >= last.get(req, (-1,))[0]:
            last[req] = (event["ts"], event["name"])
    counts = {}
    for req in canceled:
        stage = last.get(req, (0, "none"))[1]
        counts[stage] = counts.get(stage, 0) + 1
    return counts


class CancelStorm(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="baton-storm-")
        self.addCleanup(self.folder.cleanup)
        self.latency = self.folder.name + "/latency.yaml"
        with open(self.latency, "w") as f:
            f.write(LATENCY)

    def descriptors(self, c):
        """Of each worker process: rings and pairs are among them."""
        return {
            pid: len(os.listdir("/proc/%d/fd" % pid))
            for role in ("prefill", "decode")
            for pid in c.pids("baton-" + role)
        }

    def test_nothing_stays_behind_of_400_requests_whose_clients_left(self):
        config = disaggregated(
            2,
            2,
            model={"backend": "mock"},
            mock={"latency": self.latency, "workers_per_process": 2},
            prefill={"kv_memory_mb": 0, "kv_pages": 320},
            decode={"kv_memory_mb": 0, "kv_pages": 160, "max_seqs": 10},
            handoff={"slot_kb": 64, "segment_kb": 4},
            cluster={"event_log": self.folder.name + "/events.jsonl"},
        )
        requests = requests_of(3)
        with Cluster(config) as c:
            texts = parallel(8, lambda b: c.complete(**b)["choices"][0]["text"], requests)
            wait_for("rest before the storm", lambda: not c.busy())
            descriptors = self.descriptors(c)
            storm = Storm(c, client_proto(self.folder.name), requests, texts)
            storm.go()
            wait_for("rest after the storm", lambda: not c.busy())
            begun = time.monotonic()
            self.assertEqual(c.complete(**requests[0])["choices"][0]["text"], texts[0])
            self.assertLess(time.monotonic() - begun, 1 * SLOW)
            self.assertEqual(storm.wrong, [])
            self.assertEqual(storm.left, {False: LEAVE // 2, True: LEAVE // 2})
            # An answer may be whole before the coordinator hears that its client has left.
            canceled = c.metric("baton_canceled_total")
            self.assertLessEqual(storm.told_canceled, storm.left[True])
            self.assertLessEqual(canceled, sum(storm.left.values()))
            self.assertGreater(canceled, LEAVE // 2)
            self.assertEqual(c.metric("baton_failed_total"), 0)
            # Each that left is an event, also one whose answer was computed and not read.
            wait_for("an event for each", lambda: sum(left_by(self.folder.name).values()) >= canceled)
            left = left_by(self.folder.name)
            self.assertEqual(set(left), {"closed", "canceled"})
            self.assertGreaterEqual(left["canceled"], storm.told_canceled)
            self.assertLessEqual(left["canceled"], storm.left[True])
            self.assertLessEqual(left["closed"], storm.left[False])
            self.assertEqual(c.metric("baton_workers_lost_total"), 0)
            # All requests once more: every pair's ring still has all its slots.
            self.assertEqual(parallel(8, lambda b: c.complete(**b)["choices"][0]["text"], requests), texts)
            wait_for("rest", lambda: not c.busy())
            self.assertEqual(self.descriptors(c), descriptors)
            stages = stages_left(c)
            self.assertEqual(sum(stages.values()), canceled)
            for stage in ("queue", "prefill", "hand-off", "decode"):
                self.assertGreater(stages.get(stage, 0), 0, stages)


if __name__ == "__main__":
    unittest.main(verbosity=2)
