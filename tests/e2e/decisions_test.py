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
# prompts, outputs: from, to; shows: what must be among the decisions
Case = collections.namedtuple("Case", "name roles policy bursts prompts outputs shows")


def case(name, roles, policy=None, bursts=(4, 4), prompts=(24, 134), outputs=(2, 5), shows=""):
    return Case(name, roles, policy, bursts, prompts, outputs, set(shows.split()))


CASES = [
    # Two sequences at D: the third hand-off is parked, and the queue stands behind it.
    case(
        "1P1D",
        {"prefill": Role(1, 64, 4, 128, 64), "decode": Role(1, 64, 2, 2, 16)},
        shows="reserve decode=-",
    ),
    case("2P2D", {"prefill": Role(2, 64, 4, 128, 64), "decode": Role(2, 64, 2, 2, 16)}),
    case("chunked", {"colocated": Role(1, 64, 4, 64, 32)}, "chunked"),
    case("prefill_first", {"colocated": Role(1, 64, 3, 64, 64)}, "prefill_first"),
    # Pools that the requests outgrow: the youngest is preempted and comes again.
    case(
        "chunked in a small pool",
        {"colocated": Role(1, 5, 4, 64, 32)},
        "chunked",
        bursts=(4,),
        prompts=(13, 15),
        outputs=(6, 8),
        shows="preempt",
    ),
    case(
        "1P1D in small pools",
        {"prefill": Role(1, 5, 4, 64, 32), "decode": Role(1, 5, 4, 4, 16)},
        bursts=(4,),
        prompts=(13, 15),
        outputs=(6, 8),
        shows="preempt",
    ),
]
ARRIVAL_MS = 25  # at least between a request's arrival and any end of a step
LATE_MS = 3  # every step may take up to so much longer, and no decision changes
LATE_TRIES = 6
BUSY_MS = 10  # a decision so far from its time may be another one
MESSAGE_MS = 0.5


def terms(scale):
    """(alpha, beta, gamma) of prompts and of decoding, ms"""
    return (60 * scale, 0.4 * scale, 0), (60 * scale, 3 * scale, 0.02 * scale)


def trace_text(case, requests, scale, late=0):
    out = ["role %s %d %d %d %d %d" % ((name,) + role) for name, role in case.roles.items()]
    out.append("policy %s" % (case.policy or "chunked"))
    out.append("latency %g %g %g %g %g %g" % (terms(scale)[0] + terms(scale)[1]))
    out += ["context 1024", "message %g" % MESSAGE_MS]
    if late:
        out.append("late %g %d" % (LATE_MS * scale, late))
    out += ["request %.3f %d %d" % r for r in requests]
    return "\n".join(out) + "\n"


class Decision(collections.namedtuple("Decision", "ms actor text span")):
    pass


def simulate(simulator, case, requests, scale, late=0):
    """Its decisions, and when each request ended."""
    with tempfile.NamedTemporaryFile("w", suffix=".trace") as f:
        f.write(trace_text(case, requests, scale, late))
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
    """No arrival near the end of a step."""
    ends = [d.ms + d.span for d in decisions if d.span]
    return all(abs(end - r[0]) >= ARRIVAL_MS * scale for r in requests for end in ends)


def given(decisions, requests):
    """By worker, when it got something to compute: a prompt, or the KV of one."""
    computed, decode, out = {}, {}, collections.defaultdict(list)
    for d in decisions:
        pairs = dict(p.split("=") for p in d.text.split()[1:])
        if d.text.startswith("step"):
            for req, begin, count in re.findall(r"(\d+):(\d+)\+(\d+)", pairs["rows"]):
                if int(begin) + int(count) == requests[int(req) - 1][1]:
                    computed[req] = d.ms + d.span
        elif "worker" in pairs:
            out[pairs["worker"]].append(d.ms)
        if pairs.get("decode", "-") != "-":
            decode[pairs["req"]] = (pairs["decode"], d.ms)
    for req, (worker, ms) in decode.items():
        out[worker].append(max(ms, computed.get(req, 0)))
    return out


def one_by_one(decisions, requests, scale):
    """A worker that idles begins with the first thing that it gets: a second one must not be near."""
    things = given(decisions, requests)
    ends = collections.defaultdict(float)
    for d in decisions:
        if not d.span:
            continue
        idle = d.ms - ends[d.actor] > MESSAGE_MS / 2
        if idle and sum(-10 < t - d.ms < ARRIVAL_MS * scale for t in things[d.actor]) > 1:
            return False
        ends[d.actor] = d.ms + d.span
    return True


def steadfast(case, decisions, requests, scale):
    """Late steps change nothing: no two workers' steps end so close to each other that it would matter."""
    for late in range(1, LATE_TRIES + 1):
        if first_difference(decisions, simulate("sim-fast", case, requests, scale, late)[0]):
            return False
    return True


def schedule(case, scale, seed):
    """Bursts of requests, the next one when all have ended: what a burst is late does not add up. None: there
    is no moment far from every end of a step, or nothing to see."""
    random, requests, begin = Random(seed), [], 50.0
    for burst in case.bursts:
        at = begin
        for _ in range(burst):
            for attempt in range(400):
                next_at = at + 7 * scale * (attempt % 50) + 30 * scale
                size = [low + random.below(high - low + 1) for low, high in (case.prompts, case.outputs)]
                next_one = requests + [(next_at, *size)]
                decisions = simulate("sim-fast", case, next_one, scale)[0]
                fits = far_apart(decisions, next_one, scale) and one_by_one(decisions, next_one, scale)
                if fits and steadfast(case, decisions, next_one, scale):
                    break
            else:
                return None
            requests, at = next_one, next_at
        decisions, ends = simulate("sim-fast", case, requests, scale)
        begin = max(ends) + 100 * scale
    words = {word for d in decisions for word in d.text.split()}
    return requests if case.shows <= words else None


def schedule_with_what_it_shows(case, scale):
    for seed in range(1, 100):
        requests = schedule(case, scale, seed)
        if requests:
            return requests
    raise AssertionError("%s: no trace shows what it should" % case.name)


LINE = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})Z debug decision +"
    r"(\S+) (route|reserve|step|preempt|no-room) (.*)"
)


def comparable(kind, pairs):
    pairs = re.sub(r" attempt=\d+", "", pairs)
    return kind + " " + re.sub(r" why=.*", "", pairs)


def in_order_of_joining(cluster):
    """What the simulator calls a worker: of equal ones that which joined first is asked first."""
    seen, names = collections.Counter(), {}
    for worker in cluster.health()[1]["workers"]:
        role = worker["name"].rsplit("-", 1)[0]
        names[worker["name"]] = "%s-%d" % (role, seen[role])
        seen[role] += 1
    return names


def of_log(log, names):
    out = []
    for at, actor, kind, pairs in LINE.findall(log):
        ms = datetime.datetime.fromisoformat(at + "+00:00").timestamp() * 1e3
        pairs = re.sub(r"(?<==)[a-z]+-\d+", lambda m: names[m.group()], pairs)
        out.append(Decision(ms, names.get(actor, actor), comparable(kind, pairs), 0))
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
        }
        if name != "decode":
            config[name]["chunk_tokens"] = role.chunk
    if case.policy:
        config["colocated"]["policy"] = case.policy
    return config


def ask(cluster, body, moment):
    """Sends it at that moment, over a connection that is there by then. Returns how late it had left, ms."""
    connection = cluster.connect()
    try:
        connection.connect()
        data, headers = json.dumps(body), {"content-type": "application/json"}
        threading.Event().wait(max(0, moment - time.monotonic()))
        connection.request("POST", "/v1/completions", data, headers)
        late = (time.monotonic() - moment) * 1e3
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status == 200, answer
        assert answer["usage"]["completion_tokens"] == body["max_tokens"], answer
        return late
    finally:
        connection.close()


def run_real(case, requests, scale):
    """The decisions of a real cluster, and how late a request was at most."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
        (pa, pb, pg), (da, db, dg) = terms(scale)
        f.write("prefill: {alpha_ms: %g, beta_ms: %g, gamma_ms: %g}\n" % (pa, pb, pg))
        f.write("decode: {alpha_ms: %g, beta_ms: %g, gamma_ms: %g}\n" % (da, db, dg))
        f.flush()
        with Cluster(config_of(case, scale, f.name), "random:mock") as c:
            names = in_order_of_joining(c)
            begin = time.monotonic() + 0.2

            def one(item):
                i, (at_ms, prompt, output) = item
                body = {"prompt": prompt_ids(prompt, i), "max_tokens": output, "ignore_eos": True}
                return ask(c, dict(body, temperature=0), begin + at_ms / 1e3)

            late = max(parallel(len(requests), one, list(enumerate(requests))))
            c.wait_idle()
            return of_log(c.log(), names), late


def by_actor(decisions):
    out = collections.defaultdict(list)
    for d in decisions:
        out[d.actor].append(d)
    return out


def differences(want, got):
    """By actor, the first: (when at the latest, text)"""
    want, got, out = by_actor(want), by_actor(got), {}
    for actor in sorted(set(want) | set(got)):
        a, b = want[actor], got[actor]
        for i in range(max(len(a), len(b))):
            x, y = a[i].text if i < len(a) else "nothing", b[i].text if i < len(b) else "nothing"
            if x != y:
                at = a[i].ms if i < len(a) else a[-1].ms if a else 0
                out[actor] = (at, "%s decides %s, but here %s" % (actor, x, y))
                break
    return out


def first_difference(want, got):
    """A text, or None."""
    found = differences(want, got)
    return min(found.values())[1] if found else None


def lateness_ms(want, got):
    """How far a decision was from its time at most, by the clock that the first one sets: up to the first
    difference, since what follows that is of no meaning."""
    begin = min((d.ms for d in got), default=0) - min(d.ms for d in want)
    found = differences(want, got)
    until = min(found.values())[0] if found else float("inf")
    worst = 0
    want, got = by_actor(want), by_actor(got)
    for actor in want:
        for a, b in zip(want[actor], got[actor]):
            if a.text != b.text or a.ms > until:
                break
            worst = max(worst, abs(b.ms - begin - a.ms))
    return worst


def compare(case):
    """False: the machine was too busy."""
    for scale in (1, 2, 4):
        requests = schedule_with_what_it_shows(case, scale)
        want, _ = simulate("sim", case, requests, scale)
        for simulator in ("sim-fast", "fleet"):
            other, _ = simulate(simulator, case, requests, scale)
            difference = first_difference(want, other)
            assert not difference, "%s: %s: %s" % (case.name, simulator, difference)
        got, late_request = run_real(case, requests, scale)
        difference, late = first_difference(want, got), max(late_request, lateness_ms(want, got))
        print("%s: %d decisions, at most %.0f ms from their time" % (case.name, len(want), late), flush=True)
        if not difference:
            return True
        text = "%s: the simulator's %s\n" % (case.name, difference)
        text += "\n".join("%10.1f %s %s" % d[:3] for d in want) + "\n-- real\n"
        text += "\n".join("%10.1f %s %s" % d[:3] for d in got)
        assert late >= BUSY_MS * scale, text
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
