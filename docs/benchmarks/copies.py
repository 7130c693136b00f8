#!/usr/bin/env python3
"""What a SET costs with a copy: CPU at the owner and at the copy, next to no copies and to redis-server with a replica.

  copies.py [--build release] [--case none] [--case all] [--case async] [--case redis] [--case replica] [--seconds 5]

Two nodes of which one owns all slots but a few (weights 10000 and 1), so that the other has copies of nearly everything.
The owner runs on core 0, its copy and the generator on core 1, each server with one thread. SETs of 100 bytes on 100,000 keys, 50
connections in a closed loop. CPU is that of the whole processes, from /proc/PID/stat, divided by the answers."""

import argparse
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def free_port():
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port + 20000 < 65536:
            return port


def ask(port, command):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(command.encode() + b"\r\n")
        text = b""
        while not re.match(rb"(\$(\d+)\r\n(?s:.*)\r\n$)|([+\-:].*\r\n$)", text):
            more = s.recv(65536)
            if not more:
                break
            text += more
        return text.decode()


def until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if what():
                return
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit("the servers did not become ready")


def field(port, name):
    found = re.search(rf"{name}:(\S+)", ask(port, "INFO replication"))
    return found and found.group(1)


class Pair:
    """An owner, and the server that has its copy if there is one."""

    def __init__(self, case, binary):
        self.processes, ports = [], [free_port(), free_port()]
        self.port, self.cluster = ports[0], case not in ("redis", "replica")
        if not self.cluster:
            self.start(0, "redis-server", "--port", str(ports[0]), "--save", "", "--appendonly", "no")
            until(lambda: field(ports[0], "role"))
            if case == "replica":
                self.start(1, "redis-server", "--port", str(ports[1]), "--save", "", "--appendonly", "no", "--replicaof",
                           "127.0.0.1", str(ports[0]))
                until(lambda: field(ports[1], "master_link_status") == "up")
            return
        flags = {"none": ["--replicas", "0"], "all": ["--replicas", "1"],
                 "async": ["--replicas", "1", "--replica-ack", "async"]}[case]
        for core, weight in ((0, "10000"), (1, "1")):
            join = ["--join", f"127.0.0.1:{ports[0]}"] if core else []
            self.start(core, binary, "--listen", f"127.0.0.1:{ports[core]}", "--threads", "1", "--weight", weight,
                       *flags, *join)
            until(lambda: ask(ports[core], "PING").startswith("+PONG"))
        wanted = 0 if case == "none" else 16384
        nodes = lambda: "cluster_known_nodes:2" in ask(ports[0], "CLUSTER INFO")
        synced = lambda: sum(int(field(port, "shoal_slots_in_sync")) for port in ports) >= wanted
        until(lambda: nodes() and synced() and "0 of 16384 slots move" in ask(ports[0], "SHOAL PLAN"))

    def start(self, core, *command):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.processes.append(subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], **quiet))

    def cpu(self):
        def one(process):
            fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return [one(process) for process in self.processes]

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="release")
    parser.add_argument("--case", action="append")
    parser.add_argument("--seconds", type=int, default=5)
    args = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / args.build
    for case in args.case or ["none", "all", "async", "redis", "replica"]:
        pair = Pair(case, target / "shoal-node")
        try:
            for pipeline in (1, 16):
                with tempfile.NamedTemporaryFile(suffix=".json") as figures:
                    load = ["taskset", "-c", "1", str(target / "shoal-loadtest"), "run", "--target",
                            f"127.0.0.1:{pair.port}", "--ratio", "0:1", "--keys", "100000", "--value-size", "100",
                            "-c", "50", "-P", str(pipeline), "-d", f"{args.seconds}s", "--warmup", "0s", "-q",
                            "--json", figures.name, *(["--cluster"] if pair.cluster else [])]
                    before = pair.cpu()
                    subprocess.run(load, check=True, stdout=subprocess.DEVNULL)
                    spent = [after - b for after, b in zip(pair.cpu(), before)]
                    commands = json.load(open(figures.name))["commands"]
                    assert not any(c["errors"] or c["lost"] for c in commands), commands
                    answers = sum(c["answered"] for c in commands)
                    each = ", ".join(f"{1e6 * s / answers:.2f}" for s in spent)
                    print(f"{case:8} pipeline {pipeline:2}: {each} us of CPU per SET (owner, copy), "
                          f"{answers / args.seconds:.0f} SETs/s", flush=True)
        finally:
            pair.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
