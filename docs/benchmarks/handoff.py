"""How fast half of a node's data moves to another node over loopback, and what clients notice of it.

  handoff.py [--build release] [--megabytes 200] [--only strings|small|zset|hash|set|list] [--set NAME VALUE]... [--writes RATE]

For each kind of data: a node is filled, a second one joins, and the time is taken from the first byte that moves until the second
serves half of the slots, and the CPU that both nodes used. Both have one thread. Meanwhile one client reads small keys from both, one request at a time at each; its
waits before and during the move are shown. `--set` gives parameters of CONFIG SET, such as `cluster-handoff-max-rate`. `--writes`
lets `shoal-loadtest` SET the small keys (or, with other kinds, as many keys beside them) at so many a second from before the move
until after it, as a client of the cluster; it says what it could do, and its errors."""

import argparse
import json
import os
import pathlib
import select
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def command(*words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


class Node:
    def __init__(self, binary, join=None):
        self.resp, self.gossip, self.admin = free_ports(3)
        flags = {"--listen": self.resp, "--gossip": self.gossip, "--admin": self.admin}
        words = [str(binary), "--threads", "1", "--log-level", "warn"]
        for flag, port in flags.items():
            words += [flag, f"127.0.0.1:{port}"]
        if join:
            words += ["--join", f"127.0.0.1:{join.resp}"]
        self.process = subprocess.Popen(words)
        deadline = time.time() + 20
        while True:
            try:
                return self.open().close()
            except OSError:
                if time.time() > deadline:
                    raise
                time.sleep(0.01)

    def open(self):
        s = socket.create_connection(("127.0.0.1", self.resp), 30)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def ask(self, *words):
        with self.open() as s:
            s.sendall(command(*words))
            return s.recv(1 << 16)

    def cpu(self):
        """Seconds of CPU that it has used."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def metric(self, start):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=5).read().decode()
        found = [line.split() for line in text.splitlines() if line.startswith(start)]
        return sum(float(line[-1]) for line in found)

    def slots(self):
        with self.open() as s:
            s.sendall(command("CLUSTER", "MYID"))
            me = s.recv(1000).split(b"\r\n")[1].decode()
            s.sendall(command("CLUSTER", "NODES"))
            text = s.recv(1 << 20).decode()
        line = next((line for line in text.splitlines() if line.startswith(me)), "")
        ranges = [part.split("-") for part in line.split(" ")[8:]]
        return sum(int(r[-1]) - int(r[0]) + 1 for r in ranges)


def fill(node, requests):
    """Sends requests, so many at a time, and reads as many answers."""
    with node.open() as s:
        batch = []

        def flush():
            data, left = memoryview(b"".join(batch)), len(batch)
            s.setblocking(False)
            while left:
                readable, writable, _ = select.select([s], [s] if data else [], [], 30)
                if readable:
                    # Answers are numbers or OK, a line each.
                    left -= s.recv(1 << 16).count(b"\r\n")
                if writable:
                    data = data[s.send(data):]
            s.setblocking(True)
            batch.clear()

        for request in requests:
            batch.append(request)
            if len(batch) == 200:
                flush()
        if batch:
            flush()


def data(kind, megabytes):
    if kind == "small":
        return (command("SET", f"key:{i:012}", "v" * 32) for i in range(megabytes * 5000))
    if kind == "strings":
        return (command("SET", f"key:{i:012}", "v" * 10_000) for i in range(megabytes * 100))
    # Collections of a megabyte: elements of 60 bytes, in pieces.
    name = {"zset": "ZADD", "hash": "HSET", "set": "SADD", "list": "RPUSH"}[kind]

    def words(key, first):
        for i in range(first, first + 1000):
            if kind == "zset":
                yield str(i * 7919 % 100_003)
            if kind == "hash":
                yield f"{i:020}"
            yield f"{key:010}{i:050}"

    return (command(name, f"large:{key}", *words(key, first)) for key in range(megabytes) for first in range(0, 10_000, 1000))


class Reader(threading.Thread):
    """One client that reads the same key again and again; waits in seconds, by the time at which they ended."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node, self.waits, self.over = node, [], False

    def run(self):
        request = command("GET", "probe")
        with self.node.open() as s:
            while not self.over:
                begun = time.perf_counter()
                s.sendall(request)
                s.recv(4096)
                now = time.perf_counter()
                self.waits.append((now, now - begun))
                time.sleep(0.0005)


class Writer:
    """`shoal-loadtest` beside it: SETs of the small keys, in an open loop."""

    def __init__(self, binary, node, rate, keys):
        self.report = tempfile.NamedTemporaryFile(suffix=".json")
        words = [str(binary.with_name("shoal-loadtest")), "run", "--cluster", "--target", f"127.0.0.1:{node.resp}"]
        words += ["--rate", rate, "--ratio", "0:1", "--keys", keys, "--key-size", 16, "--value-size", 32]
        words += ["--connections", 20, "--pipeline", 16, "--warmup", "500ms", "--duration", "10s", "--quiet"]
        self.process = subprocess.Popen([str(w) for w in words + ["--json", self.report.name]], stdout=subprocess.DEVNULL)
        self.begun = time.perf_counter() + 0.5

    def told(self, begun, ended):
        """What it did in the seconds of the move."""
        self.process.wait(60)
        report = json.load(open(self.report.name))
        first, last = int(begun - self.begun), int(ended - self.begun)
        seconds = report["seconds"][first : last + 1]
        rate = sum(s["answered"] for s in seconds) / sum(s["length_s"] for s in seconds)
        errors = sum(s["errors"] + s["connection_errors"] + s["lost"] for s in report["seconds"])
        worst = max(s["max_us"] for s in seconds) / 1e3
        p99 = max(s["p99_us"] for s in seconds) / 1e3
        return f"; {rate:.0f} SETs/s in the seconds of the move, p99 of a second <= {p99:.1f} ms, max {worst:.0f} ms, {errors} errors in 10 s"


def quantile(waits, q):
    waits = sorted(waits)
    return waits[min(len(waits) - 1, int(q * len(waits)))] * 1e3 if waits else float("nan")


def measure(binary, kind, megabytes, settings, writes):
    nodes = [Node(binary)]
    readers, writer = [], None
    try:
        fill(nodes[0], data(kind, megabytes))
        for name, value in settings:
            assert nodes[0].ask("CONFIG", "SET", name, value).startswith(b"+OK"), name
        readers.append(Reader(nodes[0]))
        readers[0].start()
        time.sleep(2)
        if writes:
            writer = Writer(binary, nodes[0], writes, megabytes * 5000)
            time.sleep(2)
        nodes.append(Node(binary, nodes[0]))
        readers.append(Reader(nodes[1]))
        readers[1].start()
        for name, value in settings:
            nodes[1].ask("CONFIG", "SET", name, value)
        while nodes[0].metric('shoal_handoff_bytes_total{direction="out"') + nodes[0].metric("shoal_handoff_bytes_total{node") == 0:
            time.sleep(0.001)
        used, own = [node.cpu() for node in nodes], time.process_time()
        begun = time.perf_counter()
        while nodes[1].slots() < 8192:
            # Each look costs the node and this program CPU that the move could use.
            time.sleep(0.02)
        ended = time.perf_counter()
        used, own = [node.cpu() - before for node, before in zip(nodes, used)], time.process_time() - own
        sent = nodes[0].metric("shoal_handoff_bytes_total")
        for reader in readers:
            reader.over = True
            reader.join()
        before = [wait for at, wait in readers[0].waits if at < begun - 0.5]
        during = [wait for reader in readers for at, wait in reader.waits if begun <= at <= ended]
        also = writer.told(begun, ended) if writer else ""
        keys = f" ({megabytes * 2500 / (ended - begun) / 1e6:.2f} M keys/s)" if kind == "small" else ""
        print(
            f"{kind:<8} {sent / 1e6:6.0f} MB in {ended - begun:5.2f} s: {sent / 1e6 / (ended - begun):5.0f} MB/s{keys}; "
            f"CPU of the nodes {used[0]:.2f} s and {used[1]:.2f} s, this program {own:.2f} s; "
            f"p50 / p99 / max before {quantile(before, 0.5):.2f} / {quantile(before, 0.99):.2f} / {quantile(before, 1):.1f} ms, "
            f"during {quantile(during, 0.5):.2f} / {quantile(during, 0.99):.2f} / {quantile(during, 1):.1f} ms{also}",
            flush=True,
        )
    finally:
        if writer:
            writer.process.kill()
            writer.process.wait()
        for node in nodes:
            node.process.kill()
            node.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="release")
    parser.add_argument("--binary")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--only", choices=["strings", "small", "zset", "hash", "set", "list"])
    parser.add_argument("--writes", type=int, metavar="RATE")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    args = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    binary = pathlib.Path(args.binary or target / args.build / "shoal-node")
    for kind in [args.only] if args.only else ["small", "strings", "zset", "hash", "set", "list"]:
        measure(binary, kind, args.megabytes, args.set, args.writes)


if __name__ == "__main__":
    main()
