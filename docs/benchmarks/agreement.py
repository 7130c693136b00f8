#!/usr/bin/env python3
"""Do generators agree? The same closed load on the same redis-server by redis-benchmark, memtier_benchmark and
shoal-loadtest in turns, and what each of them makes of a server that is stopped for a second.

  agreement.py [--runs 5] [--seconds 3] [--connections 50] [--memtier PROGRAM] [--part load|stall]

Needs redis-server and redis-benchmark (Debian: redis-server redis-tools), two cores, and
`cargo build --release -p shoal-loadtest`; memtier_benchmark takes part if it is installed. The server runs on core 0,
the generators in turns (A B C A B C ...) on core 1, each with one thread. Shown are requests per second, p50 and p99 as
each generator tells them itself, requests per second of the server's CPU time (which holds where other programs take
the CPU away), medians over the rounds, and the ratio to shoal-loadtest of each round (median).

Throughput of a closed loop says something of the server only where the server is the limit. So the share of its core
that the server and the generator used is shown too; a generator above 90 % is itself the limit and measures itself.
For that reason a request without a pipeline is one that costs the server much and the generator little: SORT of a hundred
numbers, of which one is sent.

In a closed loop N requests are always under way, so N divided by the rate is the mean time that each of them took, from
the moment it could be sent to the moment its answer was taken (Little's law). "Time told" is the share of it that the
generator's own mean latency accounts for: 100 % leaves nothing out. Percentiles of generators that leave out different
parts are not the same thing measured; rates and the server's CPU time are."""

import argparse
import json
import os
import pathlib
import platform
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
SHOAL = TARGET / "shoal-loadtest"
KEYS = 100_000
QUIET = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
# Name: command, pipeline, requests per second that are about right for the number of requests of a run.
CASES = {
    "SORT": ("SORT list LIMIT 0 1", 1, 50_000),
    "SORT, pipeline 16": ("SORT list LIMIT 0 1", 16, 60_000),
    "GET, pipeline 16": ("GET", 16, 350_000),
    "SET, pipeline 16": ("SET", 16, 250_000),
}


class Server:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(["taskset", "-c", "0", *words], **QUIET)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.process.kill()
        sys.exit("redis-server does not start")

    def cpu(self):
        """Seconds on a core."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def send(self, *words):
        parts = [f"*{len(words)}\r\n".encode()]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in (str(word).encode() for word in words)]
        with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
            connection.sendall(b"".join(parts))
            return connection.recv(1024)

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        self.process.wait(20)


def run(command, server):
    """What it printed, and the CPU seconds that the generator and the server used."""
    before = server.cpu()
    words = ["taskset", "-c", "1", *map(str, command)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if process.returncode != 0:
        sys.exit(f"{' '.join(words)} failed with {process.returncode}: {text[-500:]}")
    return text, usage.ru_utime + usage.ru_stime, server.cpu() - before


def by_redis_benchmark(server, case, connections, count):
    command, pipeline, _ = case
    words = ["redis-benchmark", "-p", server.port, "-c", connections, "-P", pipeline, "-n", count, "--csv"]
    words += ["-r", KEYS, "-d", 100]
    words += ["-t", command.lower()] if " " not in command else command.split()
    text, *used = run(words, server)
    # "test","rps","avg","min","p50","p95","p99","max"
    row = [field.strip('"') for field in text.strip().splitlines()[-1].split('","')]
    return float(row[1]), float(row[2]), float(row[4]), float(row[6]), *used


def by_memtier(server, case, connections, count, program):
    command, pipeline, _ = case
    with tempfile.NamedTemporaryFile(suffix=".json") as figures:
        words = [program, "-p", server.port, "-t", 1, "-c", connections, "--pipeline", pipeline]
        words += ["-n", count // connections, "--hide-histogram", "--print-percentiles", "50,99"]
        words += ["--json-out-file", figures.name, "--key-prefix=key:", "--key-minimum=1", f"--key-maximum={KEYS}"]
        # By default all its connections draw the same keys at the same time, which are in the server's caches then.
        words += ["-d", 100, "--distinct-client-seed"]
        if " " in command:
            words += [f"--command={command}", "--command-ratio=1"]
        else:
            words += ["--ratio=0:1" if command == "GET" else "--ratio=1:0", "--key-pattern=R:R"]
        _, *used = run(words, server)
        totals = json.load(open(figures.name))["ALL STATS"]["Totals"]
    latency, mean = totals["Percentile Latencies"], totals["Accumulated Latency"] / totals["Count"]
    return totals["Ops/sec"], mean, latency["p50.00"], latency["p99.00"], *used


def by_shoal(server, case, connections, count):
    command, pipeline, _ = case
    words = [SHOAL, "run", "--target", f"127.0.0.1:{server.port}", "--pid", server.process.pid, "-q"]
    words += ["-c", connections, "-P", pipeline, "-n", count, "--distribution", "uniform", "-k", KEYS]
    words += ["--key-size", 16, "--value-size", 100]
    words += ["--command", {"GET": "GET {key}", "SET": "SET {key} {value}"}.get(command, command)]
    with tempfile.NamedTemporaryFile(suffix=".json") as figures:
        _, *used = run([*words, "--json", figures.name], server)
        total = json.load(open(figures.name))["total"]
    return total["per_s"], *(total[f"{q}_us"] / 1000 for q in ("mean", "p50", "p99")), *used


def generators(arguments):
    found = {"shoal-loadtest": by_shoal, "redis-benchmark": by_redis_benchmark}
    if shutil.which(arguments.memtier):
        found["memtier_benchmark"] = lambda *rest: by_memtier(*rest, arguments.memtier)
    else:
        print("memtier_benchmark is not installed: without it\n")
    return found


def fill(server, memtier):
    """The same keys for everybody; memtier's are not filled up with zeroes."""
    connection = socket.create_connection(("127.0.0.1", server.port), 10)
    with connection, connection.makefile("rb") as replies:
        for first in range(0, KEYS, 1000):
            for number in range(first + 1, first + 1001):
                for key in {f"key:{number % KEYS:012}", f"key:{number}"}:
                    connection.sendall(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$100\r\n%s\r\n" % (len(key), key.encode(), b"x" * 100))
            for _ in range(2000):
                replies.readline()
    for name, length in {"list": 100, "long": 5000}.items():
        server.send("RPUSH", name, *(number * 7919 % 104_729 for number in range(length)))


def load(arguments):
    server = Server()
    try:
        tools = generators(arguments)
        fill(server, arguments.memtier)
        print(
            "| closed loop | generator | requests/s | per server CPU s | p50 | p99 | time told | generator's core"
            " | server's core | ratios to shoal-loadtest: requests/s / per CPU s / p50 / p99 |"
        )
        print("|---|---|---|---|---|---|---|---|---|---|")
        for name, case in CASES.items():
            count = int(case[2] * arguments.seconds) // 1000 * 1000
            rounds = {tool: [] for tool in tools}
            for _ in range(arguments.runs):
                for tool, measure in tools.items():
                    rounds[tool].append(measure(server, case, arguments.connections, count))
            for tool, rows in rounds.items():
                # Rate, p50, p99, the share of its time that a request's latency accounts for, the shares of their cores
                # while requests were made, requests per CPU second.
                under_way = arguments.connections * case[1]
                rows[:] = [
                    (rate, p50, p99, mean / 1e3 * rate / under_way, own * rate / count, served * rate / count, count / served)
                    for rate, mean, p50, p99, own, served in rows
                ]
                rate, p50, p99, told, own, served, work = (statistics.median(column) for column in zip(*rows))
                pairs = list(zip(rows, rounds["shoal-loadtest"]))
                ratios = [statistics.median(their[i] / our[i] for their, our in pairs) for i in (0, 6, 1, 2)]
                against = "" if tool == "shoal-loadtest" else " / ".join(f"{ratio:.2f}" for ratio in ratios)
                limit = " (the limit)" if own > 0.9 else ""
                print(
                    f"| {name} | {tool} | {rate:,.0f} | {work:,.0f} | {p50:.3f} ms | {p99:.3f} ms | {told:.0%}"
                    f" | {own:.0%}{limit} | {served:.0%} | {against} |",
                    flush=True,
                )
    finally:
        server.stop()


def stall(arguments):
    """A stop of one second in the middle, seen by a closed loop of either kind and by an open one."""
    server = Server()
    try:
        fill(server, arguments.memtier)
        common = ["-c", arguments.connections]
        shoal = [SHOAL, "run", "--target", f"127.0.0.1:{server.port}", "-q", "--command", "GET {key}", "-d", "6s"]
        shoal += ["-k", KEYS, "--key-size", 16, "--distribution", "uniform", *common]
        case = ("GET", 1, 0)
        print("\n| a stop of 1 s | requests/s | p50 | p99 | p99.9 | max |")
        print("|---|---|---|---|---|---|")
        for name, words in {
            "redis-benchmark": None,
            "shoal-loadtest, closed loop": shoal,
            "shoal-loadtest, 5,000 requests/s": [*shoal, "--rate", "5000"],
        }.items():
            pause = threading.Timer(3, server.process.send_signal, [signal.SIGSTOP])
            resume = threading.Timer(4, server.process.send_signal, [signal.SIGCONT])
            pause.start(), resume.start()
            if words is None:
                theirs = ["redis-benchmark", "-p", server.port, "-t", case[0].lower(), "-n", 500_000, "-r", KEYS, "--csv"]
                row = [field.strip('"') for field in run([*theirs, *common], server)[0].strip().splitlines()[-1].split('","')]
                rate, p50, p99, p999, longest = float(row[1]), float(row[4]), float(row[6]), None, float(row[7])
            else:
                with tempfile.NamedTemporaryFile(suffix=".json") as figures:
                    run([*words, "--json", figures.name], server)
                    total = json.load(open(figures.name))["total"]
                rate = total["per_s"]
                p50, p99, p999, longest = (total[f"{q}_us"] / 1000 for q in ("p50", "p99", "p999", "max"))
            pause.join(), resume.join()
            tail = "not told" if p999 is None else f"{p999:,.1f} ms"
            print(f"| {name} | {rate:,.0f} | {p50:.2f} ms | {p99:,.2f} ms | {tail} | {longest:,.0f} ms |", flush=True)
    finally:
        server.stop()


def first_line(*command, otherwise="version unknown"):
    """The first line that a program prints, if it prints any."""
    try:
        lines = subprocess.run(command, capture_output=True, text=True).stdout.strip().splitlines()
    except OSError:
        lines = []
    return lines[0] if lines else otherwise


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="about how long a run is")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--memtier", default="memtier_benchmark", help="the program, if it is elsewhere")
    parser.add_argument("--part", choices=["load", "stall"])
    arguments = parser.parse_args()
    for program in ("redis-server", "redis-benchmark", SHOAL):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not there")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()};", first_line("redis-benchmark", "-v"), end="")
    if shutil.which(arguments.memtier):
        print(";", first_line(arguments.memtier, "--version"), end="")
    commit = first_line("git", "-C", ROOT, "describe", "--always", "--dirty", otherwise="commit unknown: no git checkout")
    print(";", commit, "\n")
    if arguments.part != "stall":
        load(arguments)
    if arguments.part != "load":
        stall(arguments)


if __name__ == "__main__":
    main()
