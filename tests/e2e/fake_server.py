"""An OpenAI-compatible server that does what a script says, for tests of clients."""

import contextlib
import json
import socket
import threading

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text):
    return "%x\r\n%s\r\n" % (len(text), text)


def event(text="", finish=None, usage=None, chat=False, **more):
    choice = {"index": 0, "finish_reason": finish}
    choice.update({"delta": {"content": text}} if chat else {"text": text})
    choice.update(more)
    body = {"id": "x", "object": "chunk", "choices": [choice]}
    if usage:
        body["usage"] = usage
    return "data: %s\n\n" % json.dumps(body)


def usage_of(prompt, output, cached=0):
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def answer(request, tokens=None, prompt=None, cached=0, finish="length"):
    """As it should be, unless told otherwise; every event is a packet."""
    count = request["max_tokens"] if tokens is None else tokens
    length = len(request["prompt"]) if prompt is None else prompt
    out = [HEAD] + [chunk(event(" t")) for _ in range(count)]
    usage = 'data: {"choices":[],"usage":%s}\n\n' % json.dumps(usage_of(length, count, cached))
    return out + [chunk(event("", finish)), chunk(usage), chunk("data: [DONE]\n\n"), chunk("")]


def plain(code, text):
    return ["HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (code, len(text), text)]


CLOSE = object()  # in a script: the connection ends here


class Server:
    """script(request, number) gives what is sent for each completion: texts, CLOSE, or functions that are
    called. Number 0 is the client's first look at the server; what is measured counts from 1."""

    def __init__(self, script=lambda request, number: answer(request), port=0, pages=()):
        self.script, self.pages = script, dict(pages)
        self.requests, self.connections, self.active, self.most = [], 0, 0, 0
        self.headers = {}  # of the last completion
        self.lock = threading.Lock()
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(("127.0.0.1", port))
        self.socket.listen(128)
        self.port = self.socket.getsockname()[1]
        self.url = "http://127.0.0.1:%d" % self.port
        self.open, self.alive = [], True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                if not self.alive:
                    connection.close()
                    return
                self.open.append(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as stream:
            counted = False
            while True:
                line = stream.readline().decode()
                if not line:
                    return
                headers = {}
                while True:
                    header = stream.readline().decode().strip()
                    if not header:
                        break
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                method, path, _ = line.split()
                if method == "GET" or path == "/tokenize":
                    out = [self.page(path)]
                else:
                    with self.lock:
                        number = len(self.requests)
                        self.requests.append(json.loads(body))
                        self.headers = headers
                        self.active += 1
                        self.most = max(self.most, self.active if number else 0)
                        self.connections += not counted
                    counted = True
                    out = self.script(json.loads(body), number)
                try:
                    for piece in out:
                        if piece is CLOSE:
                            connection.shutdown(socket.SHUT_RDWR)
                            return
                        if callable(piece):
                            piece()
                        else:
                            connection.sendall(piece.encode())
                finally:
                    if counted and method == "POST":
                        with self.lock:
                            self.active -= 1

    def page(self, path):
        pages = {"/v1/models": '{"data":[{"id":"fake","root":"fake"}]}', **self.pages}
        return plain(200 if path in pages else 404, pages.get(path, "{}"))[0]

    def die(self):
        with self.lock:
            self.alive = False
            opened = self.open
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in opened:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.die()
