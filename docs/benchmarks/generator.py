#!/usr/bin/env python3
"""What a request costs the generator: shoal-loadtest beside redis-benchmark, against the same redis-server.

  generator.py [--runs 5] [--requests 100000] [--connections 50] [--gets] [--port PORT] [--json]

Needs redis-server and redis-benchmark (Debian: redis-server redis-tools), two cores, and
`cargo build --release -p shoal-loadtest`. The server runs on core 0, the generators in turns on core 1. The cost is user
and system time of the whole generator process (wait4), start included, divided by its requests: it holds on a machine
that is busy with other things; wall time and throughput do not and are not shown. Both send as many GETs as SETs of
100 bytes to 100,000 uniform keys of 16 bytes, redis-benchmark first the SETs and then the GETs, shoal-loadtest mixed;
with --gets both send GETs only.
The ratio is that of each round; median, smallest and largest are shown.

A generator that is faster than the server sleeps between answers, and going to sleep costs CPU as well. With --port PORT the
server that listens there is used, such as a responder that answers at once, and the generators are busy all the time."""

import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
QUIET = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(["taskset", "-c", "0", *words], **QUIET)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return server, port
        except OSError:
            time.sleep(0.05)
    server.kill()
    sys.exit("redis-server does not start")


def cost(command, requests):
    """Microseconds of CPU per request."""
    process = subprocess.Popen(["taskset", "-c", "1", *map(str, command)], **QUIET)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} failed with {process.returncode}")
    return (usage.ru_utime + usage.ru_stime) * 1e6 / requests


def measure(arguments, server, port, pipeline):
    requests = arguments.requests * (1 if pipeline == 1 else 5)
    shared = ["-c", arguments.connections, "-P", pipeline]
    tests, each, ratio = ("get", requests, "1:0") if arguments.gets else ("set,get", requests // 2, "1:1")
    theirs = ["redis-benchmark", "-p", port, "-t", tests, "-n", each, "-r", 100_000, "-d", 100, "-q"]
    ours = [TARGET / "shoal-loadtest", "run", "--target", f"127.0.0.1:{port}", "--ratio", ratio, "-n", requests]
    ours += ["-k", 100_000, "--key-size", 16, "--value-size", 100, "-q"]
    # Told the server's process, it need not search /proc for it, which is work of its start and not of a request.
    ours += ["--pid", server.pid if server else os.getpid()]
    rounds = []
    for _ in range(arguments.runs):
        rounds.append((cost(theirs + shared, requests), cost(ours + shared, requests)))
    ratios = [our / their for their, our in rounds]
    return {
        "pipeline": pipeline,
        "requests": requests,
        "redis_benchmark_us": statistics.median(their for their, _ in rounds),
        "shoal_loadtest_us": statistics.median(our for _, our in rounds),
        "ratio": statistics.median(ratios),
        "smallest": min(ratios),
        "largest": max(ratios),
        "rounds": rounds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--port", type=int, help="a server that runs already")
    parser.add_argument("--requests", type=int, default=100_000, help="per run at pipeline 1, five times it at 16")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--gets", action="store_true", help="no SETs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    for program in (*([] if arguments.port else ["redis-server"]), "redis-benchmark", TARGET / "shoal-loadtest"):
        if shutil.which(program) is None:
            sys.exit(f"{program} is not there")
    server, port = (None, arguments.port) if arguments.port else start_server()
    try:
        # All keys are there from the start, so that GETs are answered by values in every run.
        fill = ["--preload", "-k", 100_000, "--key-size", 16, "--value-size", 100, "-n", 1, "-q"]
        cost([TARGET / "shoal-loadtest", "run", "--target", f"127.0.0.1:{port}", *fill], 1)
        results = [measure(arguments, server, port, pipeline) for pipeline in (1, 16)]
    finally:
        if server:
            server.terminate()
            server.wait(20)
    if arguments.json:
        print(json.dumps(results, indent=2))
        return
    print(f"CPU per request in the generator, median of {arguments.runs} rounds, {arguments.connections} connections")
    print(f"{'pipeline':>8}  {'redis-benchmark':>15}  {'shoal-loadtest':>14}  {'ratio':>5}  smallest  largest")
    for row in results:
        print(
            f"{row['pipeline']:>8}  {row['redis_benchmark_us']:>12.3f} us  {row['shoal_loadtest_us']:>11.3f} us"
            f"  {row['ratio']:>5.2f}  {row['smallest']:>8.2f}  {row['largest']:>7.2f}"
        )


if __name__ == "__main__":
    main()
