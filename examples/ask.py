#!/usr/bin/env python3
"""Asks a Baton cluster over its native socket (proto/client.proto) and writes the answer as it comes:

pip install pyzmq protobuf grpcio-tools
python3 examples/ask.py tcp://127.0.0.1:8002 "Hello!"
"""

import importlib
import itertools
import os
import random
import struct
import subprocess
import sys
import tempfile

import zmq

PROTO = os.environ.get("BATON_PROTO", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "proto"))


def messages():
    """The classes of client.proto, made by protoc."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            "-I",
            PROTO,
            "--python_out",
            out,
            "client.proto",
        ]
        subprocess.run(command, check=True)
        sys.path.insert(0, out)
        return importlib.import_module("client_pb2")


def main(endpoint, question):
    pb = messages()
    socket = zmq.Context().socket(zmq.DEALER)
    socket.linger = 0
    socket.rcvtimeo = 1000
    socket.connect(endpoint)
    ask = pb.ClientMessage()
    ask.request.id = 1
    ask.request.max_tokens = 64
    ask.request.chat.turns.add(role="user", content=question.encode())
    numbers = itertools.count(1)
    session = random.getrandbits(64)

    def send(message):
        socket.send_multipart([struct.pack("<QQ", session, next(numbers)), message.SerializeToString()])

    send(ask)
    alive = pb.ClientMessage()
    alive.ping.SetInParent()
    for silent in range(10):
        while True:
            try:
                first = pb.ServerEvent.FromString(socket.recv_multipart()[1])
            except zmq.Again:  # a second without a word: a sign of life, which is answered
                send(alive)
                break
            for event in [first, *first.more]:
                body = event.WhichOneof("body")
                if body == "error":
                    sys.exit("%d: %s" % (event.error.http, event.error.message))
                if body in ("token", "end"):
                    sys.stdout.buffer.write(getattr(event, body).text)
                    sys.stdout.flush()
                if body == "end":
                    print("\n(%d tokens)" % event.end.completion_tokens)
                    return
    sys.exit("nobody answers at " + endpoint)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: ask.py ENDPOINT QUESTION")
    main(*sys.argv[1:])
