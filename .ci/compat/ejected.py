"""The nine steps of twemproxy's issue 604: a node is ejected, its keys are written elsewhere, it returns, and is ejected again.

  ejected.py [--build release]

With twemproxy the last step reads what was written elsewhere while the node was away the first time. Here three nodes and a
router run as processes; the node is stopped and goes on later with all that it had, or is killed and started again. A key
may be gone if its node was ejected; an older value than the newest is never read, neither through the router nor from
the node itself, which has requests in its socket before it goes on. Prints `N passed, N failed`."""

import argparse
import os
import pathlib
import signal
import socket
import sys
import time

from chaos import Process, read_reply, request
from tools import ROOT, free_port

KEYS = [f"key:{n}" for n in range(300)]
PATIENCE = 60


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        self.socket.settimeout(PATIENCE)
        self.reader = self.socket.makefile("rb")

    def send(self, requests):
        self.socket.sendall(b"".join(request(*words) for words in requests))

    def all(self, requests):
        """Pipelined; answers in order, errors as text that begins with `-`."""
        self.send(requests)
        return [read_reply(self.reader) for _ in requests]

    def one(self, *words):
        return self.all([words])[0]


class Check:
    def __init__(self):
        self.passed, self.wrong = 0, []

    def that(self, holds, text):
        if holds:
            self.passed += 1
        else:
            self.wrong.append(text)


def wait_until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise RuntimeError(f"in vain: {what}")
        time.sleep(0.02)


def shares(port):
    """How many slots each member has, as a node sees it."""

    def size(part):
        first, _, last = part.partition("-")
        return int(last or first) - int(first) + 1

    lines = Connection(port).one("CLUSTER", "NODES").splitlines()
    return [sum(map(size, line.split()[8:])) for line in lines]


def settled(ports, count):
    """Whether all see so many members with even shares: then nothing is to move."""
    even = 16384 // count
    return all(len(s) == count and all(even <= n <= even + 1 for n in s) for s in map(shares, ports))


def stopped(pid):
    """Whether all threads of a process stand still."""
    states = [(t / "stat").read_text().rpartition(")")[2].split()[0] for t in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    return all(state in "Tt" for state in states)


class World:
    def __init__(self, target, check):
        self.check = check
        self.ports = [free_port() for _ in range(4)]
        addresses = [f"127.0.0.1:{p}" for p in self.ports]
        join = ",".join(addresses[:3])
        self.nodes = [
            Process(str(target / "shoal-node"), "--listen", a, "--join", join, "--threads", "1") for a in addresses[:3]
        ]
        self.router = Process(str(target / "shoal-router"), "--listen", addresses[3], "--join", join)

    def end(self):
        for process in [*self.nodes, self.router]:
            process.kill()

    def client(self):
        return Connection(self.ports[3])

    def owned(self, node):
        """Keys that the node answers for itself."""
        answers = Connection(self.ports[node]).all([("GET", key) for key in KEYS])
        return {key for key, answer in zip(KEYS, answers) if answer is None or not answer.startswith("-")}

    def read(self, step, newest, may_be_gone):
        """Every key has its newest value, or none if it may have been lost."""
        answers = self.client().all([("GET", key) for key in KEYS])
        for key, answer in zip(KEYS, answers):
            good = answer == newest.get(key) or (answer is None and key in may_be_gone)
            self.check.that(good, f"{step}: GET {key} was answered {answer!r}, newest is {newest.get(key)!r}")
        return {key: answer for key, answer in zip(KEYS, answers) if answer is not None}

    def write(self, step, value):
        answers = self.client().all([("SET", key, f"{key}={value}") for key in KEYS])
        for key, answer in zip(KEYS, answers):
            self.check.that(answer == "+OK", f"{step}: SET {key} was answered {answer!r}")
        return {key: f"{key}={value}" for key in KEYS}

    def eject(self, how):
        gone = self.owned(0)
        early = None
        if how == "stopped":
            early = Connection(self.ports[0])
            early.one("PING")
            self.nodes[0].signal(signal.SIGSTOP)
            wait_until("the node stands still", lambda: stopped(self.nodes[0].process.pid))
            early.send([("GET", key) for key in KEYS])
        else:
            self.nodes[0].kill()
        wait_until("a view without the node", lambda: settled(self.ports[1:3], 2))
        return gone, early

    def take_back(self, how, early, step, newest):
        if how == "stopped":
            self.nodes[0].signal(signal.SIGCONT)
            try:
                answers = [read_reply(early.reader) for _ in KEYS]
            except (OSError, EOFError):
                # What was executed in doubt is not answered: the connection is closed.
                answers = []
            for key, answer in zip(KEYS, answers):
                good = answer is None or answer.startswith("-") or answer == newest[key]
                self.check.that(good, f"{step}: the node itself answers {answer!r} for {key}, newest is {newest[key]!r}")
        else:
            self.nodes[0].start()
        wait_until("a view with the node", lambda: settled(self.ports[:3], 3))
        wait_until("the node has keys", lambda: len(self.owned(0)) > len(KEYS) / 6)


def nine_steps(world, how):
    check = world.check
    wait_until("three nodes", lambda: settled(world.ports[:3], 3))
    wait_until("the router answers", lambda: world.client().one("GET", KEYS[0]) in (None, f"{KEYS[0]}=9"))
    newest = world.write("1", 1)
    gone, early = world.eject(how)
    check.that(bool(gone), "the node had no keys")
    kept = world.read("3", newest, gone)
    check.that(set(kept) >= set(KEYS) - gone, "3: others lost keys")
    newest = world.write("4", 4)
    world.take_back(how, early, "5", newest)
    newest = world.read("6", newest, set())
    newest = world.write("7", 7)
    gone, early = world.eject(how)
    check.that(bool(gone), "the node came back without keys")
    newest = world.read("9", newest, gone)
    # And once more back: what was lost stays lost.
    world.take_back(how, early, "10", {key: newest.get(key) for key in KEYS})
    world.read("11", newest, set())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="release")
    args = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / args.build
    check = Check()
    for how in ("stopped", "killed"):
        world = World(target, check)
        try:
            begun = time.monotonic()
            nine_steps(world, how)
            print(f"node {how}: {time.monotonic() - begun:.1f} s")
        finally:
            world.end()
    for line in check.wrong[:10]:
        print(f"WRONG: {line}")
    print(f"{check.passed} passed, {len(check.wrong)} failed")
    return 1 if check.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
