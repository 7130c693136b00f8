#!/usr/bin/env python3
"""Hit ratio at equal `maxmemory`: traces replayed against shoal-node, redis-server and memcached, with the offline optimum.

  hit_ratio.py --replay replay.py [--memory 16,32,64] [--limit 400000] [--rate 12000] [--json OUT] TRACE.rtr ...
  hit_ratio.py --plot OUT.svg RESULTS.json

A trace is records of u64 key, u32 size of the value, u32 TTL. `replay.py FILE --port N --json` must replay it look-aside (GET; on a
miss a SET) and print the share of requests and of bytes that hit; it is not part of this repository. redis-server's LRU clock ticks
once a second, so allkeys-lru is replayed at `--rate` requests a second, all others as fast as it goes. The optimum knows the
future: of all values that are cached it drops the one whose next use, weighed with its size, is farthest away (the
better of that, and of the farthest next use alone), and costs nothing besides its bytes. Hit ratios do not depend on how
busy the machine is."""

import argparse
import heapq
import json
import pathlib
import random
import socket
import struct
import subprocess
import sys
import time

import checks
from checks import TARGET

KEY = 16


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def command(server, port, megabytes):
    if server == "shoal-node":
        listen = ["--listen", f"127.0.0.1:{port}", "--threads", "1"]
        return [str(TARGET / "shoal-node"), *listen, "--maxmemory", f"{megabytes}mb"]
    if server == "memcached":
        return ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-m", str(megabytes), "-t", "1"]
    policy = ["--maxmemory", f"{megabytes}mb", "--maxmemory-policy", server.removeprefix("redis ")]
    return ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1", *policy]


def replay(arguments, server, trace, megabytes):
    port = free_port()
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    process = subprocess.Popen(command(server, port, megabytes), **quiet)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        words = [sys.executable, arguments.replay, trace, "--port", str(port), "--json", "--limit", str(arguments.limit)]
        if server == "memcached":
            words += ["--proto", "memcache"]
        if server == "redis allkeys-lru":
            words += ["--rate", str(arguments.rate)]
        replayed = subprocess.run(words, stdout=subprocess.PIPE, text=True)
        if replayed.returncode:
            sys.exit(f"{arguments.replay} failed on {trace}")
        found = json.loads(replayed.stdout)
        with open(f"/proc/{process.pid}/status") as lines:
            resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
        return {"objects": found["hit_ratio"], "bytes": found["byte_hit_ratio"], "resident": round(resident, 1)}
    finally:
        process.terminate()
        process.wait()


def requests(trace, limit):
    data = pathlib.Path(trace).read_bytes()
    return [(key, size + KEY) for key, size, _ in struct.iter_unpack("<QII", data[: len(data) // 16 * 16])][:limit]


def next_uses(trace):
    following, uses = {}, [0] * len(trace)
    for i in range(len(trace) - 1, -1, -1):
        uses[i] = following.get(trace[i][0], 1 << 60)
        following[trace[i][0]] = i
    return uses


def farthest(trace, uses, capacity):
    """Drops the value whose next use is farthest away."""
    sizes, current, heap, used, hits = {}, {}, [], 0, 0
    for i, (key, size) in enumerate(trace):
        if key in sizes:
            hits += 1
        else:
            sizes[key] = size
            used += size
        current[key] = uses[i]
        heapq.heappush(heap, (-uses[i], key))
        while used > capacity:
            far, victim = heapq.heappop(heap)
            if victim in sizes and current[victim] == -far:
                used -= sizes.pop(victim)
    return hits / len(trace)


def weighed(trace, uses, capacity, samples=48):
    """Drops, of some, the value whose next use times its size is largest; what is never used again goes first."""
    rng = random.Random(1)
    where, cached, used, hits = {}, [], 0, 0

    def drop(at):
        nonlocal used
        key, size, _ = cached[at]
        used -= size
        del where[key]
        last = cached.pop()
        if at < len(cached):
            cached[at] = last
            where[last[0]] = at

    for i, (key, size) in enumerate(trace):
        at = where.get(key)
        if at is not None:
            hits += 1
            if uses[i] >= 1 << 60:
                drop(at)
            else:
                cached[at] = (key, size, uses[i])
        elif uses[i] < 1 << 60:
            where[key] = len(cached)
            cached.append((key, size, uses[i]))
            used += size
        while used > capacity:
            picks = [rng.randrange(len(cached)) for _ in range(samples)]
            drop(max(picks, key=lambda at: (cached[at][2] - i) * cached[at][1]))
    return hits / len(trace)


SERVERS = ["redis allkeys-lru", "redis allkeys-lfu", "memcached", "shoal-node"]


def measure(arguments):
    rows = []
    for trace in arguments.files:
        known = requests(trace, arguments.limit)
        if not known:
            sys.exit(f"{trace} has no record")
        uses = next_uses(known)
        for megabytes in arguments.memory:
            capacity = megabytes << 20
            best = max(farthest(known, uses, capacity), weighed(known, uses, capacity))
            row = {"trace": pathlib.Path(trace).stem, "memory": megabytes, "optimum": round(best, 4)}
            row |= {server: replay(arguments, server, trace, megabytes) for server in SERVERS}
            others = max(row[server]["objects"] for server in SERVERS[:-1])
            row["ahead"] = round((row["shoal-node"]["objects"] - others) * 100, 1)
            row["below optimum"] = round((best - row["shoal-node"]["objects"]) * 100, 1)
            rows.append(row)
            show(row, len(rows) == 1)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1) + "\n")


def show(row, first):
    if first:
        print("| trace | memory | " + " | ".join(SERVERS) + " | points ahead | optimum | points below it |")
        print("|---|---|" + "---|" * (len(SERVERS) + 3))
    cells = [f"{row[s]['objects']:.3f} / {row[s]['bytes']:.3f} ({row[s]['resident']:.0f} MB)" for s in SERVERS]
    figures = f"{row['ahead']:+.1f} | {row['optimum']:.3f} | {row['below optimum']:.1f} |"
    print(f"| {row['trace']} | {row['memory']} MB | " + " | ".join(cells) + f" | {figures}", flush=True)


COLOURS = ["#b3b3b3", "#808080", "#c9a66b", "#1f77b4"]


def plot(results, out):
    """Bars for each trace and memory, the optimum as a line above them."""
    rows = json.loads(pathlib.Path(results).read_text())
    group, bar, height, top = 86, 17, 260, 40
    width = 60 + group * len(rows) + 20
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height + top + 70}" font-family="sans-serif" font-size="11">']
    parts.append(f'<rect width="{width}" height="{height + top + 70}" fill="white"/>')
    for i, server in enumerate(SERVERS):
        parts.append(f'<rect x="{60 + 150 * i}" y="12" width="12" height="12" fill="{COLOURS[i]}"/><text x="{77 + 150 * i}" y="22">{server}</text>')
    parts.append(f'<path d="M{60 + 600} 18h12" stroke="black" stroke-width="2"/><text x="{677}" y="22">offline optimum</text>')
    y = lambda share: top + height * (1 - share)
    for tenth in range(0, 11, 2):
        parts.append(f'<path d="M50 {y(tenth / 10):.1f}H{width - 20}" stroke="#ddd"/><text x="20" y="{y(tenth / 10) + 4:.1f}">{tenth / 10:.1f}</text>')
    for n, row in enumerate(rows):
        left = 60 + n * group
        for i, server in enumerate(SERVERS):
            share = row[server]["objects"]
            parts.append(f'<rect x="{left + i * bar}" y="{y(share):.1f}" width="{bar - 2}" height="{height * share:.1f}" fill="{COLOURS[i]}"/>')
        parts.append(f'<path d="M{left - 2} {y(row["optimum"]):.1f}h{4 * bar}" stroke="black" stroke-width="2"/>')
        parts.append(f'<text x="{left}" y="{height + top + 16}">{row["trace"]}</text><text x="{left}" y="{height + top + 31}">{row["memory"]} MB</text>')
    parts.append(f'<text x="60" y="{height + top + 56}">Share of requests that hit, equal maxmemory</text></svg>')
    pathlib.Path(out).write_text("\n".join(parts) + "\n")


def sizes(text):
    return [checks.whole(1)(size) for size in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay")
    parser.add_argument("--memory", type=sizes, default="16,32,64", help="MB")
    parser.add_argument("--limit", type=checks.whole(1), default=400_000, help="requests of each trace")
    parser.add_argument("--rate", type=checks.whole(1), default=12_000)
    parser.add_argument("--json")
    parser.add_argument("--plot")
    parser.add_argument("files", nargs="+")
    arguments = parser.parse_args()
    checks.files(*arguments.files)
    if arguments.plot:
        return plot(arguments.files[0], arguments.plot)
    if not arguments.replay:
        sys.exit("--replay is needed: the program that replays the traces")
    checks.files(arguments.replay)
    checks.servers(("redis-server", "memcached", "shoal-node"))
    measure(arguments)


main()
