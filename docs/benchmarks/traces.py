#!/usr/bin/env python3
"""Does shoal-loadtest replay tell the hit ratios that another program tells of the same trace?

  traces.py TRACE.rtr --other 'python3 OTHER.py' [--maxmemory 6mb] [--policy allkeys-lru] [--rate 12000] [--runs 10] [--side-by-side]

Needs redis-server and `cargo build --release -p shoal-loadtest`. OTHER is called as `OTHER TRACE.rtr --port PORT --rate RATE
--pipeline 64 --json` and prints an object with `hit_ratio` and `byte_hit_ratio`, as shares. Each run has a redis-server of its own,
the two programs take turns, or run at the same time with --side-by-side (each on its server; the rate is what they have in common).
Redis evicts by samples, so single runs scatter: shown are the means in per cent, their difference, and its standard error. Its LRU clock
ticks once a second, and when in a second a replay begins makes a difference of some tenths of a point. So each begins at a random time, or
two programs that take different times to start would be told apart by that."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import random
import shlex
import socket
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
QUIET = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


class Server:
    def __init__(self, arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        words = ["redis-server", "--port", self.port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        words += ["--maxmemory", arguments.maxmemory, "--maxmemory-policy", arguments.policy]
        self.process = subprocess.Popen(list(map(str, words)), **QUIET)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        self.stop()
        raise RuntimeError("redis-server does not start")

    def stop(self):
        self.process.kill()
        self.process.wait()


def ours(arguments, port, folder):
    file = f"{folder}/{port}.json"
    words = [TARGET / "shoal-loadtest", "replay", "-q", arguments.trace, "--target", f"127.0.0.1:{port}"]
    words += ["--rate", arguments.rate, "--json", file]
    process = subprocess.Popen(list(map(str, words)), stdout=subprocess.DEVNULL)

    def figures():
        if process.wait() != 0:
            raise RuntimeError(f"shoal-loadtest failed with {process.returncode}")
        counts = json.loads(pathlib.Path(file).read_text())
        return counts["object_hit_ratio"], counts["byte_hit_ratio"], counts["accesses"]

    return figures


def theirs(arguments, port, _):
    words = [*shlex.split(arguments.other), arguments.trace, "--port", port, "--rate", arguments.rate, "--pipeline", 64]
    process = subprocess.Popen(list(map(str, [*words, "--json"])), stdout=subprocess.PIPE, text=True)

    def figures():
        output, _ = process.communicate()
        if process.returncode != 0:
            raise RuntimeError(f"the other program failed with {process.returncode}")
        counts = json.loads(output)
        return counts["hit_ratio"], counts["byte_hit_ratio"]

    return figures


def measure(arguments, folder):
    """The figures of both programs in one round."""

    def run(program):
        server = Server(arguments)
        time.sleep(random.random())
        figures = program(arguments, server.port, folder)()
        server.stop()
        return figures

    if not arguments.side_by_side:
        return [run(program) for program in (theirs, ours)]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(run, (theirs, ours)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trace")
    parser.add_argument("--other", required=True)
    parser.add_argument("--maxmemory", default="6mb")
    parser.add_argument("--policy", default="allkeys-lru")
    parser.add_argument("--rate", type=int, default=12_000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--side-by-side", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pairs = [measure(arguments, folder) for _ in range(arguments.runs)]
    for place, what in enumerate(["objects", "bytes"]):
        other = [pair[0][place] * 100 for pair in pairs]
        own = [pair[1][place] * 100 for pair in pairs]
        differences = [b - a for a, b in zip(other, own)]
        error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0
        print(
            f"{pathlib.Path(arguments.trace).stem} {arguments.maxmemory} {arguments.policy} {what}: {statistics.mean(other):.2f} and "
            f"{statistics.mean(own):.2f}, difference {statistics.mean(differences):+.2f} +- {error:.2f} ({len(pairs)} runs)",
            flush=True,
        )


if __name__ == "__main__":
    main()
