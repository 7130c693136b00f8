#!/usr/bin/env python3
"""Resident memory of idle connections: shoal-node against redis-server.

  idle.py [--connections 10000] [--node BINARY]...

Opens the connections, lets each send one SET of a 300-byte value and one pipeline of 16 GETs, and reads the replies. The
difference of the server's RSS (all of its memory by /proc/PID/smaps_rollup) before and after, divided by the connections, is
what one costs while it does nothing; the kernel's buffers are not in it. Clients are spread over 127.0.0.x, so that ports
suffice; `ulimit -n` must allow the connections in both processes."""

import argparse
import pathlib
import resource
import socket
import subprocess
import time

import measure

SET = b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$300\r\n" + b"x" * 300 + b"\r\n"
GET = b"*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n"
REPLY = b"+OK\r\n" + (b"$300\r\n" + b"x" * 300 + b"\r\n") * 16


def rss(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:")) * 1024


def receive(client, n):
    while n > 0:
        got = client.recv(n)
        if not got:
            raise SystemExit("a connection was closed")
        n -= len(got)


def use(client):
    client.sendall(SET + GET * 16)
    receive(client, len(REPLY))


def cost(server, port, connections):
    """RSS in bytes before the connections, with all of them open and used, and when they are closed."""
    measure.wait_for(port, b"*1\r\n$4\r\nPING\r\n")
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--node", action="append", help="another shoal-node than that of the target directory")
    args = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    limit = str(args.connections + 1000)
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
