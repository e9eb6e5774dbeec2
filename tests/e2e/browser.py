"""A headless Chromium, driven over the two pipes of --remote-debugging-pipe: messages are JSON texts that end
with a NUL. Only the standard library."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

PROGRAM = shutil.which("chromium")


class Browser:
    """with Browser() as b: b.open(url); b.wait("a fact", "document.title == 'x'"). Every wait ends after
    `seconds`."""

    def __init__(self, seconds=120):
        self.seconds = seconds
        self.dir = tempfile.TemporaryDirectory(prefix="baton-browser-", ignore_cleanup_errors=True)
        to_child, self.out = os.pipe()
        self.inn, from_child = os.pipe()
        # The pipes are 3 and 4 there. Root needs --no-sandbox.
        self.process = subprocess.Popen(
            [
                "bash",
                "-c",
                'exec 3<&%d 4>&%d; exec "$@"' % (to_child, from_child),
                "-",
                PROGRAM,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-extensions",
                "--disable-background-networking",
                "--user-data-dir=" + self.dir.name,
                "--remote-debugging-pipe",
                "about:blank",
            ],
            pass_fds=(to_child, from_child),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(os.environ, HOME=self.dir.name),
        )
        os.close(to_child)
        os.close(from_child)
        self.bytes = b""
        self.number = 0
        self.session = None
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self.ask("Page.enable")
        except BaseException:
            self.close()
            raise

    def message(self, deadline):
        while b"\0" not in self.bytes:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.inn], [], [], left)[0]:
                raise AssertionError("chromium did not answer within %d s" % self.seconds)
            more = os.read(self.inn, 1 << 16)
            assert more, "chromium ended with %r" % self.process.wait()
            self.bytes += more
        text, self.bytes = self.bytes.split(b"\0", 1)
        return json.loads(text)

    def ask(self, method, **params):
        self.number += 1
        request = {"id": self.number, "method": method, "params": params}
        if self.session:
            request["sessionId"] = self.session
        data = json.dumps(request).encode() + b"\0"
        while data:
            data = data[os.write(self.out, data) :]
        deadline = time.monotonic() + self.seconds
        while True:
            answer = self.message(deadline)
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def open(self, url):
        self.ask("Page.navigate", url=url)

    def value(self, expression):
        """Of a JavaScript expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def text(self):
        return self.value("document.body ? document.body.innerText : ''")

    def wait(self, what, expression):
        deadline = time.monotonic() + self.seconds
        while not self.value(expression):
            if time.monotonic() > deadline:
                raise AssertionError(
                    "waited %d s for: %s; the page says:\n%s" % (self.seconds, what, self.text())
                )
            time.sleep(0.05)

    def wait_text(self, text):
        self.wait(
            "the text %r" % text, "document.body && document.body.innerText.includes(%s)" % json.dumps(text)
        )

    def look(self, width, dark=False):
        """How wide the window is, and which colours are preferred."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 640,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, path):
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        with open(path, "wb") as f:
            f.write(base64.b64decode(shot["data"]))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.inn)
        self.dir.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
