#!/usr/bin/env python3
"""The node at its limits: many keys that expire at one instant, eviction under a churn of new keys, and two threads instead
of one. redis-server beside it where it can do the same.

  limits.py [--runs 5] [--only expiry|churn|threads] [--node BINARY] [--json]

Needs redis-server (Debian), two cores and `cargo build --release --workspace --bins`. `expiry` and `churn` run the server on
core 0 and the generator on core 1; `threads` lets both use both cores. CPU is the server's, from /proc."""

import argparse
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import checks
from checks import TARGET

QUIET = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
EXPIRING = 2_000_000
# As in the servers' `40mb`.
MEGABYTE = 1 << 20


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """A shoal-node or a redis-server, on core 0 or on both."""

    def __init__(self, program, cores="0", threads=1, memory=None):
        self.port = free_port()
        if program == "redis-server":
            words = [program, "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            words += ["--maxmemory", memory, "--maxmemory-policy", "allkeys-lru"] if memory else []
        else:
            words = [program, "--listen", f"127.0.0.1:{self.port}", "--gossip", f"127.0.0.1:{free_port()}"]
            words += ["--admin", f"127.0.0.1:{free_port()}", "--threads", threads]
            words += ["--maxmemory", memory or "0"]
        self.process = subprocess.Popen(["taskset", "-c", cores, *map(str, words)], **QUIET)
        for _ in range(200):
            try:
                self.connection = socket.create_connection(("127.0.0.1", self.port), 30)
                break
            except OSError:
                time.sleep(0.05)
        else:
            self.process.kill()
            sys.exit(f"{program} does not start")
        while b"PONG" not in self.ask("PING"):
            time.sleep(0.05)

    def ask(self, *words):
        words = [str(word).encode() for word in words]
        self.connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.connection.recv(1 << 20)

    def used(self):
        text = self.ask("INFO", "memory").decode()
        return int(text.split("used_memory:")[1].split()[0])

    def keys(self):
        return int(self.ask("DBSIZE")[1:])

    def cpu(self):
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def resident(self):
        return int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)


def load(server, *words, cores="1", background=False):
    """Figures of a load; of one in the background, how to wait for them."""
    figures = tempfile.NamedTemporaryFile(suffix=".json")
    command = ["taskset", "-c", cores, TARGET / "shoal-loadtest", "run", "--target", f"127.0.0.1:{server.port}", "-q"]
    process = subprocess.Popen([*map(str, command), *map(str, words), "--json", figures.name, "--pid", str(server.process.pid)], **QUIET)

    def wait():
        if process.wait(300) != 0:
            sys.exit(f"the load failed: {words}")
        return json.load(open(figures.name))

    return wait if background else wait()


def show(arguments, *lines, **figures):
    """Lines of a table, or the figures of its row as JSON."""
    if not arguments.json:
        print(*lines, sep="\n", flush=True)
    elif figures:
        print(json.dumps(figures), flush=True)


def expiry(arguments):
    """Other clients while two million keys expire at one instant."""
    show(arguments, f"\n| {EXPIRING:,} keys expire at once | others' p99.9 before | after | ratio | max after | keys gone after | memory back after | RSS before, after | CPU |", "|---|---|---|---|---|---|---|---|---|")
    for program in (arguments.node, "redis-server"):
        rows = []
        for _ in range(arguments.runs):
            with Server(program) as server:
                load(server, "--preload", "-k", 10_000, "-n", 10_000)
                begin = server.used()
                instant = time.time() + 15
                fill = ["--command", f"SET {{key}} {{value}} PXAT {int(instant * 1000)}", "--key-prefix", "due:", "--value-size", 32]
                load(server, *fill, "-k", EXPIRING, "-n", EXPIRING, "--distribution", "sequential", "-P", 64)
                full, resident = server.used(), server.resident()
                others = ["--command", "GET {key}", "-k", 10_000, "-c", 20, "-r", 5_000, "--poisson"]
                quiet = load(server, *others, "-d", "3s")["total"]
                time.sleep(max(0, instant - time.time() - 0.2))
                cpu = server.cpu()
                under = load(server, *others, "-d", "4s", background=True)
                gone = back = None
                while time.time() < instant + 3.6:
                    if gone is None and server.keys() <= 10_000:
                        gone = time.time() - instant
                    if back is None and server.used() < begin + (full - begin) * 0.02 + MEGABYTE:
                        back = time.time() - instant
                    time.sleep(0.02)
                during = under()["total"]
                spent = server.cpu() - cpu
                rows.append((quiet["p999_us"], during["p999_us"], during["p999_us"] / quiet["p999_us"], during["max_us"],
                             gone or float("nan"), back or float("nan"), resident / MEGABYTE, server.resident() / MEGABYTE, spent))
        a, b, ratio, longest, gone, back, before, after, spent = (statistics.median(column) for column in zip(*rows))
        name = pathlib.Path(program).name
        show(arguments, f"| {name} | {a:,.0f} us | {b:,.0f} us | {ratio:.2f} | {longest:,.0f} us | {gone:.2f} s | {back:.2f} s"
             f" | {before:.0f}, {after:.0f} MB | {spent:.2f} s |", server=name, before=a, after=b, ratio=ratio, gone=gone, back=back)


def churn(arguments):
    """Only SETs of new keys, with and without the need to evict."""
    show(arguments, "\n| SETs of new keys, pipeline 16 | without a limit | ten times the memory | ratio | RSS at 40 MB |", "|---|---|---|---|---|")
    sets = ["--command", "SET {key} {value}", "--distribution", "sequential", "-P", 16, "-n", 2_000_000]
    rows = {program: [] for program in (arguments.node, "redis-server")}
    for _ in range(arguments.runs):
        for program in rows:
            with Server(program) as server:
                free = load(server, *sets, "-k", 2_000_000)["server"]["cpu_us"]
            with Server(program, memory="40mb") as server:
                load(server, *sets, "-k", 3_000_000, "--key-prefix", "old:")
                full = load(server, *sets, "-k", 3_000_000)["server"]["cpu_us"]
                rows[program].append((free, full, full / free, server.resident() / MEGABYTE))
    for program, figures in rows.items():
        free, full, ratio, resident = (statistics.median(column) for column in zip(*figures))
        name = pathlib.Path(program).name
        show(arguments, f"| {name} | {free:.2f} us | {full:.2f} us | {ratio:.2f} | {resident:.0f} MB |",
             server=name, free=free, full=full, ratio=ratio, resident=resident)


def threads(arguments):
    """CPU per operation of one thread and of two, load from both cores."""
    show(arguments, "\n| GET:SET 9:1, load from both cores | 1 thread | 2 threads | ratio | smallest | largest |", "|---|---|---|---|---|---|")
    for name, words in {
        "no pipeline": ["-k", 100_000],
        "pipeline 16": ["-k", 100_000, "-P", 16],
        "one key, no pipeline": ["-k", 1],
        "one key, pipeline 16": ["-k", 1, "-P", 16],
    }.items():
        rows = []
        for _ in range(arguments.runs):
            costs = []
            for count in (1, 2):
                with Server(arguments.node, cores="0,1", threads=count) as server:
                    common = [*words, "-c", 50, "--threads", 2, "--preload", "-d", "2s"]
                    costs.append(load(server, *common, cores="0,1")["server"]["cpu_us"])
            rows.append((*costs, costs[1] / costs[0]))
        one, two, ratio = (statistics.median(column) for column in zip(*rows))
        ratios = [row[2] for row in rows]
        show(arguments, f"| {name} | {one:.2f} us | {two:.2f} us | {ratio:.2f} | {min(ratios):.2f} | {max(ratios):.2f} |",
             case=name, one=one, two=two, ratio=ratio, lowest=min(ratios), highest=max(ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=checks.whole(1), default=5)
    parser.add_argument("--node", default=str(TARGET / "shoal-node"))
    parser.add_argument("--only", choices=["expiry", "churn", "threads"])
    parser.add_argument("--json", action="store_true", help="a line of JSON for each row")
    arguments = parser.parse_args()
    checks.built(arguments.node, "shoal-loadtest")
    checks.installed("taskset", *([] if arguments.only == "threads" else ["redis-server"]))
    for part in (expiry, churn, threads):
        if arguments.only in (None, part.__name__):
            part(arguments)


if __name__ == "__main__":
    main()
