#!/usr/bin/env python3
"""Resident memory against `maxmemory` while sizes drift, and after mass deletes: shoal-node, and redis-server beside it.

  resident.py [--maxmemory 100] [--turnover 10] [--case drift,...] [--server shoal-node,redis-server] [--json]

Needs redis-server (Debian) for the comparison, and `cargo build --release -p shoal-node`. Each case starts a server, writes
`turnover` times its memory through one connection in four phases of other sizes, and reads the largest RSS at the end of
a phase. The target of the node is 1.1 x maxmemory + 10 MB. Case `deletes` fills without eviction, deletes nine of ten keys, and
reads RSS two seconds later. RSS does not depend on how busy the machine is."""

import argparse
import json
import math
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

import checks
from checks import TARGET

BATCH = 256 << 10
NOISE = os.urandom(1 << 20)

# Sizes of values in each phase.
STRINGS = {
    "drift": [(30, 100), (300, 900), (60, 200), (1500, 4500)],
    "boundary": [(600, 1400), (3000, 9000), (200, 12_000), (6000, 40_000)],
    "16.5 KB": [(16_500, 16_500)] * 4,
    "large": [(20_000, 80_000), (100_000, 500_000), (5000, 30_000), (60_000, 140_000)],
}
# Fields of hashes in each phase.
HASHES = {"hashes": [(5, 20), (40, 160), (10, 60), (300, 900)]}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def command(name, port, maxmemory):
    if name == "redis-server":
        limit = ["--maxmemory", str(maxmemory), "--maxmemory-policy", "allkeys-lru"] if maxmemory else []
        return ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1", *limit]
    return [str(TARGET / name), "--listen", f"127.0.0.1:{port}", "--threads", "1", "--maxmemory", str(maxmemory)]


def resident(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


class Server:
    def __init__(self, name, maxmemory):
        port = free_port()
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(command(name, port, maxmemory), **quiet)
        for _ in range(100):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.05)
        else:
            self.process.kill()
            sys.exit(f"{name} does not answer")
        self.replies = self.socket.makefile("rb")

    def send(self, batch):
        self.socket.sendall(b"".join(batch))
        errors = 0
        for _ in batch:
            errors += self.replies.readline().startswith(b"-")
        return errors

    def resident(self):
        return resident(self.process.pid)

    def stop(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait()


def string(rng, size):
    at = rng.randrange(len(NOISE) - size)
    return b"*3\r\n$3\r\nSET\r\n$16\r\nk:%014x\r\n$%d\r\n%b\r\n" % (rng.getrandbits(50), size, NOISE[at : at + size])


def hashed(rng, fields):
    words = [b"HSET", b"k:%014x" % rng.getrandbits(50)]
    for n in range(fields):
        words += [b"field%d" % n, b"%d" % rng.getrandbits(40)]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def drift(name, maxmemory, turnover, phases, make):
    server = Server(name, maxmemory)
    rng = random.Random(1)
    largest, errors, sent = 0, 0, 0
    try:
        for low, high in phases:
            written = 0
            while written < maxmemory * turnover / len(phases):
                batch, size = [], 0
                while size < BATCH:
                    batch.append(make(rng, rng.randint(low, high)))
                    size += len(batch[-1])
                written += size
                sent += len(batch)
                errors += server.send(batch)
            time.sleep(1.5)
            largest = max(largest, server.resident())
        return {"resident": largest / 2**20, "of the limit": largest / maxmemory, "errors": errors, "writes": sent}
    finally:
        server.stop()


def deletes(name, size, count):
    server = Server(name, 0)
    try:
        before = server.resident()
        key = lambda n: b"key:%012d" % n
        for start in range(0, count, 1000):
            value = NOISE[start % 1000 : start % 1000 + size]
            keys = [key(n) for n in range(start, start + 1000)]
            server.send([b"*3\r\n$3\r\nSET\r\n$16\r\n%b\r\n$%d\r\n%b\r\n" % (k, size, value) for k in keys])
        full = server.resident()
        gone = [n for n in range(count) if n % 10]
        random.Random(2).shuffle(gone)
        for start in range(0, len(gone), 1000):
            server.send([b"*2\r\n$3\r\nDEL\r\n$16\r\n%b\r\n" % key(n) for n in gone[start : start + 1000]])
        time.sleep(2)
        left = server.resident()
        return {"full": full / 2**20, "left": left / 2**20, "left of full": (left - before) / (full - before)}
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maxmemory", type=checks.whole(1), default=100, help="MB")
    parser.add_argument("--turnover", type=float, default=10)
    cases = [*STRINGS, *HASHES, "deletes"]
    parser.add_argument("--case", type=checks.names(*cases), default=",".join(cases))
    parser.add_argument("--server", type=checks.names("shoal-node", "redis-server"), default="shoal-node,redis-server")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if not 0 < arguments.turnover < math.inf:
        sys.exit("--turnover is more than 0")
    checks.servers(arguments.server)
    limit = arguments.maxmemory << 20
    for case in arguments.case:
        for name in arguments.server:
            if case == "deletes":
                for size, count in ((32, 1_000_000), (1000, 150_000), (20_000, 10_000)):
                    show(arguments, f"deletes, {size} B values", name, deletes(name, size, count))
                continue
            make = string if case in STRINGS else hashed
            phases = STRINGS.get(case) or HASHES[case]
            show(arguments, case, name, drift(name, limit, arguments.turnover, phases, make))


def show(arguments, case, name, figures):
    if arguments.json:
        print(json.dumps({"case": case, "server": name, **figures}), flush=True)
    else:
        print(f"{case:24} {name:14}", ", ".join(f"{k} {v:.2f}" for k, v in figures.items()), flush=True)


main()
