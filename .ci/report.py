#!/usr/bin/env python3
"""Makes real reports with shoal-loadtest and opens them in headless Chromium.

A 3 s run against redis-server, a scenario with three of them of which one is killed, both over each other, a comparison
and an HdrHistogram log: each must show its plots, write nothing to the console, load nothing, fit its window and read out
values under the pointer, light and dark, wide and narrow. Needs target/release/shoal-loadtest, redis-server and
chromium; PROFILE=debug takes the other build. `python3 .ci/report.py [DIRECTORY]` keeps the reports and their
pictures there. Prints one line per page, exits 1 when something is wrong.
"""
import base64
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / os.environ.get("PROFILE", "release") / "shoal-loadtest"
PATIENCE = 60


class Browser:
    """Chromium, spoken to over a pair of pipes: one JSON message after the other, each ended by a zero byte."""

    def __init__(self, profile):
        here_read, there_write = os.pipe()
        there_read, here_write = os.pipe()

        def pipes():
            # The protocol wants descriptors 3 and 4; these may be among them, so they are moved out of the way.
            given, taken = os.dup2(there_read, 100), os.dup2(there_write, 101)
            os.dup2(given, 3)
            os.dup2(taken, 4)

        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                   "--disable-extensions", "--no-first-run", "--hide-scrollbars", "--remote-debugging-pipe",
                   f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, preexec_fn=pipes, close_fds=False,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(there_read)
        os.close(there_write)
        self.out, self.incoming = here_write, os.fdopen(here_read, "rb")
        os.set_blocking(self.incoming.fileno(), False)
        self.unread, self.number, self.session, self.events = b"", 0, None, []
        page = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        return self.wait(lambda answer: answer.get("id") == self.number, method).get("result", {})

    def wait(self, wanted, what):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            while b"\0" in self.unread:
                text, self.unread = self.unread.split(b"\0", 1)
                message = json.loads(text)
                if "method" in message:
                    self.events.append(message)
                if wanted(message):
                    if "error" in message:
                        raise RuntimeError(f"{what}: {message['error']}")
                    return message
            piece = self.incoming.read()
            if piece:
                self.unread += piece
            elif self.process.poll() is not None:
                raise RuntimeError(f"chromium ended with status {self.process.returncode}")
            else:
                time.sleep(0.01)
        raise RuntimeError(f"chromium did not answer {what} within {PATIENCE} s")

    def value(self, script):
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, page, width, dark):
        """Opens a file and returns what went wrong while it was loaded and looked at."""
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.ask("Page.navigate", url=page.as_uri())
        self.wait(lambda event: event.get("method") == "Page.loadEventFired", "to be loaded")

    def complaints(self, page):
        found = []
        for event in self.events:
            about = event.get("params", {})
            match event["method"]:
                case "Runtime.exceptionThrown":
                    details = about["exceptionDetails"]
                    found.append("exception: " + details.get("exception", {}).get("description", details["text"]))
                case "Runtime.consoleAPICalled":
                    found.append(f"console.{about['type']}: {about['args']}")
                case "Log.entryAdded":
                    found.append("log: " + about["entry"]["text"])
                case "Network.requestWillBeSent":
                    url = about["request"]["url"]
                    if url != page.as_uri() and not url.startswith("data:"):
                        found.append(f"it loads {url}")
        return found

    def picture(self, path):
        height = self.value("document.documentElement.scrollHeight")
        width = self.value("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self):
        self.ask("Browser.close")
        self.process.wait(PATIENCE)


PLOTS = """[...document.querySelectorAll(".plot")].filter((plot) =>
    plot.querySelector("svg").getBoundingClientRect().height > 50 &&
    plot.querySelector("path.line")?.getAttribute("d").length > 10).map((plot) => plot.id)"""
# Elements that are wider than the window; tables scroll within their own frames.
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"
FIELD = """(() => { const field = document.querySelector("#plot-rate .field"); field.scrollIntoView({ block: "center" });
    const room = field.getBoundingClientRect(); return [room.left + room.width / 3, room.top + room.height / 2]; })()"""
READ_OUT = 'document.querySelector("#plot-rate .read")?.textContent ?? ""'
UNNAMED = """[...document.querySelectorAll("svg[role=img]")].filter((svg) => !svg.getAttribute("aria-label")).length"""


def check(browser, page, plots, pictures):
    """Looks at a page in all four ways; returns what is wrong."""
    wrong = []
    for width, dark in ((1400, False), (1400, True), (400, False), (400, True)):
        how = f"{width} wide, {'dark' if dark else 'light'}"
        browser.open(page, width, dark)
        shown = browser.value(PLOTS)
        wrong += [f"{how}: plot {plot} is absent" for plot in plots if plot not in shown]
        if browser.value(UNNAMED):
            wrong.append(f"{how}: a plot has no description")
        if (over := browser.value(OVERFLOW)) > 0:
            wrong.append(f"{how}: the page is {over} pixels wider than the window")
        x, y = browser.value(FIELD)
        browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        if " s" not in browser.value(READ_OUT):
            wrong.append(f"{how}: nothing is read out under the pointer")
        wrong += [f"{how}: {complaint}" for complaint in browser.complaints(page)]
        if pictures:
            browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
            browser.picture(pictures / f"{page.stem}-{width}-{'dark' if dark else 'light'}.png")
    return wrong


def loadtest(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"shoal-loadtest {arguments[0]}: {done.stderr.strip()}")


# Three servers under load, of which one is killed and comes back.
SCENARIO = """about = "One of three servers is killed and comes back"
[nodes]
count = 3
command = "redis-server --port {port} --bind {address} --save '' --appendonly no --dir {dir}"
[load]
workload = "cache-aside"
target = "nodes"
keys = 20_000
rate = 2000
connections = 12
[[step]]
load = "on"
[[step]]
name = "steady"
wait = "2s"
[[step]]
name = "crash"
kill = "node-2"
[[step]]
wait = "2s"
[[step]]
start = "node-2"
[[step]]
wait = "3s"
[[step]]
assert = ["errors = 0", "answered >= 100"]
of = "steady"
[[step]]
assert = ["answered >= 100", "longest_gap <= 10s"]
since = "crash"
"""


def make_reports(out, target):
    """Writes the reports; returns the pages with the plots that each must show."""
    common = ("-w", "cache-aside", "-k", 20000, "-c", 10, "--quiet")
    one = out / "run.json"
    loadtest("run", "--target", target, *common, "-d", "3s", "--warmup", "500ms",
             "--json", one, "--html", out / "run.html", "--hdr", out / "run.hlog")
    steps, scenario = out / "scenario.toml", out / "scenario.json"
    steps.write_text(SCENARIO)
    loadtest("scenario", steps, "--quiet", "--json", scenario, "--html", out / "scenario.html",
             "--hdr", out / "scenario.hlog", "--logs", out / "logs")
    loadtest("report", out / "scenario.hlog")
    loadtest("report", one, scenario, "--html", out / "two.html")
    loadtest("report", out / "run.hlog", "--html", out / "log.html")
    loadtest("compare", "-A", f"first={target}", "-B", f"second={target}", "--rounds", 2, "-d", "1s",
             "--warmup", "100ms", *common, "--html", out / "compare.html", "--hdr", out / "compare.hlog")
    loadtest("report", out / "compare.first.hlog", out / "compare.second.hlog")
    base = ["plot-percentiles", "plot-rate", "plot-latency"]
    return {
        "run": [*base, "plot-hits"],
        "scenario": [*base, "plot-hits", "plot-errors", "plot-endpoints", "plot-imbalance"],
        "two": [*base, "plot-hits", "plot-errors", "plot-endpoints-2", "plot-imbalance"],
        "log": base,
        "compare": [*base, "plot-hits"],
    }


def finds_mistakes(browser, out):
    """Whether a page with mistakes is found out: a check that cannot fail checks nothing."""
    broken = out / "broken.html"
    page = (out / "run.html").read_text().replace('id="plot-hits"', 'id="plot-other"')
    broken.write_text(page.replace("</body>", '<script>console.error("x"); missing()</script></body>'))
    wrong = " ".join(check(browser, broken, ["plot-hits"], None))
    broken.unlink()
    return all(sign in wrong for sign in ("plot-hits is absent", "console.error", "missing is not defined"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def serve(directory):
    port = free_port()
    server = subprocess.Popen(
        ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"],
        cwd=directory, stdout=subprocess.DEVNULL)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, f"127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)
    server.kill()
    sys.exit(f"redis-server does not listen on port {port}")


def main():
    keep = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    work = pathlib.Path(tempfile.mkdtemp(prefix="shoal-report-"))
    out = keep or work
    out.mkdir(parents=True, exist_ok=True)
    server, target = serve(work)
    failed = False
    try:
        pages = make_reports(out, target)
        browser = Browser(work / "profile")
        try:
            for name, plots in pages.items():
                wrong = check(browser, out / f"{name}.html", plots, keep)
                failed |= bool(wrong)
                print(f"{'FAILED' if wrong else 'ok    '}  {name}.html: {len(plots)} plots, light and dark, wide and narrow")
                for line in wrong:
                    print(f"          {line}")
            if not finds_mistakes(browser, out):
                failed = True
                print("FAILED  a page with mistakes passes")
        finally:
            browser.close()
    finally:
        server.terminate()
        server.wait(PATIENCE)
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
