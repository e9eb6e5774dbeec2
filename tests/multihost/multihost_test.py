"""A cluster over several hosts (network namespaces of this machine, see hosts.py), started by mpirun, with KV
over the network: its bytes are those of one host, and it survives what networks do.

Usage: multihost_test.py [links]   links: only the figures of narrow links, with the small real model"""

import os
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
from harness import SMOL, TINY, Cluster, disaggregated, merge, parallel, prompt_ids, wait_for  # noqa: E402
from hosts import Hosts, missing  # noqa: E402

# A worker that nobody hears is given up after this long, by the coordinator and on pair channels.
GONE_S = 4
LIMITS = {
    "suspect_ms": 1500,
    "gone_ms": GONE_S * 1000,
    "step_age_ms": 60000,
    "lease_ms": 8000,
    "wait_prefill_ms": 60000,
    "wait_kv_ms": 60000,
    "decode_token_ms": 60000,
}
BODY = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}


class Spread(Cluster):
    """The coordinator and the prefill worker on the first host, a decode worker on each of the others."""

    def __init__(self, hosts, model=TINY, **over):
        self.hosts = hosts
        self.there = hosts.address(0)
        ports = {"http": "%s:8000", "control": "tcp://%s:8001", "client": "tcp://%s:8002"}
        config = {
            "cluster": {key: form % self.there for key, form in ports.items()},
            "decode": {"hosts": ["%s:4" % hosts.address(i) for i in range(1, hosts.count)]},
            "limits": LIMITS,
        }
        base = disaggregated(p=1, d=hosts.count - 1, transport="auto", **over)
        super().__init__(merge(base, config), model, start=False)
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
            {"OMPI_MCA_" + key: value for key, value in mca.items()}, BATON_HOST_ID="first", NO_PROXY="*"
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
                with fault(1):
                    time.sleep(1)  # shorter than anybody's patience: what is lost is sent again
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
            self.assertEqual(c.pages_used(), 0)


class Links(unittest.TestCase):
    def setUp(self):
        if not os.path.exists(SMOL):
            self.skipTest("no %s: deploy/fetch-model.sh smollm2" % SMOL)
        self.hosts = Hosts(2).__enter__()
        self.addCleanup(self.hosts.__exit__, None, None, None)

    def test_the_handoff_hides_behind_prefill_as_far_as_the_link_allows(self):
        """exposed = max(0, T_transfer - T_prefill) + T_transfer / layers (+ one latency)"""
        tokens, layers, token_bytes = 512, 30, 22.5 * 1024
        print("%d tokens, %.1f MB of KV" % (tokens, tokens * token_bytes / 1e6))
        with Spread(self.hosts, SMOL) as c:
            c.all_there()
            for rate, bits in (("20mbit", 20e6), ("100mbit", 100e6), ("1gbit", 1e9), (None, None)):
                with self.hosts.narrow(rate) if rate else self.hosts.between([], []):
                    rows = []
                    for seed in range(1 if rate == "20mbit" else 3):
                        body = dict(BODY, prompt=prompt_ids(tokens, seed), timings=True)
                        t = c.complete(**body)["usage"]["timings"]
                        rows.append((t["handoff_ms"], t["prefill_ms"]))
                exposed, prefill = sorted(rows)[len(rows) // 2]
                transfer = tokens * token_bytes * 8 / bits * 1e3 if bits else 0
                formula = max(0, transfer - prefill) + transfer / layers
                print(
                    "%-9s transfer %7.1f ms, prefill %7.1f ms, exposed %7.1f ms, by the formula %7.1f ms"
                    % (rate or "unlimited", transfer, prefill, exposed, formula)
                )
                # Headers and acknowledgements, a slot of 1 MiB that is the last to leave, a busy machine.
                self.assertLess(exposed, 1.5 * formula + (8.4e6 / bits * 1e3 if bits else 0) + 500)


if __name__ == "__main__":
    why = missing()
    if why:
        print("skipped: " + why)
        sys.exit(0)
    names = ["Links"] if sys.argv[1:] == ["links"] else ["MultiHost"]
    unittest.main(argv=[sys.argv[0]] + names, verbosity=2)
