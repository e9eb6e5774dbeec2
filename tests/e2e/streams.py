"""Streams that are read in the background while a test does something to the cluster, and what they say when
nobody does. They may live through faults: what each was told, and when, is kept."""

import selectors

from harness import *


def bodies(count, prompt, tokens):
    return [
        {
            "prompt": prompt_ids(prompt + i),
            "max_tokens": tokens,
            "ignore_eos": True,
            **({"temperature": 0} if i % 2 == 0 else {"temperature": 0.8, "seed": i}),
        }
        for i in range(count)
    ]


UNDISTURBED = {}


def undisturbed(requests, model=None):
    """Their texts on a cluster that nobody disturbs."""
    keys = [json.dumps(b) for b in requests]
    new = [b for b, key in zip(requests, keys) if key not in UNDISTURBED]
    if new:
        with Cluster(disaggregated(), model) as c:
            texts = parallel(len(new), lambda b: c.complete(**b)["choices"][0]["text"], new)
        UNDISTURBED.update(zip((json.dumps(b) for b in new), texts))
    return [UNDISTURBED[key] for key in keys]


def unchunked(raw):
    """The bytes of a chunked body, and whether it is complete."""
    out = b""
    while b"\r\n" in raw:
        size, rest = raw.split(b"\r\n", 1)
        count = int(size, 16)
        if len(rest) < count + 2:
            return out + rest[:count], False
        out += rest[:count]
        assert rest[count : count + 2] == b"\r\n", rest[count : count + 2]
        if count == 0:
            return out, True
        raw = rest[count + 2 :]
    return out, False


def outcome(raw):
    if b"\r\n\r\n" not in raw:
        return 0, [], "reset"
    head, body = raw.split(b"\r\n\r\n", 1)
    status = int(head.split(b" ", 2)[1])
    if status != 200:
        return status, [json.loads(body)], "answer"
    body, complete = unchunked(body)
    lines = [l[6:] for l in body.decode().split("\n\n") if l.startswith("data: ")]
    if complete and lines and lines[-1] == "[DONE]":
        return status, [json.loads(l) for l in lines[:-1]], "[DONE]"
    return status, [], "reset"


class Streams:
    """Streams read in the background by one thread, which only counts events; they are parsed when all is
    over, so that reading takes little of the cores that the workers need. progress[i] counts the events of
    stream i, arrivals[i] has the times (time.monotonic) at which some of them came."""

    def __init__(self, c, requests):
        self.requests = list(requests)
        self.progress = [0] * len(requests)
        self.arrivals = [[] for _ in requests]
        self.raw = [bytearray() for _ in requests]
        self.selector = selectors.DefaultSelector()
        for i, request in enumerate(requests):
            s = socket.create_connection(("127.0.0.1", c.http_port), timeout=600 * SLOW)
            body = json.dumps(dict(request, stream=True)).encode()
            s.sendall(
                b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                b"content-type: application/json\r\n"
                b"content-length: %d\r\n\r\n" % len(body) + body
            )
            self.selector.register(s, selectors.EVENT_READ, i)
        self.thread = threading.Thread(target=self.read, args=(time.monotonic() + 600 * SLOW,), daemon=True)
        self.thread.start()

    def read(self, deadline):
        while self.selector.get_map() and time.monotonic() < deadline:
            for key, _ in self.selector.select(1):
                try:
                    data = key.fileobj.recv(1 << 20)
                except ConnectionResetError:
                    data = b""
                self.raw[key.data] += data
                events = data.count(b"data: ")
                if events:
                    self.arrivals[key.data].append(time.monotonic())
                self.progress[key.data] += events
                if not data:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()

    def over(self):
        return not self.selector.get_map()

    def leave(self):
        """Hangs up on all that have not ended."""
        for key in list(self.selector.get_map().values()):
            key.fileobj.shutdown(socket.SHUT_RDWR)
        self.thread.join(60 * SLOW)

    def outcomes(self):
        """Of each stream: the status of its head (0: none came), the events that came, and its end: "[DONE]",
        "answer" (one JSON object, for a status other than 200) or "reset"."""
        self.thread.join(610 * SLOW)
        assert self.over(), "streams that did not end; events so far: %s" % self.progress
        return [outcome(bytes(raw)) for raw in self.raw]

    def ends(self):
        """All events of each stream; the last is "[DONE]"."""
        out = []
        for status, events, end in self.outcomes():
            assert (status, end) == (200, "[DONE]"), (status, events, end)
            out.append(events + ["[DONE]"])
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
