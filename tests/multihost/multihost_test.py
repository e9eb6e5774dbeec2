"""A cluster over several hosts (network namespaces of this machine, see hosts.py), started by mpirun, with KV
over the network: its bytes are those of one host, and it survives what networks do.

Usage: multihost_test.py [links [TOKENS,...]]   links: only the figures of narrow links, small real model"""

import os
import subprocess
import sys
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import (
    BIN,
    SMOL,
    TINY,
    Cluster,
    disaggregated,
    merge,
    parallel,
    prompt_ids,
    wait_for,
)  # noqa: E402
from hosts import Hosts, enter  # noqa: E402

# A worker that nobody hears is given up after this long, by the coordinator and on pair channels. A cut that
# heals when a worker is suspect leaves TCP two tries before that.
GONE_S = 4
LIMITS = {
    "suspect_ms": 600,
    "gone_ms": GONE_S * 1000,
    "step_age_ms": 60000,
    "lease_ms": 8000,
    "wait_prefill_ms": 60000,
    "wait_kv_ms": 60000,
    "decode_token_ms": 60000,
}
BODY = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}


class Spread(Cluster):
    """The coordinator and the prefill worker on the first host, a decode worker on each of the others; with
    two prefill workers, the second on the last host."""

    def __init__(self, hosts, model=TINY, prefill=1, over={}, login_s=0):
        self.hosts = hosts
        self.login_s = login_s
        self.there = hosts.address(0)
        ports = {"http": "%s:8000", "control": "tcp://%s:8001", "client": "tcp://%s:8002"}
        # What crosses between hosts proves a key; the API is open to all of this network.
        keys = tempfile.TemporaryDirectory(prefix="baton-keys-")
        self.keys = keys
        subprocess.run([BIN + "/baton-ctl", "keygen", keys.name], check=True, stdout=subprocess.DEVNULL)
        files = {"key_file": "cluster.key", "client_key_file": "client.key"}
        cluster = {key: form % self.there for key, form in ports.items()}
        cluster.update({key: "%s/%s" % (keys.name, name) for key, name in files.items()}, insecure=True)
        config = {
            "cluster": cluster,
            "prefill": {"hosts": ["%s:4" % hosts.address(i) for i in (0, hosts.count - 1)]},
            "decode": {"hosts": ["%s:4" % hosts.address(i) for i in range(1, hosts.count)]},
            "limits": LIMITS,
        }
        base = disaggregated(p=prefill, d=hosts.count - 1, transport="auto")
        super().__init__(merge(merge(base, config), over), model, start=False)
        self.http_port = 8000  # nobody else listens there
        self.start()

    def launcher(self):
        return list(self.hosts.inside(0)) + ["unshare", "-u", "sh", "-c", 'hostname "$0"; exec "$@"', "first"]

    def environment(self):
        mca = {
            "plm_rsh_agent": self.hosts.agent,
            "oob_tcp_if_include": self.hosts.network,
            "btl_tcp_if_include": self.hosts.network,
        }
        return dict(
            {"OMPI_MCA_" + key: value for key, value in mca.items()},
            BATON_HOST_ID="first",
            BATON_LOGIN_S=str(self.login_s),
            NO_PROXY="*",
        )

    def ready_line(self):
        return "ready: http://%s:8000 " % self.there

    def text(self, seed, count=100, **more):
        answer = self.complete(prompt=prompt_ids(count, seed), **dict(BODY, **more))
        return answer["choices"][0]["text"]

    def pairs(self):
        return sorted((p["decode"], p["transport"], p["open"]) for p in self.health()[1]["pairs"])

    def all_there(self):
        both = [("decode-%d" % i, "zmq", True) for i in range(self.hosts.count - 1)]
        wait_for("all pairs", lambda: [(n.split("#")[0], t, o) for n, t, o in self.pairs()] == both)


class MultiHost(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Cluster(disaggregated()) as one:
            cls.want = {seed: cls.ask(one, seed) for seed in range(12)}

    @staticmethod
    def ask(c, seed):
        return c.complete(prompt=prompt_ids(100, seed), **BODY)["choices"][0]["text"]

    def setUp(self):
        self.hosts = Hosts(3).__enter__()
        self.addCleanup(self.hosts.__exit__, None, None, None)

    def same(self, c):
        answers = parallel(6, lambda seed: self.ask(c, seed), sorted(self.want))
        self.assertEqual(dict(zip(sorted(self.want), answers)), self.want)

    def test_bytes_are_those_of_one_host_also_when_packets_are_lost(self):
        with Spread(self.hosts) as c:
            c.all_there()
            self.same(c)
            with self.hosts.lossy(1, 0.05), self.hosts.lossy(2, 0.05):
                self.same(c)

    def test_a_link_that_is_down_for_a_moment_loses_nothing(self):
        with Spread(self.hosts) as c:
            c.all_there()
            for fault in (self.hosts.cut, self.hosts.dropped):
                with ThreadPoolExecutor(1) as pool:
                    with fault(1):
                        asked = pool.submit(self.same, c)
                        wait_for(
                            "a suspect", lambda: "suspect" in [w["state"] for w in c.health()[1]["workers"]]
                        )
                    asked.result()
                self.same(c)
            self.assertEqual(c.metric("baton_workers_lost_total"), 0)

    def test_a_host_that_vanishes_is_given_up_and_comes_back(self):
        """Nothing says a word: no reset, no end of a connection."""
        with Spread(self.hosts) as c:
            for fault in (self.hosts.cut, self.hosts.dropped):
                c.all_there()
                lost = c.metric("baton_workers_lost_total")
                ended = c.log().count("pair ended peer")
                with fault(1):
                    begun = time.monotonic()
                    self.same(c)  # what was there is computed again by the other
                    wait_for("a lost worker", lambda: c.metric("baton_workers_lost_total") == lost + 1)
                    print("given up and served elsewhere after %.1f s" % (time.monotonic() - begun))
                    wait_for("one pair", lambda: len(c.pairs()) == 1)
                    # At the prefill worker: the peer left, or TCP gave up.
                    wait_for("the end of a pair", lambda: c.log().count("pair ended peer") > ended)
                c.all_there()  # it joins anew, with a new pair
                self.same(c)
            c.wait_idle()

    def test_a_host_with_both_roles_that_vanishes_leaves_no_pair_and_no_ring(self):
        """prefill-1 and decode-1: their pairs end at decode-0 and prefill-0, which heard no reset."""
        # Longer than up.sh looks twice for a coordinator that has ended already.
        with Spread(self.hosts, prefill=2, login_s=1) as c:
            wait_for("all pairs", lambda: [p[2] for p in c.pairs()] == [True] * 4)
            self.same(c)
            left = [" %s pair ended peer=" % name for name in ("decode-0", "prefill-0")]
            before = [c.log().count(line) for line in left]
            with self.hosts.dropped(2):
                self.same(c)
                wait_for("lost workers", lambda: c.metric("baton_workers_lost_total") == 2)
                wait_for("both ends", lambda: all(c.log().count(l) > n for l, n in zip(left, before)))
            wait_for("all pairs again", lambda: [p[2] for p in c.pairs()] == [True] * 4)
            self.same(c)
            c.wait_idle()

    def test_without_a_decode_host_the_error_comes_in_time_and_service_comes_back(self):
        with Spread(self.hosts, over={"limits": {"wait_prefill_ms": 1500}}) as c:
            c.all_there()
            with self.hosts.dropped(1), self.hosts.dropped(2):
                wait_for("lost workers", lambda: c.metric("baton_workers_lost_total") == 2)
                begun = time.monotonic()
                status, answer = c.post("/v1/completions", dict(BODY, prompt=prompt_ids(100, 1)))
                print("no decode host: %d after %.1f s" % (status, time.monotonic() - begun))
                self.assertEqual(status, 503, answer)
                self.assertIn("there was no decode worker within 1500 ms", answer["error"]["message"])
            c.all_there()
            self.same(c)
            c.wait_idle()


class Mock(unittest.TestCase):
    """Steps that take the time that is said here; their KV crosses the link as any other's. Exposed: what the
    second token, decode's first, comes later than one step after the first."""

    TOKENS, LAYERS, TOKEN_BYTES, PREFILL_MS, STEP_MS, ROUNDS = 16384, 4, 256, 200.0, 20.0, 10

    def setUp(self):
        self.hosts = Hosts(2).__enter__()
        self.addCleanup(self.hosts.__exit__, None, None, None)

    def exposed(self, c, seed):
        at = []
        body = {"prompt": prompt_ids(self.TOKENS, seed), "max_tokens": 4, "ignore_eos": True}
        c.stream("/v1/completions", body, lambda _: at.append(time.monotonic()))
        return 1e3 * (at[1] - at[0]) - self.STEP_MS

    def measure(self, c, rate, bits):
        transfer = self.TOKENS * self.TOKEN_BYTES * 8 / bits * 1e3 if bits else 0
        # The link works from the first layer's end on: what it lags behind, and what is left for the last
        # layer's share.
        formula = max(0, transfer - self.PREFILL_MS) + min(transfer, self.PREFILL_MS) / self.LAYERS
        times = []
        with self.hosts.narrow(rate) if rate else self.hosts.between([], []):
            # A busy machine delays some. Were the KV sent after the prompt, none would be below `transfer`.
            while len(times) < 3 or (bits and min(times) >= transfer and len(times) < self.ROUNDS):
                times.append(self.exposed(c, len(times) + 1))
        row = (rate or "unlimited", transfer, formula, sorted(times)[len(times) // 2], min(times))
        print("%-9s transfer %6.1f ms, by the formula %6.1f ms, exposed %6.1f ms, at least %6.1f ms" % row)
        if bits:
            self.assertLess(min(times), transfer)
        self.assertGreater(max(times), (transfer - self.PREFILL_MS) / 2)  # the link is as narrow as it says

    def test_the_handoff_of_a_prompt_of_known_time_hides_as_the_formula_says(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(folder + "/latency.yaml", "w") as f:
                for role, ms in (("prefill", self.PREFILL_MS), ("decode", self.STEP_MS)):
                    f.write("%s: {alpha_ms: %g, beta_ms: 0, gamma_ms: 0}\n" % (role, ms))
            over = {
                "model": {"backend": "mock", "prefix_cache": False},
                "mock": {"latency": folder + "/latency.yaml"},
                "prefill": {"token_budget": self.TOKENS, "chunk_tokens": self.TOKENS},
                "handoff": {"segment_kb": 16},
            }
            with Spread(self.hosts, "random:mock", over=over) as c:
                c.all_there()
                self.exposed(c, 0)
                print("\n%d tokens, %.1f MB of KV" % (self.TOKENS, self.TOKENS * self.TOKEN_BYTES / 1e6))
                for rate, bits in ((None, None), ("1gbit", 1e9), ("100mbit", 1e8)):
                    self.measure(c, rate, bits)


class Links(unittest.TestCase):
    def setUp(self):
        if not os.path.exists(SMOL):
            self.skipTest("no %s: deploy/fetch-model.sh smollm2" % SMOL)
        self.hosts = Hosts(2).__enter__()
        self.addCleanup(self.hosts.__exit__, None, None, None)

    LAYERS, TOKEN_BYTES = 30, 22.5 * 1024
    tokens = [512]  # of prompts; the command line may say others

    def measure(self, c, tokens, rate, bits):
        """The text of the first, after a line with the medians."""
        rows = []
        with self.hosts.narrow(rate) if rate else self.hosts.between([], []):
            for seed in range(1 if rate == "20mbit" else 3):
                answer = c.complete(**BODY, prompt=prompt_ids(tokens, seed), timings=True)
                t = answer["usage"]["timings"]
                rows.append((t["handoff_ms"], t["prefill_ms"], answer["choices"][0]["text"]))
        exposed, prefill, _ = sorted(rows)[len(rows) // 2]
        transfer = tokens * self.TOKEN_BYTES * 8 / bits * 1e3 if bits else 0
        formula = max(0, transfer - prefill) + transfer / self.LAYERS
        print(
            "%5d tokens, %-9s transfer %7.1f ms, prefill %7.1f ms, exposed %7.1f ms, by the formula %7.1f ms"
            % (tokens, rate or "unlimited", transfer, prefill, exposed, formula)
        )
        if rate == "20mbit":  # it is as narrow as it says: nothing is faster than the link
            self.assertGreater(exposed, formula / 2)
        return rows[0][2]

    def test_the_handoff_hides_behind_prefill_as_far_as_the_link_allows(self):
        """exposed = max(0, T_transfer - T_prefill) + T_transfer / layers (+ one latency)"""
        rates = (("20mbit", 20e6), ("100mbit", 100e6), ("1gbit", 1e9), (None, None))
        with Spread(self.hosts, SMOL) as c:
            c.all_there()
            for tokens in self.tokens:
                texts = {self.measure(c, tokens, rate, bits) for rate, bits in rates}
                self.assertEqual(len(texts), 1)  # the same bytes over any link


if __name__ == "__main__":
    why = enter()
    if why:
        print("skipped: " + why)
        sys.exit(77)
    if sys.argv[1:2] == ["links"] and sys.argv[2:]:
        Links.tokens = [int(n) for n in sys.argv[2].split(",")]
    names = ["Links"] if sys.argv[1:2] == ["links"] else ["MultiHost", "Mock"]
    unittest.main(argv=[sys.argv[0]] + names, verbosity=2)
