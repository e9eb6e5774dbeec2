#!/usr/bin/env python3
"""What a real cluster decides is what the simulators decide: routes, reservations, the rows of every step,
preemptions, one by one.

Steps of mock workers take so long, and requests come so far from every end of a step, that no delay of the
machine or of the network changes an order: the times are chosen with the simulator first. Where a machine is
so busy that a step or a request was late nevertheless, the times in the log show it: then the trace is run
again with longer steps, and at last the comparison is skipped, which the test says.

decisions_test.py [CASE]..."""

import collections
import datetime
import sys

from harness import *

TRACE = os.path.dirname(os.path.abspath(BIN)) + "/tests/plan-trace"
SKIPPED = 77

# Of a worker: pages, sequences, rows of a step, tokens of a chunk
Role = collections.namedtuple("Role", "count pages seqs rows chunk")
Case = collections.namedtuple("Case", "name roles policy bursts")
NONE = Role(0, 0, 0, 0, 0)

CASES = [
    # Two sequences at D: the third hand-off is parked, and the queue stands behind it.
    Case("1P1D", {"prefill": Role(1, 64, 4, 128, 64), "decode": Role(1, 64, 2, 2, 16)}, None, (4, 4)),
    Case("2P2D", {"prefill": Role(2, 64, 4, 128, 64), "decode": Role(2, 64, 2, 2, 16)}, None, (4, 4)),
    # A pool that two requests fill as they grow: the younger one is preempted.
    Case("chunked", {"colocated": Role(1, 15, 4, 64, 32)}, "chunked", (4, 3)),
    Case("prefill_first", {"colocated": Role(1, 64, 3, 64, 64)}, "prefill_first", (4, 4)),
]
ARRIVAL_MS = 25  # at least between a request's arrival and any end of a step
STEP_MS = 12  # at least between the ends of two workers' steps
MESSAGE_MS = 0.5


def terms(scale):
    """(alpha, beta, gamma) of prompts and of decoding, ms"""
    return (60 * scale, 0.4 * scale, 0), (60 * scale, 3 * scale, 0.02 * scale)


def trace_text(case, requests, scale):
    out = ["role %s %d %d %d %d %d" % ((name,) + role) for name, role in case.roles.items()]
    out.append("policy %s" % (case.policy or "chunked"))
    out.append("latency %g %g %g %g %g %g" % (terms(scale)[0] + terms(scale)[1]))
    out += ["context 1024", "message %g" % MESSAGE_MS]
    out += ["request %.3f %d %d" % r for r in requests]
    return "\n".join(out) + "\n"


class Decision(collections.namedtuple("Decision", "ms actor text span")):
    pass


def simulate(simulator, case, requests, scale):
    """Its decisions, and when each request ended."""
    with tempfile.NamedTemporaryFile("w", suffix=".trace") as f:
        f.write(trace_text(case, requests, scale))
        f.flush()
        run = subprocess.run([TRACE, simulator, f.name], capture_output=True, text=True, timeout=60 * SLOW)
    assert run.returncode == 0, run.stderr
    decisions, ends = [], []
    for line in run.stdout.splitlines():
        ms, actor, text = line.split(" ", 2)
        if actor == "client":
            ends.append(float(ms))
            continue
        text, _, span = text.partition(" span=")
        decisions.append(Decision(float(ms), actor, text, float(span or 0)))
    return decisions, ends


def far_apart(decisions, requests, scale):
    """No arrival near the end of a step, nor an end of one worker's step near one of another's."""
    ends = [(d.ms + d.span, d.actor) for d in decisions if d.span]
    arrivals = [(r[0], "client") for r in requests]
    moments = sorted(ends + arrivals)
    for i, (at, who) in enumerate(moments):
        for other_at, other in moments[i + 1 :]:
            if other_at - at >= ARRIVAL_MS * scale:
                break
            if "client" in (who, other):
                return False
            if who != other and other_at - at < STEP_MS * scale:
                return False
    return True


def schedule(case, scale, seed):
    """Bursts of requests, the next one when all have ended: what a burst is late does not add up."""
    random, requests, begin = Random(seed), [], 50.0
    for size in case.bursts:
        at = begin
        for _ in range(size):
            for attempt in range(400):
                next_at = at + 7 * scale * (attempt % 50) + 30 * scale
                next_one = requests + [(next_at, 24 + random.below(110), 2 + random.below(4))]
                if far_apart(simulate("sim-fast", case, next_one, scale)[0], next_one, scale):
                    break
            else:
                raise AssertionError("%s: no moment is far from every end of a step" % case.name)
            requests, at = next_one, next_at
        begin = max(simulate("sim-fast", case, requests, scale)[1]) + 100 * scale
    return requests


LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z debug decision +(\S+) (route|reserve|step|preempt|no-room) (.*)"
)


def comparable(kind, pairs):
    pairs = re.sub(r" attempt=\d+", "", pairs)
    return kind + " " + re.sub(r" why=.*", "", pairs)


def of_log(log):
    out = []
    for at, actor, kind, pairs in LINE.findall(log):
        ms = datetime.datetime.fromisoformat(at + "+00:00").timestamp() * 1e3
        out.append(Decision(ms, actor, comparable(kind, pairs), 0))
    return out


def config_of(case, scale, latency_path):
    config = {
        "cluster": {"log_level": "debug"},
        "model": {"backend": "mock", "max_context": 1024, "prefix_cache": False},
        "mock": {"latency": latency_path},
        "handoff": {"transport": "shm", "slot_kb": 64, "segment_kb": 4},
    }
    for name, role in case.roles.items():
        config[name] = {
            "count": role.count,
            "cores": 1,
            "kv_pages": role.pages,
            "max_seqs": role.seqs,
            "token_budget": role.rows,
            "chunk_tokens": role.chunk,
        }
    if case.policy:
        config["colocated"]["policy"] = case.policy
    return config


def run_real(case, requests, scale):
    """The decisions of a real cluster."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        (pa, pb, pg), (da, db, dg) = terms(scale)
        f.write("prefill: {alpha_ms: %g, beta_ms: %g, gamma_ms: %g}\n" % (pa, pb, pg))
        f.write("decode: {alpha_ms: %g, beta_ms: %g, gamma_ms: %g}\n" % (da, db, dg))
        f.flush()
        with Cluster(config_of(case, scale, f.name), "random:mock") as c:
            begin = time.monotonic() + 0.2

            def one(item):
                i, (at_ms, prompt, output) = item
                body = {"prompt": prompt_ids(prompt, i), "max_tokens": output, "ignore_eos": True}
                body["temperature"] = 0
                threading.Event().wait(max(0, begin + at_ms / 1e3 - time.monotonic()))
                answer = c.complete(**body)
                assert answer["usage"]["completion_tokens"] == output, answer

            parallel(len(requests), one, list(enumerate(requests)))
            c.wait_idle()
            return of_log(c.log())


def by_actor(decisions):
    out = collections.defaultdict(list)
    for d in decisions:
        out[d.actor].append(d)
    return out


def first_difference(want, got):
    """A text, or None."""
    want, got = by_actor(want), by_actor(got)
    for actor in sorted(set(want) | set(got)):
        a, b = [d.text for d in want[actor]], [d.text for d in got[actor]]
        for i in range(max(len(a), len(b))):
            x = a[i] if i < len(a) else "nothing"
            y = b[i] if i < len(b) else "nothing"
            if x != y:
                return "%s, decision %d: %s, but here %s" % (actor, i, x, y)
    return None


def lateness_ms(want, got):
    """How far a decision was from its time at most: from the clock that the first route sets."""
    begin = min((d.ms for d in got), default=0) - min(d.ms for d in want)
    worst = 0
    want, got = by_actor(want), by_actor(got)
    for actor in want:
        for a, b in zip(want[actor], got[actor]):
            worst = max(worst, abs(b.ms - begin - a.ms))
    return worst


def compare(case, seed=1):
    """False: the machine was too busy."""
    for scale in (1, 2, 4):
        requests = schedule(case, scale, seed)
        want, _ = simulate("sim", case, requests, scale)
        for simulator in ("sim-fast", "fleet"):
            other, _ = simulate(simulator, case, requests, scale)
            difference = first_difference(want, other)
            assert not difference, "%s: %s: %s" % (case.name, simulator, difference)
        got = run_real(case, requests, scale)
        difference, late = first_difference(want, got), lateness_ms(want, got)
        print("%s: %d decisions, at most %.0f ms from their time" % (case.name, len(want), late), flush=True)
        if not difference:
            return True
        text = "%s: the simulator's %s\n" % (case.name, difference)
        text += "\n".join("%10.1f %s %s" % d[:3] for d in want) + "\n-- real\n"
        text += "\n".join("%10.1f %s %s" % d[:3] for d in got)
        assert late >= STEP_MS * scale / 2, text
        print("%s: not compared, since a decision was %.0f ms late: steps as long again" % (case.name, late))
    print("SKIPPED %s: this machine is too busy to keep times" % case.name, flush=True)
    return False


def main():
    cases = [case for case in CASES if case.name in sys.argv[1:] or len(sys.argv) == 1]
    assert cases, "cases: %s" % [case.name for case in CASES]
    done = parallel(len(cases), compare, cases)
    if not all(done):
        sys.exit(SKIPPED)


main()
