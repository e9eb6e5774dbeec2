#!/usr/bin/env python3
"""What the coordinator shows of a running cluster: the trace, as a reader of it needs it, and the live page,
in a headless Chromium."""

import http.server
import unittest

import browser
from harness import *

needs_browser = unittest.skipUnless(browser.PROGRAM, "chromium is not installed")
DEADLINE = 120 * SLOW


class Live(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.c = Cluster(disaggregated(limits={"heartbeat_ms": 50}))

    @classmethod
    def tearDownClass(cls):
        cls.c.stop()
        cls.c.dir.cleanup()

    def ask(self, tokens=12):
        return self.c.complete(prompt=prompt_ids(tokens), max_tokens=8, temperature=0, ignore_eos=True)

    def trace(self, query=""):
        status, raw = self.c.get("/trace" + query)
        self.assertEqual(status, 200, raw)
        return json.loads(raw)["traceEvents"]

    def test_the_trace_has_every_request_with_its_workers_and_the_steps_that_computed_it(self):
        parallel(4, self.ask, range(10, 30))
        # A step is told by the heartbeat after it.
        steps = lambda: {
            (e["pid"], e["name"]) for e in self.trace() if e["ph"] == "X" and e.get("cat") == "step"
        }
        wait_for("steps of both workers", lambda: {name for _, name in steps()} >= {"prefill", "decode"})
        events = self.trace("?last=20")
        names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
        self.assertEqual(sorted(names.values()), ["coordinator", "decode-0", "prefill-0"])
        requests = [e for e in events if e["name"].startswith("request ")]
        self.assertEqual(len(requests), 20)
        self.assertEqual(len({e["args"]["req"] for e in requests}), 20)
        for e in requests:
            a = e["args"]
            self.assertEqual((a["prefill"], a["decode"], a["end"]), ("prefill-0", "decode-0", "done"))
            self.assertEqual((a["output_tokens"], a["attempts"]), (8, 1))
            mine = [
                s for s in events if s["ph"] == "X" and s.get("args", {}).get("req") == a["req"] and s != e
            ]
            stages = ["queue", "prefill", "hand-off", "decode wait", "decode"]
            self.assertEqual([s["name"] for s in mine if names[s["pid"]] == "coordinator"], stages)
            self.assertEqual([s["name"] for s in mine if names[s["pid"]] == "prefill-0"], stages[1:3])
            self.assertEqual([s["name"] for s in mine if names[s["pid"]] == "decode-0"], stages[3:])
        arrows = {p: {e["id"] for e in events if e["ph"] == p} for p in "sf"}
        self.assertEqual(len(arrows["s"]), 20)
        self.assertEqual(arrows["s"], arrows["f"])
        self.assertEqual(len([e for e in self.trace("?last=3") if e["name"].startswith("request ")]), 3)

    def test_a_request_that_hangs_is_in_the_trace(self):
        mine = lambda: [
            e["args"]
            for e in self.trace("?last=4096")
            if e["name"].startswith("request ") and e["args"]["prompt_tokens"] == 77
        ]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            with self.c.stopped("prefill-0"):
                answer = pool.submit(self.ask, 77)
                found = wait_for("it is at a worker", lambda: [a for a in mine() if a["prefill"]])
                self.assertEqual([(a["end"], a["prefill"]) for a in found], [("alive", "prefill-0")])
            answer.result()
        self.assertEqual([a["end"] for a in mine()], ["done"])

    def test_a_bad_number_is_refused_with_the_remedy(self):
        status, raw = self.c.get("/trace?last=none")
        self.assertEqual(status, 400)
        self.assertIn("a number from 1 to 4096", json.loads(raw)["error"]["message"])

    def test_a_reader_of_the_events_gets_what_was_and_what_is(self):
        self.ask()
        connection = self.c.connect()
        connection.request("GET", "/events")
        response = connection.getresponse()
        self.assertEqual(response.getheader("content-type"), "text/event-stream; charset=utf-8")
        events = []
        while len(events) < 3:  # history, the state now, and that of a second later
            line = response.readline().decode()
            if line.startswith("data: "):
                events.append(json.loads(line[6:]))
        connection.close()
        self.assertEqual(events[0]["ended"][-1][2:5], ["done", 12, 8])
        self.assertEqual([w["name"] for w in events[2]["workers"]].count("decode-0"), 1)
        self.assertGreater(events[2]["t_ms"], events[1]["t_ms"])

    @needs_browser
    def test_the_page_shows_workers_and_requests_and_says_when_the_connection_is_lost(self):
        with Cluster(disaggregated()) as c, browser.Browser(DEADLINE) as b:
            b.look(1400)
            b.open("http://127.0.0.1:%d/#ttft=600000&tpot=600000" % c.http_port)
            for text in ("prefill-0", "decode-0", "None has ended yet", "live"):
                b.wait_text(text)
            for i in range(3):
                c.complete(prompt=prompt_ids(20 + i), max_tokens=5, temperature=0, ignore_eos=True)
            for text in ("21+5", "100.0 % of 3 within both limits"):
                b.wait_text(text)
            self.assertEqual(b.value("document.querySelectorAll('#last li').length"), 3)
            b.look(390)
            b.value("draw()")
            self.assertEqual(b.value("document.documentElement.scrollWidth"), 390)
            c.stop()
            b.wait_text("no connection to the coordinator")
            c.start()
            b.wait("the page to be live again", "document.getElementById('link').textContent == 'live'")
            b.wait_text("None has ended yet")


def handler_of(events):
    """Serves the page's files, and these events."""
    files = {"/": "page.html", "/live.js": "page.js", "/live.css": "page.css"}

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            name = files.get(self.path, "")
            types = {"html": "text/html", "js": "text/javascript", "css": "text/css", "": "text/event-stream"}
            self.send_response(200)
            self.send_header("content-type", types[name.rpartition(".")[2]])
            self.end_headers()
            if name:
                with open(ROOT + "/coordinator/live/" + name, "rb") as f:
                    self.wfile.write(f.read())
                return
            for event, data in events:
                self.wfile.write(("event: %s\ndata: %s\n\n" % (event, json.dumps(data))).encode())

    return Handler


def many_workers(count, t_ms):
    name = lambda i: "<b>prefill</b>-%d" % i if i % 2 else "decode-%d" % i
    return {
        "t_ms": t_ms,
        "status": "degraded",
        "model": "<script>m</script>",
        "version": "1",
        "backend": "cpu",
        "requests": {"queued": 41, "prefill": 0, "wait_kv": 1, "decode": 2},
        "workers": [
            {
                "name": name(i),
                "host": "h",
                "role": "prefill" if i % 2 else "decode",
                "state": "SUSPECT" if i == 7 else "READY",
                "running": 1,
                "waiting": 2,
                "parked": 0,
                "assigned": 3,
                "pages": [50, 100],
                "step_age_ms": 0,
                "busy_s": [t_ms / 4000, t_ms / 8000, 0],
            }
            for i in range(count)
        ],
        "handoffs": {"count": 1, "oldest": [[77, name(1), None, 1234.5]]},
        "ended": [],
        "left_out": 0,
    }


@needs_browser
class Page(unittest.TestCase):
    """The page alone, with events that no cluster on two cores would give."""

    def show(self, b, events, look):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler_of(events))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            b.open("http://127.0.0.1:%d/" % server.server_port)
            look()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def test_goodput_counts_who_left_as_missed_and_stands_for_those_left_out(self):
        row = lambda i, end, ttft: [i, 19000.0 + i, end, 30, 2, ttft, None, 400.0, 1, None]
        ended = [row(1, "done", 100.0), row(2, "done", 200.0), row(3, "canceled", 100.0)]
        now = dict(many_workers(2, 20000), ended=ended, left_out=3)
        events = [("history", {"t_ms": 1e4, "left_out": 0, "ended": []}), ("state", now)]
        with browser.Browser(DEADLINE) as b:

            def look():
                b.wait_text("66.7 % of 6 within both limits, 2 canceled count as not")
                self.assertIn("0.40 requests/s", b.text())  # 4 in the 10 s that are known
                self.assertIn("estimated from a sample", b.text())
                points = "document.querySelector('#chart-good .%s').getAttribute('d')"
                # Of 60 bins of 5 s the last two are known: zero, and 6 (or 4) in 5 s.
                for line in ("l-a", "l-b"):
                    path = b.value(points % line)
                    self.assertEqual((path.count("M"), path.count("L")), (1, 1), path)

            self.show(b, events, look)

    def test_a_past_that_is_not_kept_is_not_drawn_as_zero(self):
        row = lambda i, ended: [i, ended, "done", 30, 2, 10.0, 10.0, 8000.0, 1, None]
        history = {"t_ms": 3e5, "left_out": 7, "ended": [row(8, 280000.0), row(9, 299000.0)]}
        events = [("history", history), ("state", many_workers(2, 300000))]
        with browser.Browser(DEADLINE) as b:

            def look():
                b.wait_text("100.0 % of 2 within both limits")
                self.assertIn("0.10 requests/s", b.text())  # 2 since the oldest ended, 20 s ago
                path = b.value("document.querySelector('#chart-good .l-a').getAttribute('d')")
                self.assertEqual((path.count("M"), path.count("L")), (1, 3), path)

            self.show(b, events, look)

    def test_64_workers_fit_and_names_are_only_text(self):
        row = [
            9,
            9000.0,
            "failed",
            30,
            0,
            None,
            None,
            400.0,
            4,
            [["queue", 0, None], ["prefill", 100, "<i>p</i>"]],
        ]
        events = [("history", {"t_ms": 1e4, "ended": [row]})] + [
            ("state", many_workers(64, t)) for t in (10000, 12000)
        ]
        with browser.Browser(DEADLINE) as b:

            def look():
                b.wait_text("<b>prefill</b>-63")
                for text in (
                    "32 prefill, 32 decode",
                    "suspect",
                    "parked: no room",
                    "1.23 s",
                    "failed 400 ms",
                ):
                    self.assertIn(text, b.text())
                self.assertEqual(b.value("document.querySelectorAll('.worker').length"), 64)
                self.assertEqual(
                    b.value("document.querySelectorAll('#main b, #main i:not([class]), header b').length"), 3
                )
                share = "document.querySelector('.worker .line span:last-child').textContent"
                b.wait("the busy share", share + " == '38 %'")
                for width in (390, 1400):
                    for dark in (False, True):
                        b.look(width, dark)
                        b.value("draw()")
                        self.assertEqual(b.value("document.documentElement.scrollWidth"), width)
                        back = b.value("getComputedStyle(document.body).backgroundColor")
                        self.assertEqual(back, "rgb(20, 24, 28)" if dark else "rgb(246, 247, 248)")

            self.show(b, events, look)


if __name__ == "__main__":
    unittest.main()
