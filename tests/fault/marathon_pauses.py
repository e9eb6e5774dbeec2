"""Where the pauses of a marathon's streams come from: what the coordinator's event log and /trace say of the
requests that a fault hit."""

import bisect
import collections
import json

HITS = ("replay", "handoff_abort")  # events of a request whose worker was lost
STAGES = ("queue", "prefill", "hand-off", "decode wait")


class Steps:
    """The steps of one worker that computed rows of prompts."""

    def __init__(self):
        self.begins, self.ends, self.rows = [], [], []

    def add(self, begin, end, rows):
        self.begins.append(begin)
        self.ends.append(end)
        self.rows.append(rows)

    def rows_between(self, begin, end):
        """Of all steps that ran then, those of the step in whose middle it began too."""
        first = bisect.bisect_right(self.ends, begin)
        last = bisect.bisect_left(self.begins, end)
        return sum(self.rows[first:last])


class Trace:
    """/trace, read line by line: most are steps that decode, and of no interest."""

    def __init__(self, text):
        self.steps = collections.defaultdict(Steps)  # by the worker's number in the trace
        self.spans = collections.defaultdict(list)  # by request: (stage, worker, begin, end), s
        self.prompts = {}  # tokens, by request
        for line in text.splitlines():
            line = line.strip().rstrip(",")
            if line.startswith('{"ph":"X"') and '"prefill_rows":0,' not in line:
                self.add(json.loads(line))
        for spans in self.spans.values():
            spans.sort(key=lambda s: s[2])

    def add(self, e):
        begin, end = e["ts"] / 1e6, (e["ts"] + e["dur"]) / 1e6
        if e["cat"] == "step":
            self.steps[e["pid"]].add(begin, end, e["args"]["prefill_rows"])
        elif "prompt_tokens" in e["args"]:
            self.prompts[e["args"]["req"]] = e["args"]["prompt_tokens"]
        elif "worker" not in e["args"]:  # those that have it are said once more at their worker
            self.spans[e["args"]["req"]].append((e["name"], e["pid"], begin, end))

    def rows_per_s(self):
        """Of all steps together; None where there was none."""
        rows = sum(sum(s.rows) for s in self.steps.values())
        seconds = sum(e - b for s in self.steps.values() for b, e in zip(s.begins, s.ends))
        return rows / seconds if seconds else None


def quantiles(values):
    values = sorted(v for v in values if v is not None)
    at = lambda share: round(values[min(len(values) - 1, int(share * len(values)))], 3) if values else None
    return {"count": len(values), "p50": at(0.5), "p99": at(0.99), "max": at(1)}


class Pauses:
    """Those of the streams that a fault hit, each from the coordinator's notice of it to the next bytes.

    events: of the event log; trace: of the cluster under faults; gaps: (request's name, begin, end) in wall
    time; rows_per_s: of a prefill worker that nobody disturbs."""

    def __init__(self, events, wall, trace, gaps, rows_per_s):
        self.trace, self.rows_per_s = trace, rows_per_s
        self.mono = lambda t: t - wall  # wall time as the coordinator's clock
        self.hits = collections.defaultdict(list)
        for e in events:
            if e["event"] in HITS and e["id"] and e["cause"] != "preempted":
                self.hits[e["id"]].append(e)
        self.lonely = self.without_a_role(events)
        self.next = {(name, begin): end for name, begin, end in gaps}
        self.all = [p for gap in gaps for p in [self.pause(*gap)] if p]
        self.all.sort(key=lambda p: -p["pause_s"])

    @staticmethod
    def without_a_role(events):
        """Spans of time in which one of the two roles had no worker that takes requests."""
        ready = {"prefill": set(), "decode": set()}
        spans, since = [], None
        for e in events:
            if e["role"] not in ready or not e["incarnation"]:
                continue
            if e["event"] in ("ready", "undrain"):
                ready[e["role"]].add(e["incarnation"])
            elif e["event"] in ("suspect", "drain", "left", "gone"):
                ready[e["role"]].discard(e["incarnation"])
            both = all(ready.values())
            if since is None and not both:
                since = e["t_ms"] / 1000
            elif since is not None and both:
                spans.append((since, e["t_ms"] / 1000))
                since = None
        return spans + ([(since, float("inf"))] if since is not None else [])

    def pause(self, name, begin, end):
        """None: nothing hit the request then. A single token from P, while there is no decode worker, ends no
        pause."""
        while (name, end) in self.next and any(b <= self.mono(end) < e for b, e in self.lonely):
            end = self.next[name, end]
        begin, end = self.mono(begin), self.mono(end)
        hits = [h for h in self.hits[name] if begin <= h["t_ms"] / 1000 <= end]
        if not hits:
            return None
        noticed, req = hits[0]["t_ms"] / 1000, hits[0]["req"]
        inside = lambda b, e: max(0.0, min(e, end) - max(b, noticed))
        spans = [s for s in self.trace.spans[req] if inside(s[2], s[3]) > 0]
        # What a worker computed until the replay's token, and what it would take where nobody disturbs it.
        rows = sum(
            self.trace.steps[worker].rows_between(max(b, noticed), min(e, end))
            for stage, worker, b, e in spans
            if stage == "prefill"
        )
        alone = sum(inside(b, e) for b, e in self.lonely)
        return {
            "request": name,
            "pause_s": round(end - noticed, 3),
            "faults": len(hits),
            "without_a_role_s": round(alone, 3),
            "prompt_tokens": self.trace.prompts.get(req),
            **{s + "_s": round(sum(inside(b, e) for n, _, b, e in spans if n == s), 3) for s in STAGES},
            "rows": rows,
            "bound_s": round(rows / self.rows_per_s, 3) if self.rows_per_s else None,
        }

    def summary(self):
        return {
            "prefill_rows_per_s": {
                "undisturbed": self.rows_per_s and round(self.rows_per_s),
                "under_faults": round(self.trace.rows_per_s() or 0) or None,
            },
            "pause": quantiles(p["pause_s"] for p in self.all),
            "pause_with_both_roles": quantiles(p["pause_s"] - p["without_a_role_s"] for p in self.all),
            "bound": quantiles(p["bound_s"] for p in self.all),
            "one_fault": quantiles(p["pause_s"] for p in self.all if p["faults"] == 1),
            "longest": self.all[:5],
        }
