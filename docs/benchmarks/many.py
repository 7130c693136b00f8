#!/usr/bin/env python3
"""Many connections and many requests per second: shoal-loadtest against a responder that answers at once.

  many.py [--connections 10000] [--pipeline 16] [--seconds 5] [--runs 3]

Needs two cores and `cargo build --release -p shoal-loadtest`. The responder, a process of this script, runs on core 0,
the generator with one thread on core 1. The responder does no more than what cannot be left out: it reads what has come,
counts the lines and sends as many ready replies. Shown is what the generator tells of itself: requests per second, its CPU
per request and how much of its core it used, and what was lost or broken, which must be nothing."""

import argparse
import json
import multiprocessing
import os
import pathlib
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# GET and a key are five lines.
LINES = 5
REPLIES = b"$1\r\nx\r\n" * 4096


def respond(listener):
    """Answers GETs by a value, whatever else comes first on a connection by an error."""
    os.sched_setaffinity(0, {0})
    poll = select.epoll()
    listener.setblocking(False)
    poll.register(listener, select.EPOLLIN)
    # By descriptor: the connection, and lines that have come and were not answered.
    sockets, lines = {}, {}
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                accept(listener, poll, sockets, lines)
                continue
            connection = sockets[number]
            try:
                data = connection.recv(65536)
                if data and not data.startswith(b"*2\r\n$3\r\nGET") and not lines[number]:
                    connection.send(b"-ERR only GET\r\n")
                    continue
                count, lines[number] = divmod(lines[number] + data.count(b"\n"), LINES)
                if data:
                    connection.send(REPLIES[: count * 7])
                    continue
            except OSError:
                pass
            connection.close()
            del sockets[number], lines[number]


def accept(listener, poll, sockets, lines):
    while True:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        poll.register(connection, select.EPOLLIN)
        sockets[connection.fileno()], lines[connection.fileno()] = connection, 0


def measure(arguments, port, file):
    words = ["taskset", "-c", "1", TARGET / "shoal-loadtest", "run", "-q", "--target", f"127.0.0.1:{port}"]
    words += ["-c", arguments.connections, "-P", arguments.pipeline, "-d", f"{arguments.seconds}s", "--ratio", "1:0"]
    words += ["-k", 100_000, "--key-size", 16, "--json", file, "--pid", os.getpid()]
    subprocess.run(list(map(str, words)), check=True, stdout=subprocess.DEVNULL)
    return json.loads(pathlib.Path(file).read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--pipeline", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    most = arguments.connections + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, max(most, hard)))
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    responder = multiprocessing.Process(target=respond, args=(listener,), daemon=True)
    responder.start()
    port = listener.getsockname()[1]
    listener.close()
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.runs):
            figures = measure(arguments, port, f"{folder}/{number}.json")
            own, total = figures["generator"], figures["total"]
            faults = total["errors"] + figures["connection_errors"] + figures["lost"]
            print(
                f"{figures['connections']:,} connections, pipeline {figures['pipeline']}: {total['per_s']:,.0f} requests/s at "
                f"{own['cpu_us']:.3f} us each, {own['busiest']:.0%} of a core, p99 {total['p99_us'] / 1000:.1f} ms, {faults} faults",
                flush=True,
            )
            rates.append(total["per_s"])
    print(f"median {statistics.median(rates):,.0f} requests/s")
    responder.terminate()
    responder.join()


if __name__ == "__main__":
    sys.exit(main())
