#!/usr/bin/env python3
"""The highest resident memory at any moment while one kind of values gives way to another as fast as clients write:
shoal-node, and redis-server beside it.

  peaks.py [--maxmemory 100] [--server shoal-node,redis-server] [--connections 1] [--threads 1] [--phases 10] [--json]
  peaks.py [--seed N | --kinds 6,4,...] [...]
  peaks.py --container 128 [...]

Needs redis-server (Debian) for the comparison, and `cargo build --release -p shoal-node`. Each phase writes 1.5 times the
limit, of one kind. By default the phases are those that once were the worst, and some more; with `--seed`, so many kinds drawn at
random, one in four of them after all keys were unlinked one by one; with `--kinds`, these, by their numbers in KINDS. The peak is the system's own (VmHWM), set back before each phase,
so nothing is missed between two looks. With `--container`, as root: the node runs in a memory cgroup of so many MB with its default limit, and
the script fails if the system kills it."""

import argparse
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import checks
from checks import TARGET

MB = 1 << 20
BATCH = MB
NOISE = os.urandom(2 * MB)
LEAST_CONTAINER = 32
SERVERS = ("shoal-node", "redis-server")
CGROUPS = pathlib.Path("/sys/fs/cgroup")
# Name of a kind: what makes it, and its least and most bytes or elements.
KINDS = {
    "strings of 30 to 600 B": ("string", 30, 600),
    "strings of 1 to 9 KB": ("string", 1000, 9000),
    "strings of 16 to 21 KB": ("string", 16_000, 21_000),
    "strings of 20 to 100 KB": ("string", 20_000, 100_000),
    "strings of 100 KB to 1 MB": ("string", 100_000, 1_000_000),
    "lists of 20 to 200": ("list", 20, 200),
    "hashes of 5 to 100": ("hash", 5, 100),
    "hashes of 300 to 900": ("hash", 300, 900),
    "sets of 200 to 2000": ("set", 200, 2000),
    "sorted sets of 150 to 1500": ("zset", 150, 1500),
    "lists of 1 to 3 elements of 20 KB": ("long", 1, 3),
    "appends of 3 to 20 KB to 100 keys": ("append", 3000, 20_000),
}
WORST = [0, 5, 2, 7, 3, 8, 4, 9, 1, 6, 5, 10, 5, 11]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def command(name, port, maxmemory, threads):
    if name == "redis-server":
        return ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"] + (
            ["--maxmemory", str(maxmemory), "--maxmemory-policy", "allkeys-lru"])
    limit = ["--maxmemory", str(maxmemory)] if maxmemory else []
    return [str(TARGET / name), "--listen", f"127.0.0.1:{port}", "--threads", str(threads), *limit]


class Container:
    """A memory cgroup of either version."""

    def __init__(self, size):
        v1 = (CGROUPS / "memory").is_dir()
        self.path = (CGROUPS / "memory" if v1 else CGROUPS) / f"peaks-{os.getpid()}"
        self.events = "memory.oom_control" if v1 else "memory.events"
        try:
            self.path.mkdir()
        except OSError as error:
            sys.exit(f"no memory cgroup can be made: {error}")
        (self.path / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(size))
        if not v1:
            (self.path / "memory.swap.max").write_text("0")

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self):
        lines = dict(line.split() for line in (self.path / self.events).read_text().splitlines())
        return int(lines.get("oom_kill", 0))

    def remove(self):
        self.path.rmdir()


def request(words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def make(rng, kind, n):
    key = b"k:%014x" % rng.getrandbits(50)
    if kind == "string":
        at = rng.randrange(len(NOISE) - n)
        return request([b"SET", key, NOISE[at : at + n]])
    if kind == "append":
        return request([b"APPEND", b"a:%d" % rng.randrange(100), NOISE[:n]])
    if kind == "long":
        return request([b"RPUSH", key] + [NOISE[:20_000]] * n)
    numbers = [b"%d" % rng.getrandbits(40) for _ in range(n)]
    if kind == "list":
        return request([b"RPUSH", key] + [NOISE[:100]] * n)
    if kind == "hash":
        return request([b"HSET", key] + [w for i, v in enumerate(numbers) for w in (b"field%d" % i, v)])
    if kind == "set":
        return request([b"SADD", key] + numbers)
    return request([b"ZADD", key] + [w for i, v in enumerate(numbers) for w in (b"%d" % i, v)])


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.replies = self.socket.makefile("rb")
        self.errors = 0

    def send(self, batch):
        self.socket.sendall(b"".join(batch))
        for _ in batch:
            line = self.replies.readline()
            if not line:
                raise ConnectionError("the server is gone")
            self.errors += line.startswith(b"-")

    def phase(self, rng, kind, total):
        written = 0
        while written < total:
            batch, size = [], 0
            while size < BATCH:
                batch.append(make(rng, kind[0], rng.randint(*kind[1:])))
                size += len(batch[-1])
            written += size
            self.send(batch)

    def limit(self):
        self.socket.sendall(request([b"CONFIG", b"GET", b"maxmemory"]))
        return int([self.replies.readline() for _ in range(5)][4])

    def unlink_all(self):
        cursor = b"0"
        while True:
            self.socket.sendall(request([b"SCAN", cursor, b"COUNT", b"1000"]))
            self.replies.readline()
            self.replies.readline()
            cursor = self.replies.readline().strip()
            keys = []
            for _ in range(int(self.replies.readline()[1:])):
                self.replies.readline()
                keys.append(self.replies.readline().strip())
            if keys:
                self.send([request([b"UNLINK", *keys])])
            if cursor == b"0":
                return


def last_line(file):
    """Of what a server said; of what is wrong with its flags, that and not the hint below it."""
    file.seek(0)
    lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("error:")]
    return (wrong or lines or ["it says nothing"])[-1]


class Server:
    def __init__(self, name, arguments, maxmemory, container):
        port = free_port()
        enter = container.enter if container else None
        with tempfile.TemporaryFile() as says:
            quiet = dict(stdin=subprocess.DEVNULL, stdout=says, stderr=says)
            self.process = subprocess.Popen(command(name, port, maxmemory, arguments.threads), preexec_fn=enter, **quiet)
            try:
                self.clients = self.connect(port, arguments.connections)
            except BaseException:
                self.stop()
                raise
            if not self.clients:
                self.stop()
                sys.exit(f"{name} does not answer: {last_line(says)}")

    def connect(self, port, connections):
        """None if the server does not answer."""
        for _ in range(100):
            try:
                return [Client(port) for _ in range(connections)]
            except OSError:
                if self.process.poll() is not None:
                    return None
                time.sleep(0.05)
        return None

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def memory(self, field):
        with open(f"/proc/{self.process.pid}/status") as lines:
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)

    def phase(self, seed, kind, total):
        """Whether the server is still there."""
        gone = []

        def run(client, seed):
            try:
                client.phase(random.Random(seed), kind, total / len(self.clients))
            except OSError:
                gone.append(client)

        threads = [threading.Thread(target=run, args=(c, f"{seed} {i}")) for i, c in enumerate(self.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return not gone

    def stop(self):
        self.process.terminate()
        self.process.wait()


def phases(arguments):
    names = list(KINDS)
    if arguments.kinds is not None:
        try:
            return [(names[range(len(names))[int(n)]], False) for n in arguments.kinds.split(",")]
        except (IndexError, ValueError):
            known = "".join(f"\n  {n}  {name}" for n, name in enumerate(names))
            sys.exit(f"--kinds takes numbers of these, with commas:{known}")
    if arguments.seed is None:
        return [(names[WORST[n % len(WORST)]], False) for n in range(arguments.phases)]
    rng = random.Random(arguments.seed)
    return [(rng.choice(names), n > 0 and rng.random() < 0.25) for n in range(arguments.phases)]


def run(arguments, name, container):
    maxmemory = 0 if container else arguments.maxmemory * MB
    server = Server(name, arguments, maxmemory, container)
    limit = maxmemory or server.clients[0].limit()
    highest, before = 0, "nothing"
    try:
        for number, (kind, emptied) in enumerate(phases(arguments)):
            server.forget_peak()
            if emptied:
                server.clients[0].unlink_all()
                before += ", unlinked"
            alive = server.phase(f"{arguments.seed} {number}", KINDS[kind], limit * 1.5)
            peak = server.memory("VmHWM")
            if not alive:
                show(arguments, name, f"{before} -> {kind}", {"killed": True})
                return False
            highest = max(highest, peak)
            show(arguments, name, f"{before} -> {kind}", {"peak MB": peak / MB, "of maxmemory": peak / limit})
            before = kind
        errors = sum(client.errors for client in server.clients)
        show(arguments, name, "highest", {"peak MB": highest / MB, "of maxmemory": highest / limit, "errors": errors})
        return True
    finally:
        server.stop()


def show(arguments, server, phase, figures):
    if arguments.json:
        print(json.dumps({"server": server, "phase": phase, **figures}), flush=True)
        return
    texts = [f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()]
    print(f"{server:14} {phase:64}", ", ".join(texts), flush=True)


def machine():
    """MB of memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MB


def refuse(arguments):
    """What would be ignored."""
    if arguments.kinds is not None and arguments.seed is not None:
        sys.exit("--seed draws the kinds: it does not go with --kinds")
    if arguments.kinds is not None and arguments.phases is not None:
        sys.exit("--kinds has a phase for each: it does not go with --phases")
    if arguments.container is None:
        return
    if arguments.maxmemory is not None:
        sys.exit("in a container the node has its default limit: --container does not go with --maxmemory")
    if arguments.server not in (None, ["shoal-node"]):
        sys.exit("--container is for shoal-node only")
    if arguments.container > machine():
        sys.exit(f"a container of {arguments.container} MB is larger than the machine ({machine()} MB)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maxmemory", type=checks.whole(1), help="MB; 100 if not said")
    parser.add_argument("--container", type=checks.whole(LEAST_CONTAINER), help="MB; shoal-node only, with its default limit")
    parser.add_argument("--server", type=checks.names(*SERVERS), help="both if not said")
    parser.add_argument("--connections", type=checks.whole(1), default=1)
    parser.add_argument("--threads", type=checks.whole(1), default=1)
    parser.add_argument("--phases", type=checks.whole(1), help=f"{len(WORST)} if not said")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--kinds", help="their numbers in KINDS, such as 6,4")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    refuse(arguments)
    arguments.maxmemory = arguments.maxmemory or 100
    arguments.phases = arguments.phases or len(WORST)
    arguments.server = arguments.server or (SERVERS[:1] if arguments.container else SERVERS)
    phases(arguments)
    checks.servers(arguments.server)
    # What was started ends, too; under nohup a closed terminal ends nothing.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: sys.exit(1))
    if not arguments.container:
        for name in arguments.server:
            run(arguments, name, None)
        return
    container = Container(arguments.container * MB)
    try:
        alive = run(arguments, "shoal-node", container)
        kills = container.kills()
        show(arguments, "shoal-node", f"in a container of {arguments.container} MB", {"killed by the system": kills})
    finally:
        container.remove()
    if kills or not alive:
        sys.exit(1)


main()
