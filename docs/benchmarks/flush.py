#!/usr/bin/env python3
"""FLUSHDB of one database while another holds keys: how long it takes to be answered, and what another client waits meanwhile.

  flush.py [--runs 5] [--keys 1000000] [--others 100000] [--node BINARY]

Needs redis-server (Debian), two cores and `cargo build --release --workspace --bins`. Servers run on core 0, this client on
core 1. The other client reads one key of the other database after the other, so its slowest read is told for the same time
before the flush as well. Removed is what is flushed when `lazyfree_pending_objects` says 0 (redis-server without ASYNC: with
the answer). CPU is the server's from the flush until then."""

import argparse
import os
import pathlib
import socket
import statistics
import sys
import threading
import time

import limits

MODES = [("shoal-node", []), ("shoal-node", ["SYNC"]), ("redis-server", []), ("redis-server", ["ASYNC"])]


def encode(*words):
    words = [str(word).encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


class Client:
    def __init__(self, server, db):
        self.socket = socket.create_connection(("127.0.0.1", server.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")
        self.ask("SELECT", db)

    def ask(self, *words):
        self.socket.sendall(encode(*words))
        return self.reply()

    def reply(self):
        line = self.replies.readline()
        if line[:1] == b"-":
            sys.exit(f"refused: {line}")
        return self.replies.read(int(line[1:]) + 2) if line[:1] == b"$" and line[1:2] != b"-" else line

    def fill(self, prefix, keys):
        for first in range(0, keys, 1000):
            names = range(first, min(keys, first + 1000))
            self.socket.sendall(b"".join(encode("SET", f"{prefix}{name}", "x" * 32) for name in names))
            for _ in names:
                self.reply()

    def pending(self):
        return int(self.ask("INFO", "memory").split(b"lazyfree_pending_objects:")[1].split()[0])


class Reader(threading.Thread):
    """Reads keys one after the other and keeps the longest time until it is told to stop."""

    def __init__(self, server, keys):
        super().__init__(daemon=True)
        self.client, self.keys, self.longest, self.running = Client(server, 1), keys, 0, True
        self.start()

    def run(self):
        n = 0
        while self.running:
            began = time.perf_counter()
            self.client.ask("GET", f"other:{n % self.keys}")
            self.longest = max(self.longest, time.perf_counter() - began)
            n += 7919

    def stop(self):
        self.running = False
        self.join()
        return self.longest


def measure(program, mode, arguments):
    binary = arguments.node if program == "shoal-node" else program
    with limits.Server(binary) as server:
        flusher = Client(server, 0)
        flusher.fill("flushed:", arguments.keys)
        Client(server, 1).fill("other:", arguments.others)
        time.sleep(1)
        reader = Reader(server, arguments.others)
        time.sleep(0.5)
        before = reader.stop()
        reader = Reader(server, arguments.others)
        cpu, began = server.cpu(), time.perf_counter()
        flusher.ask("FLUSHDB", *mode)
        answered = time.perf_counter() - began
        while flusher.pending() > 0:
            time.sleep(0.005)
        removed, spent = time.perf_counter() - began, server.cpu() - cpu
        time.sleep(max(0, 0.5 - removed))
        return answered * 1e3, removed, before * 1e3, reader.stop() * 1e3, spent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--others", type=int, default=100_000)
    parser.add_argument("--node", default=str(pathlib.Path(limits.TARGET) / "shoal-node"))
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {1})
    sys.setswitchinterval(1e-4)
    print(f"| {arguments.keys:,} keys flushed, {arguments.others:,} stay | answered | removed after | slowest GET before | meanwhile | CPU |")
    print("|---|---|---|---|---|---|")
    rows = {index: [] for index in range(len(MODES))}
    for _ in range(arguments.runs):
        for index, (program, mode) in enumerate(MODES):
            rows[index].append(measure(program, mode, arguments))
    for index, (program, mode) in enumerate(MODES):
        answered, removed, before, after, spent = (statistics.median(column) for column in zip(*rows[index]))
        print(f"| {program}, {' '.join(['FLUSHDB', *mode])} | {answered:.1f} ms | {removed:.2f} s | {before:.1f} ms | {after:.1f} ms | {spent:.2f} s |")


if __name__ == "__main__":
    main()
