#!/usr/bin/env python3
"""Resident memory of idle connections: shoal-node against redis-server.

  idle.py [--connections 10000] [--node BINARY]...

Opens the connections, lets each send one SET of a 300-byte value and one pipeline of 16 GETs, and reads the replies. The
difference of the server's RSS (all of its memory by /proc/PID/smaps_rollup) before and after, divided by the connections, is
what one costs while it does nothing; the kernel's buffers are not in it. Clients are spread over 127.0.0.x, so that ports
suffice; `ulimit -n` must allow the connections, and 1200 more, in both processes."""

import argparse
import pathlib
import resource
import socket
import subprocess
import time

import checks
import measure

SET = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$300\r\n" + b"x" * 300 + b"\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"
# What a server may have besides the connections: clients, and open files that are no clients.
SPARE_CLIENTS = 1000
SPARE_FILES = 200
REPLY = b"+OK\r\n" + (b"$300\r\n" + b"x" * 300 + b"\r\n") * 16


def rss(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:")) * 1024


def receive(client, n):
    while n > 0:
        got = client.recv(n)
        if not got:
            raise SystemExit("the server closed a connection")
        n -= len(got)


def use(client):
    client.sendall(SET + GET * 16)
    receive(client, len(REPLY))


def cost(server, port, connections):
    """RSS in bytes before the connections, with all of them open and used, and when they are closed."""
    measure.wait_for(port, b"*1\r\n$4\r\nPING\r\n")
    check_clients(port, connections)
    warm = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
    for _ in range(20):
        for client in warm:
            use(client)
    before = rss(server.process.pid)
    clients = []
    for i in range(connections):
        client = socket.socket()
        client.bind((f"127.0.0.{2 + i // 20_000}", 0))
        client.connect(("127.0.0.1", port))
        use(client)
        clients.append(client)
    # What a server gives back only after a moment, it gives back in this time.
    time.sleep(3)
    during = rss(server.process.pid)
    for client in clients + warm:
        client.close()
    time.sleep(1)
    return before, during, rss(server.process.pid)


def allow(connections):
    """Raises the limit of open files of this process and those that it starts."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = most - SPARE_CLIENTS - SPARE_FILES
    if connections > allowed:
        raise SystemExit(f"the limit of open files (ulimit -Hn: {most}) allows --connections {max(allowed, 0)} at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def check_clients(port, connections):
    """Whether the server has as many clients as it was told to."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"CONFIG GET maxclients\r\n")
        clients = int(client.recv(100).split()[-1])
    if clients < connections + SPARE_CLIENTS:
        raise SystemExit(f"the server's maxclients is {clients}, and {connections + SPARE_CLIENTS} are needed")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=checks.whole(1), default=10_000)
    parser.add_argument("--node", action="append", help="another shoal-node than that of the target directory")
    args = parser.parse_args()
    checks.installed("redis-server", "taskset")
    checks.built(*(args.node or measure.NODES))
    allow(args.connections)
    limit = str(args.connections + SPARE_CLIENTS)
    print("| server | RSS before, MB | with the connections | after | bytes a connection |\n|---|---|---|---|---|")
    for binary in ["redis-server", *(args.node or measure.NODES)]:
        port = measure.free_port()
        if binary == "redis-server":
            command = [binary, "--port", port, "--bind", "127.0.0.1", "--save", "", "--protected-mode", "no",
                       "--maxclients", limit]
        else:
            command = [binary, "--listen", f"127.0.0.1:{port}", "--threads", 1, "--maxclients", limit]
        server = measure.Server(0, *command)
        try:
            sizes = cost(server, port, args.connections)
        finally:
            server.stop()
        megabytes = " | ".join(f"{size / 1e6:.1f}" for size in sizes)
        print(f"| {pathlib.Path(binary).name} | {megabytes} | {(sizes[1] - sizes[0]) / args.connections:.0f} |", flush=True)


if __name__ == "__main__":
    main()
