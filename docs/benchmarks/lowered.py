#!/usr/bin/env python3
"""How many keys survive when `maxmemory` is lowered while a client writes: at the lowest point, and when it has settled.

  lowered.py [--before 150] [--after 50] [--quiet] [--node BINARY]...

In MB. Three million SETs of 16 bytes fill a node; with the lower limit in force as many follow, unless `--quiet`. Evicting more than the
limit asks for shows as a lowest point far below what is there in the end. Needs redis-benchmark and
`cargo build --release -p shoal-node`."""

import argparse
import socket
import subprocess
import time

import checks
import measure

WRITES = ["-q", "-P", "16", "-t", "set", "-d", "16", "-r", "3000000", "-n", "3000000"]
SETTLED_AFTER = 5


def connect(port):
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port)).makefile("rwb")
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the node does not answer")


def ask(client, line):
    client.write(line.encode() + b"\r\n")
    client.flush()
    head = client.readline()
    return client.read(int(head[1:]) + 2).decode() if head.startswith(b"$") else head.decode()


def state(client):
    """Keys; MB of keys and values, of what counts against the limit, and resident."""
    info = dict(line.split(":", 1) for line in ask(client, "INFO").splitlines() if ":" in line)
    sizes = [int(info[name]) / (1 << 20) for name in ("used_memory", "shoal_memory_held", "used_memory_rss")]
    return int(ask(client, "DBSIZE")[1:]), *sizes


def show(name, point, found):
    keys, used, held, resident = found
    print(f"{name:20} {point:8} {keys:9,} keys, {used:6.1f} MB, held {held:6.1f}, resident {resident:6.1f}", flush=True)


def run(binary, arguments):
    port, name = measure.free_port(), binary.rsplit("/", 1)[-1]
    limit = ["--threads", "1", "--maxmemory", f"{arguments.before}mb"]
    node = subprocess.Popen([binary, "--listen", f"127.0.0.1:{port}", *limit], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    writes = ["redis-benchmark", "-p", str(port), *WRITES]
    client, writing = None, None
    try:
        client = connect(port)
        subprocess.run(writes, check=True, stdout=subprocess.DEVNULL)
        show(name, "before", state(client))
        if not arguments.quiet:
            writing = subprocess.Popen(writes, stdout=subprocess.DEVNULL)
        ask(client, f"CONFIG SET maxmemory {arguments.after}mb")
        lowest, until = state(client), time.monotonic() + SETTLED_AFTER
        while time.monotonic() < until or (writing and writing.poll() is None):
            time.sleep(0.03)
            lowest = min(lowest, state(client))
        show(name, "lowest", lowest)
        show(name, "settled", state(client))
    finally:
        for process in filter(None, (writing, node)):
            process.terminate()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=checks.whole(2), default=150)
    parser.add_argument("--after", type=checks.whole(1), default=50)
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("--node", action="append")
    arguments = parser.parse_args()
    binaries = arguments.node or [str(checks.TARGET / "shoal-node")]
    checks.built(*(["shoal-node"] if not arguments.node else binaries))
    checks.installed("redis-benchmark")
    for binary in binaries:
        run(binary, arguments)


main()
