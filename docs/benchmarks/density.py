#!/usr/bin/env python3
"""Resident memory per key, side by side: shoal-node, redis-server and memcached.

  density.py [--items 2000000] [--collections 200000] [--json]

Needs redis-server and memcached (Debian), and `cargo build --release -p shoal-node`. Each server is started, loaded through one
connection and ended; the figure is (RSS after - RSS before) / keys, for strings less the 16 bytes of the key and the 32 of the
value. Memory does not depend on how busy the machine is, so one run of each is enough."""

import argparse
import json
import pathlib
import random
import socket
import subprocess
import sys
import time

import checks
from checks import TARGET

BATCH = 500


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def servers(port):
    listen = f"127.0.0.1:{port}"
    return {
        "redis-server": ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
        "memcached": ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-m", "8192", "-t", "1"],
        "shoal-node": [str(TARGET / "shoal-node"), "--listen", listen, "--threads", "1"],
    }


def resident(pid):
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words)


def string(i, ttl):
    words = [b"SET", b"key:%012d" % i, b"%032d" % i]
    return request(*words, b"EX", b"86400") if ttl else request(*words)


def memcached_string(i, ttl):
    return b"set key:%012d 0 %d 32\r\n%032d\r\n" % (i, 86400 if ttl else 0, i)


def hash_of_10(i):
    pairs = (w for j in range(10) for w in (b"f%d" % j, b"v%015d" % random.getrandbits(45)))
    return request(b"HSET", b"key:%012d" % i, *pairs)


def set_of_20(i):
    return request(b"SADD", b"key:%012d" % i, *(b"%d" % random.randrange(100_000) for _ in range(20)))


def zset_of_20(i):
    pairs = (w for _ in range(20) for w in (b"%d" % random.randrange(1000), b"member%d" % random.randrange(10**6)))
    return request(b"ZADD", b"key:%012d" % i, *pairs)


def load(port, count, make):
    with socket.create_connection(("127.0.0.1", port)) as s, s.makefile("rb") as replies:
        for start in range(0, count, BATCH):
            batch = [make(i) for i in range(start, min(start + BATCH, count))]
            s.sendall(b"".join(batch))
            for _ in batch:
                reply = replies.readline()
                assert reply[:1] in b"+:S", reply


def per_key(name, count, make):
    port = free_port()
    process = subprocess.Popen(servers(port)[name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        else:
            sys.exit(f"{name} does not answer")
        # What a server touches while it starts is not a key's.
        time.sleep(1)
        before = resident(process.pid)
        random.seed(1)
        load(port, count, make)
        time.sleep(1)
        return (resident(process.pid) - before) / count
    finally:
        process.terminate()
        process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=checks.whole(1), default=2_000_000)
    parser.add_argument("--collections", type=checks.whole(0), default=200_000, help="of each kind; with 0 none is measured")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    checks.servers(("redis-server", "memcached", "shoal-node"))
    n = arguments.items
    rows = []
    for ttl in (False, True):
        case = f"{n:,} strings, 16 B key, 32 B value{', with expiry' if ttl else ''}: overhead"
        figures = {}
        for name in ("redis-server", "memcached", "shoal-node"):
            make = memcached_string if name == "memcached" else string
            figures[name] = per_key(name, n, lambda i: make(i, ttl)) - 48
        rows.append((case, figures))
    kinds = [("hash of 10 fields", hash_of_10), ("set of 20 integers", set_of_20), ("sorted set of 20", zset_of_20)]
    for case, make in kinds if arguments.collections else []:
        names = ("redis-server", "shoal-node")
        rows.append((case, {name: per_key(name, arguments.collections, make) for name in names}))
    if arguments.json:
        print(json.dumps([{"case": case, **figures} for case, figures in rows]))
        return
    print("| bytes a key | redis-server | memcached | shoal-node | of redis-server |\n|---|---|---|---|---|")
    for case, f in rows:
        memcached = f"{f['memcached']:.0f}" if "memcached" in f else ""
        ratio = f["shoal-node"] / f["redis-server"]
        print(f"| {case} | {f['redis-server']:.0f} | {memcached} | {f['shoal-node']:.1f} | {ratio:.2f} |")


main()
