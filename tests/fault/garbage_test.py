"""Who may speak at the cluster's ZeroMQ sockets: keys on real processes, and bytes that are no ZeroMQ, on
control, native and data sockets. The service goes on, and its log says so."""

import contextlib
import os
import random
import re
import socket
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import BIN, Cluster, disaggregated, merge, prompt_ids, wait_for, yaml  # noqa: E402

BODY = {"prompt": prompt_ids(40), "max_tokens": 8, "temperature": 0, "ignore_eos": True}
# ZMTP 3.0: signature, version, mechanism, as-server, filler; then READY of a DEALER.
SIGNATURE = b"\xff" + 8 * b"\0" + b"\x7f"
READY = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"


def greeting(version=3, mechanism=b"NULL"):
    return SIGNATURE + bytes([version, 0]) + mechanism.ljust(20, b"\0") + 32 * b"\0"


def frame(body, flags=0):
    return struct.pack(">BQ", flags | 2, len(body)) + body


HELLO = greeting() + frame(READY, 4)
HEAD = struct.pack("<QQ", 77, 1)  # of a bus: a session and the number of the first message
BAD = {
    "nothing": b"",
    "another protocol": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "an old ZMTP": SIGNATURE + b"\x01\x05" + 60 * b"\x01",
    "an unknown version": greeting(version=99) + frame(READY, 4),
    "an unknown mechanism": greeting(mechanism=b"GSSAPI") + 200 * b"\x55",
    "half a greeting": greeting()[:30],
    "an oversized command": greeting() + struct.pack(">BQ", 6, 1 << 62) + 1000 * b"x",
    "an oversized frame": HELLO + struct.pack(">BQ", 2, 1 << 40) + 1000 * b"x",
    "a frame that never ends": HELLO + struct.pack(">BQ", 2, 60 << 20) + 1000 * b"x",
    "no framing": HELLO + frame(b"hello"),
    "too many parts": HELLO + 20 * frame(b"x", 1) + frame(b"x"),
    "an empty message": HELLO + frame(HEAD, 1) + frame(b""),
    "an unknown message": HELLO + frame(HEAD, 1) + frame(b"\xff" * 500),
    "a number out of order": HELLO + frame(struct.pack("<QQ", 77, 9), 1) + frame(b"x"),
    "another version of the data wire": HELLO + frame(b"NTAB" + struct.pack("<I", 999) + 300 * b"\0"),
}


def address(endpoint):
    host, port = endpoint[len("tcp://") :].rsplit(":", 1)
    return host, int(port)


def listening(pid):
    """Where a process listens, over TCP."""
    inodes = set()
    for fd in os.listdir("/proc/%d/fd" % pid):
        with contextlib.suppress(OSError):
            inodes.update(re.findall(r"^socket:\[(\d+)\]", os.readlink("/proc/%d/fd/%s" % (pid, fd))))
    with open("/proc/%d/net/tcp" % pid) as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return [("127.0.0.1", int(r[1].split(":")[1], 16)) for r in rows if r[3] == "0A" and r[9] in inodes]


def rss_mib(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


def keygen(folder):
    return subprocess.run([BIN + "/baton-ctl", "keygen", folder], capture_output=True, text=True, timeout=60)


class Guarded(unittest.TestCase):
    """One cluster whose sockets want keys."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(disaggregated(transport="zmq"), start=False)
        cls.addClassCleanup(cls.cluster.dir.cleanup)
        cls.keys = cls.cluster.dir.name + "/keys"
        assert keygen(cls.keys).returncode == 0
        assert keygen(cls.keys + "/other").returncode == 0
        cls.rewrite(cls.cluster.path, cls.keys + "/cluster.key", cls.keys + "/client.key")
        cls.cluster.start()
        cls.addClassCleanup(cls.cluster.stop)

    @classmethod
    def rewrite(cls, path, key, client=""):
        keys = {"cluster": {"key_file": key, "client_key_file": client}}
        with open(path, "w") as f:
            f.write(yaml(merge(cls.cluster.config, keys)))

    def ctl(self, *more):
        line = [BIN + "/baton-ctl", "-e", "tcp://127.0.0.1:%d" % self.cluster.client_port, "workers", *more]
        return subprocess.run(line, capture_output=True, text=True, timeout=120)

    def test_who_has_the_keys_is_served(self):
        self.assertEqual(self.cluster.complete(**BODY)["usage"]["completion_tokens"], 8)
        told = self.ctl("--key", self.keys + "/client.key")
        self.assertEqual((told.returncode, told.stdout.count(" ready ")), (0, 2), told)

    def test_a_client_without_the_key_is_told_so(self):
        for more, why in (
            ((), "it wants a key"),
            (("--key", self.keys + "/other/client.key"), "it hung up before"),
            (("--key", self.keys + "/cluster.key"), "is a baton-cluster-key"),
        ):
            told = self.ctl(*more)
            self.assertEqual((told.returncode, told.stdout), (1, ""))
            self.assertIn(why, told.stderr)

    def test_a_worker_without_the_key_ends_and_says_why(self):
        for key, why in (
            ("", "lets this worker not in: it "),
            (self.keys + "/other/cluster.key", "lets this worker not in: it hung up"),
            (self.keys + "/client.key", "cluster.key_file: %s/client.key is a baton-client-key" % self.keys),
            (self.keys + "/none.key", "cluster.key_file: %s/none.key: No such file" % self.keys),
        ):
            path = self.cluster.dir.name + "/worker.yaml"
            self.rewrite(path, key)
            line = [BIN + "/baton-prefill", path]
            out = subprocess.run(line, capture_output=True, text=True, timeout=300)
            self.assertGreater(out.returncode, 0, out)
            self.assertIn(why, out.stderr)
        self.assertEqual(len(self.cluster.health()[1]["workers"]), 2)
        self.assertIn("peer refused at=tcp://127.0.0.1:%d" % self.cluster.control_port, self.cluster.log())


class Garbage(unittest.TestCase):
    def setUp(self):
        self.cluster = self.enterContext(
            Cluster(disaggregated(transport="zmq", model={"prefix_cache": False}))
        )
        self.want = self.text()
        decode = self.cluster.worker_pid("decode-0")
        self.sockets = {
            "control": ("127.0.0.1", self.cluster.control_port),
            "native": ("127.0.0.1", self.cluster.client_port),
        }
        for i, at in enumerate(listening(decode)):
            self.sockets["data %d" % i] = at
        self.assertGreater(len(self.sockets), 2)
        self.processes = self.cluster.pids("baton-coordinator") + [decode]

    def text(self):
        return self.cluster.complete(**BODY)["choices"][0]["text"]

    def serves(self):
        self.assertEqual(self.text(), self.want)
        self.assertEqual(self.cluster.metric("baton_workers_lost_total"), 0)

    @staticmethod
    def say(at, data):
        """Stays open until the caller closes it; a peer that hangs up is as good."""
        s = socket.create_connection(at, timeout=60)
        with contextlib.suppress(OSError):
            s.sendall(data)
        return s

    def test_bytes_that_are_no_message_of_ours_change_nothing(self):
        noise = random.Random(14)
        for name, at in self.sockets.items():
            with self.subTest(name), contextlib.ExitStack() as open_ones:
                for data in BAD.values():
                    open_ones.enter_context(self.say(at, data))
                for _ in range(50):
                    open_ones.enter_context(self.say(at, noise.randbytes(noise.randrange(2000))))
                    open_ones.enter_context(self.say(at, HELLO + noise.randbytes(noise.randrange(2000))))
                self.serves()
        for name, at in self.sockets.items():
            if not name.startswith("data"):
                wait_for("a word on it", lambda: "peer refused at=tcp://%s:%d" % at in self.cluster.log())
        refused = re.findall(r"peer refused .*", self.cluster.log())
        self.assertLess(len(refused), 100)  # one a second and socket, however many there were

    def test_a_thousand_half_open_connections_cost_little_memory(self):
        before = [rss_mib(pid) for pid in self.processes]
        for at in self.sockets.values():
            with contextlib.ExitStack() as open_ones:
                for i in range(400):
                    open_ones.enter_context(self.say(at, list(BAD.values())[i % len(BAD)]))
                self.serves()
        grown = [rss_mib(pid) - b for pid, b in zip(self.processes, before)]
        print("grown by %s MiB" % ", ".join("%.1f" % g for g in grown))
        self.assertLess(max(grown), 200)


if __name__ == "__main__":
    unittest.main(verbosity=2)
