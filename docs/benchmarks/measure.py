#!/usr/bin/env python3
"""Server CPU per operation, side by side: shoal-node against redis-server, shoal-router against twemproxy.

  measure.py [--runs 5] [--only node|commands|large|router] [--case NAME]... [--node BINARY]... [--json]

Needs redis-server, redis-benchmark and, for the router, nutcracker (Debian: redis-server redis-tools nutcracker), two cores, and
`cargo build --release --workspace --bins --examples`. Servers run on core 0, the generator (redis-benchmark) and a proxy's backends on core 1. Runs
are interleaved; CPU is user and system time of the server's threads from /proc/PID/task/*/schedstat, divided by the
number of operations, so it holds on a machine that is busy with other things; throughput does not and is not shown.
The ratio is the median of the run-by-run ratios to the first server. Each --node is measured, in the same run, so that
a change is compared with what was before."""

import argparse
import json
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import checks
from checks import TARGET

NODES = [TARGET / "shoal-node"]
KEYS = 300_000
VALUE = 100
# Name: redis-benchmark's arguments, operations per run.
CASES = {
    "GET": (["-t", "get"], 200_000),
    "SET": (["-t", "set"], 200_000),
    "GET, pipeline 16": (["-t", "get", "-P", "16"], 1_000_000),
    "SET, pipeline 16": (["-t", "set", "-P", "16"], 1_000_000),
    "MGET 10": (["mget"] + ["key:__rand_int__"] * 10, 100_000),
    "MGET 10, pipeline 16": (["-P", "16", "mget"] + ["key:__rand_int__"] * 10, 200_000),
}

# redis-benchmark's list of commands, pipeline 16. Collections are of one key each and grow while they are measured; the
# removals take out what the additions before them put in.
COMMANDS = {
    "INCR": (["-P", "16", "-t", "incr"], 400_000),
    "LPUSH": (["-P", "16", "-t", "lpush"], 400_000),
    "LPOP": (["-P", "16", "-t", "lpop"], 400_000),
    "SADD": (["-P", "16", "-t", "sadd"], 400_000),
    "HSET": (["-P", "16", "-t", "hset"], 400_000),
    "ZADD": (["-P", "16", "-t", "zadd"], 400_000),
    "ZPOPMIN": (["-P", "16", "-t", "zpopmin"], 200_000),
    "SPOP": (["-P", "16", "-t", "spop"], 200_000),
    "RPUSH": (["-P", "16", "-t", "rpush"], 400_000),
    "LRANGE 100": (["-P", "16", "lrange", "mylist", "0", "99"], 60_000),
    "MGET 10": (["-P", "16", "mget"] + ["key:__rand_int__"] * 10, 100_000),
    "MSET 10": (["-P", "16", "-t", "mset"], 100_000),
    # Small collections, ten elements or so each: packed.
    "HSET, small": (["-P", "16", "hset", "h:__rand_int__", "field:__rand_int__", "0123456789abcdef"], 400_000),
    "SADD, small": (["-P", "16", "sadd", "s:__rand_int__", "member:__rand_int__"], 400_000),
    "ZADD, small": (["-P", "16", "zadd", "z:__rand_int__", "1", "member:__rand_int__"], 400_000),
    "LPUSH, small": (["-P", "16", "lpush", "l:__rand_int__", "0123456789abcdef"], 400_000),
    "LPOP, small": (["-P", "16", "lpop", "l:__rand_int__"], 400_000),
}
# Long strings, of few keys: what is measured is how they get to the socket and from it.
LARGE = {
    "GET 100 KB": (["-t", "get", "-d", "102400", "-r", "500"], 20_000),
    "GET 100 KB, pipeline 16": (["-t", "get", "-d", "102400", "-r", "500", "-P", "16"], 20_000),
    "GET 1 MB": (["-t", "get", "-d", "1048576", "-r", "100"], 2_000),
    "SET 100 KB": (["-t", "set", "-d", "102400", "-r", "500"], 10_000),
    "SET 1 MB": (["-t", "set", "-d", "1048576", "-r", "100"], 1_000),
}
# The keys of small collections: so few that each gets about ten elements.
SMALL = 40_000


def free_port():
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port < 45_000:
            return port


class Server:
    def __init__(self, core, *command):
        quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(["taskset", "-c", str(core), *map(str, command)], **quiet)

    def cpu(self):
        """Nanoseconds on a core, all threads."""
        tasks = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(t.read_text().split()[0]) for t in tasks)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)


def wait_for(port, command=b"PING\r\n", want=b"+PONG", seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 0.5) as s:
                s.settimeout(0.5)
                s.sendall(command)
                if s.recv(100).startswith(want):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"nothing answers on port {port}")


def benchmark(port, case):
    arguments, operations = case
    small = any(str(word).endswith(":__rand_int__") and len(word) < 16 for word in arguments)
    # Of two options of one name the second counts.
    command = ["taskset", "-c", "1", "redis-benchmark", "-p", str(port), "-c", "50", "-n", str(operations), "-r",
               str(SMALL if small else KEYS), "-d", str(VALUE), "-q", *arguments]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return operations


def fill(port):
    benchmark(port, (["-t", "set", "-P", "16"], 3 * KEYS))


def redis(port, core):
    return Server(core, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")


def nodes(directory):
    port = free_port()
    servers = {"redis-server": (redis(port, 0), port)}
    for binary in NODES:
        port = free_port()
        node = Server(0, binary, "--listen", f"127.0.0.1:{port}", "--threads", 1)
        name = pathlib.Path(binary).name
        servers[str(binary) if name in servers else name] = (node, port)
    return servers, []


def routers(directory):
    backends, helpers = [free_port() for _ in range(3)], []
    for port in backends:
        helpers.append(redis(port, 1))
        wait_for(port)
    proxy_port, router_port = free_port(), free_port()
    config = directory / "nutcracker.yml"
    config.write_text(f"p:\n  listen: 127.0.0.1:{proxy_port}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n"
                      "  auto_eject_hosts: false\n  timeout: 2000\n  server_connections: 1\n  servers:\n"
                      + "".join(f"   - 127.0.0.1:{port}:1\n" for port in backends))
    stats = free_port()
    twemproxy = Server(0, "nutcracker", "-c", config, "-a", "127.0.0.1", "-s", stats, "-m", 16384)
    # The same backends for both, so that only the proxies differ: the example is the router with a fixed view.
    addresses = ",".join(f"127.0.0.1:{port}" for port in backends)
    router = Server(0, TARGET / "examples" / "static", f"127.0.0.1:{router_port}", addresses, 1)
    return {"twemproxy": (twemproxy, proxy_port), "shoal-router": (router, router_port)}, helpers


# Of `--only`: what starts the servers, the cases, and what they need besides redis-server.
SUITES = {
    "node": (nodes, CASES, []),
    "commands": (nodes, COMMANDS, []),
    "large": (nodes, LARGE, []),
    "router": (routers, CASES, ["nutcracker"]),
}


def suites(only, chosen):
    """Those that have one of the cases, or all; what they need is there."""
    asked = [suite for name, suite in SUITES.items() if only in (None, name)]
    known = {case: None for _, cases, _ in asked for case in cases}
    for case in chosen or []:
        if case not in known:
            raise SystemExit(f"no case {case!r}: there are {', '.join(map(repr, known))}")
    found = [suite for suite in asked if not chosen or any(case in suite[1] for case in chosen)]
    checks.installed("redis-server", "redis-benchmark", "taskset", *(tool for suite in found for tool in suite[2]))
    if any(setup is nodes for setup, _, _ in found):
        checks.built(*NODES)
    if any(setup is routers for setup, _, _ in found):
        checks.built("examples/static")
    return found


def measure(setup, runs, cases, chosen):
    rows = []
    with tempfile.TemporaryDirectory() as directory:
        servers, helpers = setup(pathlib.Path(directory))
        try:
            for _, port in servers.values():
                wait_for(port, b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n", b"+OK")
                if cases is not LARGE:
                    fill(port)
            for name, case in cases.items():
                if chosen and name not in chosen:
                    continue
                if cases is LARGE:
                    # All keys, so that no GET misses.
                    arguments = ["-t", "set", *case[0][2:6]]
                    for _, port in servers.values():
                        benchmark(port, (arguments, 8 * int(arguments[-1])))
                costs = {server: [] for server in servers}
                for _ in range(runs):
                    for server, (process, port) in servers.items():
                        before = process.cpu()
                        operations = benchmark(port, case)
                        costs[server].append((process.cpu() - before) / operations / 1000)
                base = next(iter(costs.values()))
                for server, values in costs.items():
                    ratios = [v / b for v, b in zip(values, base)]
                    ratio = statistics.median(ratios)
                    rows.append(dict(case=name, server=server, us=round(statistics.median(values), 3),
                                     low=round(min(values), 3), high=round(max(values), 3), ratio=round(ratio, 3),
                                     lowest=round(min(ratios), 3), highest=round(max(ratios), 3)))
                    print(f"{name:22s} {server:14s} {rows[-1]['us']:8.3f} us/op [{rows[-1]['low']}-{rows[-1]['high']}]"
                          f"  ratio {ratio:.3f}", file=sys.stderr, flush=True)
        finally:
            for process, _ in servers.values():
                process.stop()
            for helper in helpers:
                helper.stop()
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=checks.whole(1), default=5)
    parser.add_argument("--only", choices=SUITES)
    parser.add_argument("--case", action="append", help="only the case of this name; may be repeated")
    parser.add_argument("--node", action="append", help="another shoal-node than that of the target directory; may be repeated")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    NODES[:] = args.node or NODES
    for setup, cases, _ in suites(args.only, args.case):
        rows += measure(setup, args.runs, cases, args.case)
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    print("| case | server | CPU us/op | lowest-highest | ratio |\n|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['case']} | {r['server']} | {r['us']:.2f} | {r['low']:.2f}-{r['high']:.2f} | {r['ratio']:.2f} |")


if __name__ == "__main__":
    main()
