"""A cluster on which faults are played: workers that join by hand and suffer what common/base/fault.h names,
streams that live through it, and what the cluster must look like when it is over."""

import datetime
import glob
import math
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/e2e")
from streams import *

REAL = os.environ.get("BATON_FAULT_MODEL") == "smol"
MODEL = SMOL if REAL else TINY
# Many chunks, many segments and few slots, so that each state lasts.
FINE = {
    "model": {"prefix_cache": False},
    "prefill": {"chunk_tokens": 64, "token_budget": 128},
    "handoff": {"segment_kb": 16, "slot_kb": 64 if REAL else 16, "ring_slots": 4},
}
# As the config has them: a build with a sanitizer multiplies them by ten by itself (common/config/config.c).
GONE_MS = 1500 * (2 if REAL else 1)
DETECTING = {"heartbeat_ms": 100, "suspect_ms": GONE_MS // 2, "gone_ms": GONE_MS, "step_age_ms": GONE_MS}
DEADLINE_MS = 1000 * (2 if REAL else 1)


def requests():
    """Long enough that most of them are under way when something happens."""
    return bodies(8, 200, 60) if REAL else bodies(8, 300, 300)


def busy_with(role):
    """What keeps the first worker of the role busy, so that the next request goes to another."""
    if role == "prefill":  # longer than what a worker is assigned beside others
        return bodies(1, 400 if REAL else 2000, 60)[0]
    return bodies(1, 200 if REAL else 300, 120 if REAL else 1600)[0]


class Stage(Cluster):
    """env: what all of its processes find in their environment."""

    def __init__(self, config, env=None):
        self.env = env or {}
        super().__init__(merge(FINE, config), MODEL)

    def environment(self):
        return self.env

    # Who suffers

    def join(self, role, fault=None):
        """A worker that joins by hand; its process, when it is there."""
        process = self.start_worker(role, fault)
        wait_for("worker %d" % process.pid, lambda: self.named(process.pid))
        return process

    def named(self, pid):
        """What the coordinator knows of the worker of this process, when it is ready."""
        mine = [w for w in in_state(self, "ready") if w["name"].endswith("-%d" % pid)]
        return mine[0] if mine else None

    def listed(self, pid):
        return any(w["name"].endswith("-%d" % pid) for w in self.health()[1]["workers"])

    def hits(self):
        """The fault points that were reached so far, each with its time on the clock of time.monotonic."""
        ahead = time.time() - time.monotonic()
        return [
            (point, datetime.datetime.fromisoformat(at + "+00:00").timestamp() - ahead)
            for at, point in re.findall(r"(\S+)Z warn  fault .* fault point point=(\S+)", self.log())
        ]

    def stop(self):
        for process in self.extra:
            if process.poll() is None:
                kill(process.pid, signal.SIGCONT)
        super().stop()

    # What is left

    def rings(self):
        """Receive rings, as the memory files that decode workers have open."""
        count = 0
        for pid in self.pids("baton-decode"):
            for fd in glob.glob("/proc/%d/fd/*" % pid):
                try:
                    count += os.readlink(fd).startswith("/memfd:baton")
                except FileNotFoundError:
                    pass  # closed meanwhile
        return count

    def at_rest(self):
        """Nothing is held anywhere: no request, no hand-off, no page, no ring but one per pair."""
        facts = self.health()[1]
        pairs = len(self.pids("baton-prefill")) * len(self.pids("baton-decode"))
        return (
            self.metric("baton_requests") == 0
            and facts["handoffs_pending"] == 0
            and all(w["assigned"] == 0 for w in facts["workers"])
            and self.pages_used() == 0
            and self.metric("baton_kv_pages_pinned") == 0
            and self.rings() <= pairs
        )

    def wait_at_rest(self):
        wait_for("a cluster in which nothing is held", self.at_rest)


def percentile(values, share):
    """The smallest value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def pauses_after(streams, moment):
    """Of each stream that had not ended by then: the longest wait for something, not counting what of it was
    before the moment."""
    out = []
    for arrivals in streams.arrivals:
        times = [moment] + [t for t in arrivals if t > moment]
        if len(times) > 1:
            out.append(max(b - a for a, b in zip(times, times[1:])))
    return out


def first_after(streams, moment):
    """When the last of the streams that had not ended by then had something new."""
    return max(
        [min(t for t in a if t > moment) for a in streams.arrivals if a and a[-1] > moment] or [moment]
    )


def joined(parts):
    """Streams that were begun one after the other, as one."""
    whole = parts[0]
    for part in parts[1:]:
        part.thread.join(610 * SLOW)
        whole.thread.join(610 * SLOW)
        whole.requests += part.requests
        whole.progress += part.progress
        whole.arrivals += part.arrivals
        whole.raw += part.raw
    return whole


def note(fault, promise, result, pauses=(), **times):
    """What came of a fault: told, and a line of the file that BATON_FAULT_RESULTS names (table.py)."""
    path = os.environ.get("BATON_FAULT_RESULTS")
    row = {"fault": fault, "promise": promise, "result": result, "pauses": list(pauses), **times}
    if path:
        row["run"] = {"model": os.path.basename(MODEL), "gone_ms": GONE_MS, "deadline_ms": DEADLINE_MS}
        row["test"] = os.path.basename(sys.argv[0])
        with open(path, "a") as f:
            f.write(json.dumps(row) + "\n")
    told = "".join(" %s=%.2f" % item for item in times.items())
    print("%s: %s;%s" % (fault, result, told), flush=True)


@contextlib.contextmanager
def played(fault):
    """What goes wrong in the block goes wrong with this fault."""
    try:
        yield
    except Exception as e:
        raise AssertionError("%s: %s" % (fault, e)) from e


def side_by_side(*plays):
    """Calls them at once: most of their time is waiting. The first that fails is raised."""
    parallel(len(plays), lambda play: play(), plays)
