#!/usr/bin/env python3
"""One GPU for both roles: a prefill and a decode worker against one colocated worker, in deterministic mode.
The same requests must give the same bytes. Then a prefill and a decode worker as they are started by default:
the fast kernels, and KV pools of all that memory_fraction leaves. Every request must be answered.

serve_check.py --bin FOLDER --model NAME [--backend cuda|cpu]
serve_check.py --bin FOLDER --model NAME --transport nccl   the bytes over this one and over zmq, no more

Everything is started by hand, without mpirun: the coordinator, then each worker with the same config. The
times that it prints show that the path works and nothing else: both roles share one GPU. Prints JSON lines;
exit status 0 when all bytes agree, else 1."""

import argparse
import concurrent.futures
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/e2e"))
from harness import free_ports  # noqa: E402

CONFIG = """cluster:
  name: gpu-check
  http: 127.0.0.1:%(http)d
  control: tcp://127.0.0.1:%(control)d
  client: ""
  oversubscribe: true
model:
  path: %(model)s
  backend: %(backend)s
  max_context: 4096
%(more)sprefill:
  count: %(p)d
  kv_memory_mb: %(mb)d
  memory_fraction: %(fraction)s
decode:
  count: %(d)d
  kv_memory_mb: %(mb)d
  memory_fraction: %(fraction)s
colocated:
  count: %(c)d
  kv_memory_mb: %(mb)d
  memory_fraction: %(fraction)s
handoff:
  transport: %(transport)s
limits:
  suspect_ms: 20000
  gone_ms: 30000
"""


class Failure(Exception):
    pass


def environment(transport, number):
    """NCCL refuses two ranks on one GPU of one host: each process says that it is another host, and they meet
    over loopback. That shows that the code works, and nothing about how fast NCCL is."""
    if transport != "nccl":
        return None
    return dict(
        os.environ,
        NCCL_HOSTID="gpu-check-%d" % number,
        NCCL_NET="Socket",
        NCCL_SOCKET_IFNAME="lo",
        NCCL_IB_DISABLE="1",
    )


class Cluster:
    def __init__(self, o, roles, deterministic, transport="zmq"):
        self.o, self.roles, self.processes, self.transport = o, roles, [], transport
        self.dir = tempfile.TemporaryDirectory(prefix="baton-gpu-check-")
        self.port, control = free_ports(2)
        self.config = os.path.join(self.dir.name, "cluster.yaml")
        self.log_path = os.path.join(self.dir.name, "log")
        more = "  deterministic: true\n" if o.backend == "cuda" and deterministic else ""
        mb = o.kv_mb if o.backend != "cuda" or deterministic else 0
        with open(self.config, "w") as f:
            f.write(
                CONFIG
                % dict(
                    http=self.port,
                    control=control,
                    model=o.model,
                    backend=o.backend,
                    more=more,
                    mb=mb,
                    p=roles.count("prefill"),
                    d=roles.count("decode"),
                    c=roles.count("colocated"),
                    fraction=o.fraction,
                    transport=transport,
                )
            )

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def __enter__(self):
        try:
            with open(self.log_path, "w") as log:
                for number, program in enumerate(["coordinator"] + self.roles):
                    command = [os.path.join(self.o.bin, "baton-" + program), self.config]
                    self.processes.append(
                        subprocess.Popen(
                            command,
                            stdout=log,
                            stderr=log,
                            stdin=subprocess.DEVNULL,
                            env=environment(self.transport, number),
                        )
                    )
            deadline = time.monotonic() + self.o.start
            while not any(line.startswith("ready: ") for line in self.log().splitlines()):
                ended = [p.args[0] for p in self.processes if p.poll() is not None]
                if ended:
                    raise Failure("%s ended at the start:\n%s" % (ended[0], self.log()[-3000:]))
                if time.monotonic() > deadline:
                    raise Failure(
                        "the cluster was not ready within %.0f s:\n%s" % (self.o.start, self.log()[-3000:])
                    )
                time.sleep(0.02)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            print("---- log (end) ----\n" + self.log()[-3000:], file=sys.stderr)
        self.stop()

    def stop(self):
        """The coordinator tells the workers to leave; what does not leave is killed."""
        if self.processes:
            self.processes[0].terminate()
        deadline = time.monotonic() + 6
        for p in self.processes:
            try:
                p.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        self.processes = []
        self.dir.cleanup()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=self.o.request)

    def get(self, path):
        connection = self.connect()
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def complete(self, body):
        connection = self.connect()
        try:
            connection.request(
                "POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"}
            )
            response = connection.getresponse()
            raw = response.read()
            if response.status != 200:
                raise Failure("HTTP %d: %s" % (response.status, raw[:500]))
            return json.loads(raw)
        finally:
            connection.close()

    def stream(self, body):
        """Arrival times of the tokens."""
        connection = self.connect()
        times = []
        try:
            begin = time.monotonic()
            connection.request(
                "POST",
                "/v1/completions",
                json.dumps(dict(body, stream=True)),
                {"content-type": "application/json"},
            )
            for line in connection.getresponse():
                if line.startswith(b"data: {"):
                    choices = json.loads(line[6:]).get("choices", [])
                    if choices and choices[0].get("text"):
                        times.append(time.monotonic() - begin)
            return times
        finally:
            connection.close()

    def counter(self, name):
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in self.get("/metrics").splitlines()
            if line.split("{")[0].split(" ")[0] == name
        )


def requests(lengths, tokens, low, high):
    """Per length one greedy and one drawn; some ask for logprobs, which takes another way through the
    device."""
    out, state = [], 12345
    for i, length in enumerate(lengths):
        prompt = []
        for _ in range(length):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            prompt.append(low + (state >> 33) % (high - low))
        body = {"prompt": prompt, "max_tokens": tokens, "ignore_eos": True}
        out.append(dict(body, temperature=0))
        out.append(dict(body, temperature=0.9, top_p=0.95, seed=1000 + i))
        if i % 2 == 0:
            out.append(dict(body, temperature=0, logprobs=1))
    return out


def answers(cluster, bodies, at_once):
    def one(body):
        answer = cluster.complete(body)
        usage = answer["usage"]
        if usage["prompt_tokens"] != len(body["prompt"]) or usage["completion_tokens"] != body["max_tokens"]:
            raise Failure(
                "usage %s for %d prompt tokens and %d more" % (usage, len(body["prompt"]), body["max_tokens"])
            )
        return answer["choices"]

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, bodies))


def different(reference, got):
    return [i for i, (a, b) in enumerate(zip(reference, got)) if a != b]


def ended(number, frame):
    sys.exit(128 + number)


def model_name(o):
    return o.model[len("random:") :] if o.model.startswith("random:") else os.path.basename(o.model)


def print_time(o, key, value):
    print(
        json.dumps(
            {
                "by": "baton",
                "key": "%s, %s" % (key, model_name(o)),
                "mode": "deterministic",
                "unit": "ms",
                "value": value,
                "ceiling": "",
                "note": "code path only",
            }
        ),
        flush=True,
    )


def measure(o, cluster, name):
    body = {
        "prompt": [300 + i % 100 for i in range(o.prompt)],
        "max_tokens": o.tokens,
        "ignore_eos": True,
        "temperature": 0,
    }
    ttft, tpot = [], []
    for _ in range(5):
        times = cluster.stream(body)
        if len(times) < 2:
            raise Failure("a stream of %d tokens" % len(times))
        ttft.append(1000 * times[0])
        tpot.append(1000 * (times[-1] - times[0]) / (o.tokens - 1))
    print_time(o, "serve %s TTFT prompt %d" % (name, o.prompt), sorted(ttft)[2])
    print_time(o, "serve %s TPOT prompt %d" % (name, o.prompt), sorted(tpot)[2])


def run_transport(o):
    """The same requests over zmq and over the transport, all bytes of KV by it."""
    bodies = requests([int(n) for n in o.lengths.split(",")], o.tokens, 300, 400)
    got = {}
    for transport in ("zmq", o.transport):
        with Cluster(o, ["prefill", "decode"], True, transport) as c:
            got[transport] = answers(c, bodies, 8)
            verified = c.counter("baton_handoffs_verified_total")
            if verified != len(bodies):
                raise Failure("%d hand-offs over %s, want %d" % (verified, transport, len(bodies)))
    which = different(got["zmq"], got[o.transport])
    print(
        json.dumps(
            {
                "by": "baton",
                "key": "serve bytes: zmq and %s, %s" % (o.transport, model_name(o)),
                "mode": "deterministic",
                "unit": "requests that differ",
                "value": len(which),
                "of": len(bodies),
                "which": which[:8],
                "ok": not which,
                "note": "code path only",
            }
        ),
        flush=True,
    )
    return 1 if which else 0


def run(o):
    bodies = requests([int(n) for n in o.lengths.split(",")], o.tokens, 300, 400)
    with Cluster(o, ["prefill", "decode"], True) as c:
        version = json.loads(c.get("/version"))
        reference = answers(c, bodies, 1)
        full = answers(c, bodies, 8)
        verified = c.counter("baton_handoffs_verified_total")
        measure(o, c, "1P+1D")
    with Cluster(o, ["colocated"], True) as c:
        colocated = answers(c, bodies, 8)
        measure(o, c, "colocated")
    with Cluster(o, ["prefill", "decode"], False) as c:
        fast = json.loads(c.get("/version"))
        answers(c, bodies, 8)
        by_default = c.counter("baton_handoffs_verified_total")
    if verified != 2 * len(bodies):
        raise Failure("%d hand-offs verified, want %d: the KV did not travel" % (verified, 2 * len(bodies)))
    distinct = len({json.dumps(a) for a in reference})
    if distinct < len(bodies) // 3:
        raise Failure(
            "only %d different answers to %d requests: equal bytes would say nothing"
            % (distinct, len(bodies))
        )
    bad = {
        "one at a time and 8 at a time": different(reference, full),
        "1P+1D and colocated": different(reference, colocated),
    }
    for what, which in bad.items():
        print(
            json.dumps(
                {
                    "by": "baton",
                    "key": "serve bytes: %s, %s" % (what, model_name(o)),
                    "mode": "deterministic",
                    "unit": "requests that differ",
                    "value": len(which),
                    "of": len(bodies),
                    "which": which[:8],
                    "ok": not which,
                    "version": version,
                }
            ),
            flush=True,
        )
    print(
        json.dumps(
            {
                "by": "baton",
                "key": "serve answers, %s" % model_name(o),
                "mode": "default",
                "unit": "requests",
                "value": len(bodies),
                "ok": by_default == len(bodies),
                "version": fast,
            }
        ),
        flush=True,
    )
    return 1 if any(bad.values()) or by_default != len(bodies) else 0


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", required=True, help="folder of the programs")
    p.add_argument("--model", required=True)
    p.add_argument("--backend", default="cuda")
    p.add_argument("--transport", help="compare it with zmq")
    p.add_argument("--fraction", default="0.4", help="share of the GPU's memory of each worker")
    p.add_argument("--kv-mb", type=int, default=512)
    p.add_argument("--lengths", default="1,15,16,17,33,100,257,1000")
    p.add_argument("--tokens", type=int, default=24)
    p.add_argument("--prompt", type=int, default=512, help="tokens of the prompt that is timed")
    p.add_argument("--start", type=float, default=60, help="seconds to get ready")
    p.add_argument("--request", type=float, default=60, help="seconds for one answer")
    signal.signal(signal.SIGTERM, ended)  # a time limit: the cluster goes too
    try:
        o = p.parse_args()
        return run_transport(o) if o.transport else run(o)
    except (Failure, OSError, http.client.HTTPException) as e:
        print("serve_check.py: %s" % e, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
