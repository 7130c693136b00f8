#!/usr/bin/env python3
"""Do generators tell what was on the wire? The closed loads of agreement.py, with every packet of the server's port
recorded at the same time: the time from a request's last byte to its reply's last byte, by the kernel's clock, is what
the server and the network took, whoever sent the request. Beside it stands what the generator told of the same requests.

  wire.py [--runs 5] [--connections 50] [--memtier PROGRAM]

Needs what agreement.py needs, tcpdump and root. The recorder has the lowest priority and a buffer that holds a whole run,
so that it takes no time from a server and a generator that are busy; packets that were lost end the script.

Told / wire above 1 is the generator's own part: from the reply's arrival until it was read, and the time it took to send.
With one connection all generators ask the same of the server, and their figures must agree. With many, how even the
wire's own times are is a matter of how the requests meet the server's turns: a generator that sends sooner has some of
them served in the turn that is beginning and others a turn later. "Shares" is how many requests took less than three
quarters, and more than five quarters, of the mean."""

import argparse
import collections
import pathlib
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import agreement

# What to send, pipeline, requests, whether one connection takes the place of many. The first costs the server 1 ms, so that
# what a generator needs to wake up is no part of it.
CASES = {
    "SORT of 5,000, one connection": ("SORT long LIMIT 0 1", 1, 1_000, True),
    "SORT of 100": ("SORT list LIMIT 0 1", 1, 50_000, False),
    "SORT of 100, pipeline 16": ("SORT list LIMIT 0 1", 16, 60_000, False),
}


def encoded(text):
    words = text.split()
    return sum(len(f"${len(word)}\r\n{word}\r\n") for word in words) + len(f"*{len(words)}\r\n")


class Recorder:
    """tcpdump on the loopback interface."""

    def __init__(self, port, path):
        self.path = path
        words = ["chrt", "-i", "0", "tcpdump", "-i", "lo", "-s", "60", "-B", "524288", "-nn", "-w", path, f"tcp port {port}"]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        while "listening" not in self.process.stderr.readline():
            if self.process.poll() is not None:
                sys.exit("tcpdump does not start (it needs root)")

    def stop(self):
        time.sleep(0.3)
        self.process.terminate()
        text = self.process.communicate(timeout=60)[1]
        if "\n0 packets dropped by kernel" not in text:
            sys.exit(f"the recorder lost packets: {text}")


def packets(path):
    """Time in seconds, sender's and receiver's port, bytes of payload."""
    data = pathlib.Path(path).read_bytes()
    at, end = 24, len(data)
    while at + 16 <= end:
        seconds, micros, kept, _ = struct.unpack_from("<IIII", data, at)
        ip = at + 16 + 14
        total, tcp = struct.unpack_from(">H", data, ip + 2)[0], ip + (data[ip] & 15) * 4
        source, destination = struct.unpack_from(">HH", data, tcp)
        yield seconds + micros / 1e6, source, destination, total - (tcp - ip) - (data[tcp + 12] >> 4) * 4
        at += 16 + kept


def on_the_wire(path, port, request, reply):
    """Milliseconds of every request of a load whose requests, and replies, are all of one size."""
    under_way, bytes_of, times = collections.defaultdict(collections.deque), collections.Counter(), []
    for now, source, destination, size in packets(path):
        client, one = (source, request) if destination == port else (destination, reply)
        before = bytes_of[client, one]
        bytes_of[client, one] = after = before + size
        for _ in range(after // one - before // one):
            if one == request:
                under_way[client].append(now)
            elif under_way[client]:
                times.append((now - under_way[client].popleft()) * 1e3)
    return sorted(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--memtier", default="memtier_benchmark", help="the program, if it is elsewhere")
    arguments = parser.parse_args()
    for program in ("redis-server", "redis-benchmark", "tcpdump", agreement.SHOAL):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not there")
    server = agreement.Server()
    try:
        measure(server, arguments)
    finally:
        server.stop()


def measure(server, arguments):
    tools = agreement.generators(arguments)
    agreement.fill(server, arguments.memtier)
    print("| closed loop | generator | wire: mean | p50 | p99 | told: p50 | p99 | told / wire: p50 | p99 | p99 / mean on the wire | shares < 3/4, > 5/4 |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, (*case, count, alone) in CASES.items():
        connections = 1 if alone else arguments.connections
        reply = len(server.send(*case[0].split()))
        rows = collections.defaultdict(list)
        for _ in range(arguments.runs):
            for tool, run in tools.items():
                with tempfile.NamedTemporaryFile(suffix=".pcap", dir="/dev/shm") as recorded:
                    recorder = Recorder(server.port, recorded.name)
                    _, _, p50, p99, *_ = run(server, (*case, count), connections, count)
                    recorder.stop()
                    times = on_the_wire(recorded.name, server.port, encoded(case[0]), reply)
                mean, seen = statistics.fmean(times), len(times)
                wire50, wire99 = times[seen // 2], times[seen * 99 // 100]
                early = sum(1 for each in times if each < mean * 0.75) / seen
                late = sum(1 for each in times if each > mean * 1.25) / seen
                rows[tool].append((mean, wire50, wire99, p50, p99, p50 / wire50, p99 / wire99, wire99 / mean, early, late))
        for tool, figures in rows.items():
            mean, wire50, wire99, p50, p99, r50, r99, spread, early, late = (statistics.median(c) for c in zip(*figures))
            print(
                f"| {name} | {tool} | {mean:.3f} ms | {wire50:.3f} ms | {wire99:.3f} ms | {p50:.3f} ms | {p99:.3f} ms"
                f" | {r50:.2f} | {r99:.2f} | {spread:.2f} | {early:.0%}, {late:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
