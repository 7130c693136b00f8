"""Kills nodes, the router and connections at random under load; no reply may ever be swapped, duplicated or made up.

  chaos.py [--seconds 20] [--seed N] [--clients 8] [--build release]

Three nodes and a router are started as processes. Clients pipeline SET and GET of values that name their key, client and
number. Meanwhile nodes and the router are killed (and started again), stopped for half a second, and connections are
killed. Errors and lost keys are allowed, as nothing is replicated; a reply that belongs to another request is not.
Prints `N passed, N failed`; the seed repeats the order of the faults."""

import argparse
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time

from tools import ROOT, free_port

KEYS, DEPTH = 50, 20


class Process:
    def __init__(self, *command):
        self.command, self.process = command, None
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)


class Client(threading.Thread):
    """Sends DEPTH requests, reads exactly DEPTH replies, and knows what each of them may be."""

    def __init__(self, port, name, ending):
        super().__init__()
        self.port, self.name, self.ending = port, name, ending
        self.random = random.Random(name)
        self.sent = {}
        self.replies = self.errors = self.connects = 0
        self.wrong = []

    def run(self):
        while not self.ending.is_set():
            try:
                with socket.create_connection(("127.0.0.1", self.port), 2) as s:
                    s.settimeout(10)
                    self.connects += 1
                    with s.makefile("rb") as reader:
                        while not self.ending.is_set():
                            self.batch(s, reader)
            except (OSError, EOFError):
                self.ending.wait(0.02)

    def batch(self, s, reader):
        out, wanted = [], []
        for _ in range(DEPTH):
            key = f"{self.name}:{self.random.randrange(KEYS)}"
            if self.random.random() < 0.5:
                number = self.sent.get(key, 0) + 1
                self.sent[key] = number
                out.append(request("SET", key, f"{key}={number}"))
                wanted.append(("SET", key, number))
            else:
                out.append(request("GET", key))
                wanted.append(("GET", key, self.sent.get(key, 0)))
        s.sendall(b"".join(out))
        for verb, key, newest in wanted:
            self.check(verb, key, newest, read_reply(reader))

    def check(self, verb, key, newest, reply):
        self.replies += 1
        if reply is not None and reply.startswith("-"):
            self.errors += 1
        elif verb == "SET":
            if reply != "+OK":
                self.wrong.append(f"SET {key} was answered {reply!r}")
        elif reply is not None:
            name, _, number = reply.rpartition("=")
            if name != key or not number.isdigit() or not 1 <= int(number) <= newest:
                self.wrong.append(f"GET {key} (newest {newest}) was answered {reply!r}")


def request(*words):
    return (f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)).encode()


def read_reply(reader):
    line = reader.readline()
    if not line.endswith(b"\r\n"):
        raise EOFError
    if line[:1] != b"$":
        return line[:-2].decode()
    length = int(line[1:])
    if length < 0:
        return None
    body = reader.read(length + 2)
    if len(body) < length + 2:
        raise EOFError
    return body[:-2].decode()


def fault(chance, nodes, router, port):
    """One fault, drawn by the seed."""
    kind = chance.random()
    if kind < 0.35:
        node = chance.choice(nodes)
        node.kill()
        time.sleep(chance.random() * 0.5)
        node.start()
        return "a node killed"
    if kind < 0.55:
        node = chance.choice(nodes)
        node.signal(signal.SIGSTOP)
        time.sleep(0.5)
        node.signal(signal.SIGCONT)
        return "a node stopped for 0.5 s"
    if kind < 0.75:
        router.kill()
        router.start()
        return "the router killed"
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as s:
            s.sendall(request("CLIENT", "KILL", "TYPE", "normal"))
            s.settimeout(1)
            s.recv(100)
    except OSError:
        pass
    return "all connections killed"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--build", default="release")
    args = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / args.build
    ports = [free_port() for _ in range(4)]
    addresses = [f"127.0.0.1:{p}" for p in ports]
    join = ",".join(addresses[:3])
    processes = []
    ending = threading.Event()
    faults = {}
    clients = []
    try:
        for address in addresses[:3]:
            processes.append(Process(str(target / "shoal-node"), "--listen", address, "--join", join, "--threads", "1"))
        processes.append(Process(str(target / "shoal-router"), "--listen", addresses[3], "--join", join))
        nodes, router = processes[:3], processes[3]
        clients = [Client(ports[3], f"c{n}", ending) for n in range(args.clients)]
        for client in clients:
            client.start()
        chance = random.Random(args.seed)
        deadline = time.monotonic() + args.seconds
        while time.monotonic() < deadline:
            ending.wait(0.2 + chance.random() * 0.8)
            what = fault(chance, nodes, router, ports[3])
            faults[what] = faults.get(what, 0) + 1
    finally:
        ending.set()
        for client in clients:
            client.join()
        for process in processes:
            process.kill()
    replies = sum(c.replies for c in clients)
    errors = sum(c.errors for c in clients)
    wrong = [w for c in clients for w in c.wrong]
    print(f"seed {args.seed}: {replies} replies, {errors} errors, {sum(c.connects for c in clients)} connections, {faults}")
    for line in wrong[:10]:
        print(f"WRONG: {line}")
    alive = replies - errors > 1000
    if not alive:
        print("WRONG: hardly anything was served")
    failed = len(wrong) + (not alive)
    print(f"{replies - len(wrong)} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
