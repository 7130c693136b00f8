"""How long service takes to come back after kill -9 of one of three nodes, under load through the router.

  crash.py [--build release] [--kills 8] [--out times.txt]

Four clients each ask for 60 keys, spread over all slots, in rounds of one pipeline, one round after the other: nine GETs to one SET. A node
is killed, another one each time. Service is back when every client has had the answers to a round that it began after the kill; errors
are counted. Then the node is started again, and everything settles. Prints the times, and of all times in the file given with
`--out`, to which they are added, median, 99 % and the longest: kills can be made in several runs."""

import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLIENTS, KEYS, WAIT = 4, 60, 30


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def words(*args):
    return b"".join([b"*%d\r\n" % len(args), *(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)])


def line(stream):
    text = stream.readline()
    if not text.endswith(b"\r\n"):
        raise ConnectionError("closed")
    return text[:-2]


def reply(stream):
    head = line(stream)
    if head[:1] == b"$" and head != b"$-1":
        return stream.read(int(head[1:]) + 2)[:-2]
    if head[:1] == b"*":
        return [reply(stream) for _ in range(int(head[1:]))]
    return head


def ask(port, *args):
    with socket.create_connection(("127.0.0.1", port), 5) as s, s.makefile("rb") as stream:
        s.sendall(words(*args))
        return reply(stream)


class Client(threading.Thread):
    """Asks in rounds; keeps when the last complete round began, and how many answers were errors."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.number, self.begun, self.errors, self.rounds, self.ended = number, 0.0, 0, 0, False
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.stream = self.socket.makefile("rb")

    def run(self):
        while not self.ended:
            begun = time.monotonic()
            batch = []
            for n in range(KEYS):
                key = b"key-%d-%d" % (self.number, n)
                batch.append(words(b"SET", key, b"x" * 100) if (n + self.rounds) % 10 == 0 else words(b"GET", key))
            self.socket.sendall(b"".join(batch))
            answers = [reply(self.stream) for _ in range(KEYS)]
            self.errors += sum(a[:1] == b"-" for a in answers)
            self.begun, self.rounds = begun, self.rounds + 1
            time.sleep(0.002)


class Cluster:
    def __init__(self, target):
        self.node, self.ports = str(target / "shoal-node"), []
        while len(self.ports) < 3:
            port = free_port()
            if port < 40000:
                self.ports.append(port)
            else:
                self.ports.append(20000 + port % 10000)
        self.seeds = ",".join(f"127.0.0.1:{p}" for p in self.ports)
        self.nodes = [self.start(n) for n in range(3)]
        self.port = free_port()
        self.router = subprocess.Popen(
            [str(target / "shoal-router"), "--join", self.seeds, "--listen", f"127.0.0.1:{self.port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self, n):
        return subprocess.Popen([self.node, "--join", self.seeds, "--listen", f"127.0.0.1:{self.ports[n]}"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def settled(self):
        """Whether all say the same, and each of the three has its third of the slots."""
        try:
            slots = [ask(port, b"CLUSTER", b"SLOTS") for port in self.ports]
        except OSError:
            return False
        shares = {}
        for first, last, owner, *_ in slots[0]:
            shares[owner[1]] = shares.get(owner[1], 0) + int(last[1:]) - int(first[1:]) + 1
        return all(s == slots[0] for s in slots) and len(shares) == 3 and min(shares.values()) >= 5461

    def settle(self):
        deadline, well = time.monotonic() + WAIT, 0
        while well < 5:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster has not settled in {WAIT} s")
            well = well + 1 if self.settled() else 0
            time.sleep(0.2)

    def end(self):
        for process in [self.router, *self.nodes]:
            process.kill()
            process.wait()


def measure(cluster, clients, victim):
    killed = time.monotonic()
    cluster.nodes[victim].send_signal(signal.SIGKILL)
    while any(c.begun <= killed for c in clients):
        if time.monotonic() > killed + WAIT or not all(c.is_alive() for c in clients):
            raise RuntimeError("service does not come back")
        time.sleep(0.002)
    back = time.monotonic() - killed
    cluster.nodes[victim].wait()
    return back


def summary(times):
    times = sorted(times)
    high = times[min(len(times) - 1, int(len(times) * 0.99))]
    return f"{len(times)} kills: median {statistics.median(times):.2f} s, p99 {high:.2f} s, longest {times[-1]:.2f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="release")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    cluster = Cluster(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / args.build)
    try:
        cluster.settle()
        clients = [Client(cluster.port, n) for n in range(CLIENTS)]
        for client in clients:
            client.start()
        times = []
        for kill in range(args.kills):
            times.append(measure(cluster, clients, kill % 3))
            print(f"{times[-1]:.3f} s", flush=True)
            cluster.nodes[kill % 3] = cluster.start(kill % 3)
            cluster.settle()
        errors, rounds = sum(c.errors for c in clients), sum(c.rounds for c in clients)
        for client in clients:
            client.ended = True
        for client in clients:
            client.join(5)
    finally:
        cluster.end()
    if args.out:
        with args.out.open("a") as file:
            file.writelines(f"{t:.4f}\n" for t in times)
        times = [float(text) for text in args.out.read_text().split()]
    print(f"{errors} errors in {rounds * KEYS} requests of this run; {summary(times)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
