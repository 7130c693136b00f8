#!/usr/bin/env python3
"""All targets of a single node, measured beside redis-server and memcached: a row for each, with what is aimed at.

  targets.py --plot OUT.svg RESULTS.json
  targets.py [--runs 5] [--only memory,resident,ratio,commands,threads,churn,expiry,growth,idle,hits] [--json OUT]
             [--ratio ratio.py] [--replay replay.py --traces FILE.rtr,...]

Runs the other scripts of this directory, which say how each figure is made, and needs what they need; `cargo build --release
--workspace --bins --examples` first. `ratio` compares by `shoal-loadtest compare`, whose generator sleeps while it waits; a
generator that never sleeps can be given with --ratio. `hits` needs traces (see hit_ratio.py) and is left out without them. Takes about 40
minutes with five runs. Everything but memory wants a machine on which nothing else runs."""

import argparse
import json
import pathlib
import platform
import re
import subprocess
import sys
import time

import checks
import measure

HERE = pathlib.Path(__file__).resolve().parent
SMALLER = lambda measured, aim: measured <= aim  # noqa: E731


class Report:
    """Rows of what is aimed at and what was measured."""

    def __init__(self):
        self.rows = []

    def add(self, what, aim, measured, reached, beside="", bar=None):
        """`bar`: name, ratio to redis-server and aim, for the plot."""
        self.rows.append(dict(what=what, aim=aim, measured=measured, reached=reached, beside=beside, bar=bar))
        print(f"{'reached' if reached else 'MISSED':8} {what}: {measured} (aim {aim}) {beside}", flush=True)

    def table(self):
        print("\n| what | aim | measured | beside it | |\n|---|---|---|---|---|")
        for row in self.rows:
            print(f"| {row['what']} | {row['aim']} | {row['measured']} | {row['beside']} | {'reached' if row['reached'] else '**missed**'} |")


def script(name, *words):
    """What another script prints."""
    command = [sys.executable, str(HERE / name), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{name} failed")
    return done.stdout


def lines_of_json(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def memory(report, arguments):
    for items, collections in ((2_000_000, 200_000), (3_600_000, 0)):
        for row in json.loads(script("density.py", "--items", items, "--collections", collections, "--json")):
            shoal, redis = row["shoal-node"], row["redis-server"]
            if "overhead" in row["case"]:
                aim = 25 if "expiry" in row["case"] else 20
                beside = f"redis-server {redis:.1f} B, memcached {row['memcached']:.1f} B"
                report.add(row["case"], f"{aim} B", f"{shoal:.1f} B", SMALLER(round(shoal, 1), aim), beside)
            else:
                report.add(row["case"] + ", of redis-server's bytes", "0.75", f"{shoal / redis:.2f}", SMALLER(shoal / redis, 0.75),
                           f"{shoal:.0f} B, redis-server {redis:.0f} B", ("memory of a " + row["case"], shoal / redis, 0.75))


def resident(report, arguments):
    found = lines_of_json(script("resident.py", "--json"))
    others = {row["case"]: row for row in found if row["server"] == "redis-server"}
    for row in found:
        if row["server"] == "redis-server":
            continue
        other = others[row["case"]]
        if "resident" in row:
            report.add(f"RSS at maxmemory 100 MB, sizes drift: {row['case']}", "120 MB", f"{row['resident']:.0f} MB",
                       SMALLER(row["resident"], 120), f"redis-server {other['resident']:.0f} MB")
        else:
            report.add(f"RSS after {row['case']} (nine of ten)", "given back", f"{row['full']:.0f} to {row['left']:.0f} MB",
                       SMALLER(row["left of full"], 0.35), f"redis-server {other['full']:.0f} to {other['left']:.0f} MB")


def ratio(report, arguments):
    aims = {1: 0.84, 16: 0.35}
    with_port = lambda name, port: {  # noqa: E731
        "redis-server": ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", ""],
        "shoal-node": [checks.TARGET / "shoal-node", "--listen", f"127.0.0.1:{port}", "--threads", 1],
    }[name]
    what = "CPU of GET:SET 9:1, 100 B values, 1 M keys, 50 connections, pipeline {}"
    if arguments.ratio:
        servers = [f"{name}={' '.join(map(str, with_port(name, '{port}')))}" for name in ("redis-server", "shoal-node")]
        command = [sys.executable, arguments.ratio, "--runs", str(arguments.runs), "--case", "P1,P16", "--json", *servers]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        for row in json.loads(printed):
            if row["server"] == "shoal-node":
                depth = int(row["case"][1:])
                report.add(what.format(depth), f"{aims[depth]}", f"{row['ratio']:.2f}", SMALLER(round(row["ratio"], 2), aims[depth]),
                           f"{row['cpu_us']:.2f} us", (f"GET:SET 9:1, pipeline {depth}", row["ratio"], aims[depth]))
        return
    for depth, aim in aims.items():
        running = {name: (measure.Server(0, *with_port(name, port)), port) for name, port in
                   (("redis-server", measure.free_port()), ("shoal-node", measure.free_port()))}
        try:
            for _, port in running.values():
                measure.wait_for(port)
            out = pathlib.Path(f"/tmp/shoal-targets-{depth}.json")
            targets = [f"{name}=127.0.0.1:{port}" for name, (_, port) in running.items()]
            subprocess.run(["taskset", "-c", "1", checks.TARGET / "shoal-loadtest", "compare", "-A", targets[0], "-B", targets[1], "-q",
                            "--rounds", str(arguments.runs), "-d", "3s", "-P", str(depth), "--preload", "--json", out], check=True,
                           stdout=subprocess.DEVNULL)
            cpu = next(c for c in json.loads(out.read_text())["others"][0]["comparisons"] if c["figure"] == "ServerCpu")
            out.unlink()
        finally:
            for server, _ in running.values():
                server.stop()
        report.add(what.format(depth), f"{aim}", f"{cpu['ratio']:.2f} [{cpu['smallest']:.2f}-{cpu['largest']:.2f}]",
                   SMALLER(round(cpu["ratio"], 2), aim), f"{cpu['other']:.2f} us, redis-server {cpu['first']:.2f} us",
                   (f"GET:SET 9:1, pipeline {depth}", cpu["ratio"], aim))


def commands(report, arguments):
    rows = json.loads(script("measure.py", "--only", "commands", "--runs", arguments.runs, "--json"))
    redis = {row["case"]: row for row in rows if row["server"] == "redis-server"}
    for row in rows:
        if row["server"] != "redis-server":
            report.add(f"CPU of {row['case']}, pipeline 16", "0.6", f"{row['ratio']:.2f} [{row['lowest']:.2f}-{row['highest']:.2f}]",
                       SMALLER(round(row["ratio"], 2), 0.6), f"{row['us']:.2f} us, redis-server {redis[row['case']]['us']:.2f} us",
                       (row["case"] + ", pipeline 16", row["ratio"], 0.6))


def limits(part, report, arguments):
    for row in lines_of_json(script("limits.py", "--only", part, "--runs", arguments.runs, "--json")):
        if row.get("server") == "redis-server":
            continue
        if part == "threads":
            aim = 1.4 if "one key" in row["case"] else 1.1
            report.add(f"CPU of two threads, of one's: {row['case']}", f"{aim}", f"{row['ratio']:.2f} [{row['lowest']:.2f}-{row['highest']:.2f}]",
                       SMALLER(round(row["ratio"], 2), aim), f"{row['one']:.2f} us, {row['two']:.2f} us")
        elif part == "churn":
            report.add("CPU of a SET that evicts, of one that does not", "1.5", f"{row['ratio']:.2f}", SMALLER(row["ratio"], 1.5),
                       f"{row['free']:.2f} us, {row['full']:.2f} us")
        else:
            report.add("others' p99.9 while 2 M keys expire, of before", "2", f"{row['ratio']:.2f}", SMALLER(row["ratio"], 2),
                       f"{row['before']:,.0f} us, {row['after']:,.0f} us")
            report.add("memory back after 2 M keys expired", "2 s", f"{row['back']:.2f} s", SMALLER(row["back"], 2))


def growth(report, arguments):
    example = checks.TARGET / "examples" / "store_latency"
    printed = subprocess.run([example, "grow", "8000000"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    tails = [float(re.search(r"p99\.99 ([\d.]+)", line)[1]) for line in printed]
    means = [float(re.search(r"mean ([\d.]+)", line)[1]) for line in printed]
    report.add("p99.99 of inserts while growing to 8 M keys", "1,000 us of CPU", f"{tails[-1]:.0f} us", SMALLER(tails[-1], 1000),
               f"eighths: p99.99 {min(tails):.0f}-{max(tails):.0f} us, mean {min(means):.2f}-{max(means):.2f} us")


def idle(report, arguments):
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in script("idle.py").splitlines()[2:]]
    bytes_of = {row[0]: float(row[-1]) for row in rows}
    report.add("an idle connection, of 10,000", "2,048 B", f"{bytes_of['shoal-node']:.0f} B", SMALLER(bytes_of["shoal-node"], 2048),
               f"redis-server {bytes_of['redis-server']:.0f} B")


def hits(report, arguments):
    out = pathlib.Path("/tmp/shoal-targets-hits.json")
    script("hit_ratio.py", "--replay", arguments.replay, "--limit", 1_000_000, "--json", out, *arguments.traces.split(","))
    for row in json.loads(out.read_text()):
        aim = {16: 4, 32: 4, 64: 2}[row["memory"]]
        report.add(f"hit ratio of {row['trace']} at {row['memory']} MB", f"+{aim} points, or 3 below the optimum",
                   f"{row['shoal-node']['objects']:.3f}: {row['ahead']:+.1f}, {row['below optimum']:.1f} below",
                   row["ahead"] >= aim or row["below optimum"] <= 3, f"optimum {row['optimum']:.3f}")
    out.unlink()


def plot(results, out):
    """A bar for each ratio to redis-server, with what is aimed at as a line."""
    bars = [row["bar"] for row in json.loads(pathlib.Path(results).read_text()) if row["bar"]]
    left, scale, step, top = 240, 420, 22, 46
    height = top + step * len(bars) + 14
    width = left + scale + 120
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             '<text x="10" y="20" font-size="14">shoal-node, of redis-server (1: the same; line: the aim; orange: missed)</text>']
    for tenth in range(0, 11, 2):
        x = left + scale * tenth / 10
        parts.append(f'<path d="M{x:.0f} {top - 8}V{height - 8}" stroke="#ddd"/><text x="{x - 8:.0f}" y="{top - 12}" fill="#555">{tenth / 10:.1f}</text>')
    for n, (name, ratio, aim) in enumerate(bars):
        y, length = top + step * n, scale * min(ratio, 1.1)
        colour = "#1f77b4" if round(ratio, 2) <= aim else "#c9662b"
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}</text>'
                     f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{step - 6}" fill="{colour}"/>'
                     f'<path d="M{left + scale * aim:.1f} {y}v{step}" stroke="black" stroke-width="2"/>'
                     f'<text x="{left + max(length, scale * aim) + 6:.1f}" y="{y + 15}">{ratio:.2f}</text>')
    pathlib.Path(out).write_text("\n".join([*parts, "</svg>"]) + "\n")


PARTS = {"memory": memory, "resident": resident, "idle": idle, "hits": hits, "ratio": ratio, "commands": commands,
         "threads": lambda *a: limits("threads", *a), "churn": lambda *a: limits("churn", *a),
         "expiry": lambda *a: limits("expiry", *a), "growth": growth}


# What a part needs that is built, and that is installed.
NEEDS = {
    "memory": (["shoal-node"], ["redis-server", "memcached"]),
    "resident": (["shoal-node"], ["redis-server"]),
    "idle": (["shoal-node"], ["redis-server", "taskset"]),
    "hits": (["shoal-node"], ["redis-server", "memcached"]),
    "ratio": (["shoal-node", "shoal-loadtest"], ["redis-server", "taskset"]),
    "commands": (["shoal-node"], ["redis-server", "redis-benchmark", "taskset"]),
    "threads": (["shoal-node", "shoal-loadtest"], ["taskset"]),
    "churn": (["shoal-node", "shoal-loadtest"], ["redis-server", "taskset"]),
    "expiry": (["shoal-node", "shoal-loadtest"], ["redis-server", "taskset"]),
    "growth": (["examples/store_latency"], []),
}


def parts(arguments):
    """The names of those that are asked for; what they need is there."""
    chosen = arguments.only or [part for part in PARTS if part != "hits" or (arguments.replay and arguments.traces)]
    if "hits" in chosen and not (arguments.replay and arguments.traces):
        sys.exit("the part 'hits' needs --replay and --traces")
    if "hits" not in chosen and (arguments.replay or arguments.traces):
        sys.exit("--replay and --traces go together, and with the part 'hits'")
    for part in chosen:
        built, installed = NEEDS[part]
        checks.built(*built)
        checks.installed(*installed)
    checks.files(*filter(None, (arguments.ratio, arguments.replay, *(arguments.traces or "").split(","))))
    return chosen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=checks.whole(1), default=5)
    parser.add_argument("--only", type=checks.names(*PARTS), help="parts, with commas between them")
    parser.add_argument("--ratio", help="a script with the options of ratio.py")
    parser.add_argument("--replay", help="see hit_ratio.py")
    parser.add_argument("--traces", help="files, with commas between them")
    parser.add_argument("--json", help="write the rows to this file as well")
    parser.add_argument("--plot", help="draw results that --json has written")
    parser.add_argument("results", nargs="?")
    arguments = parser.parse_args()
    if arguments.plot:
        if not arguments.results:
            sys.exit("--plot needs a file that --json has written")
        checks.files(arguments.results)
        return plot(arguments.results, arguments.plot)
    if arguments.results:
        sys.exit(f"{arguments.results} is for --plot only")
    chosen = parts(arguments)
    commit = subprocess.run(["git", "-C", str(HERE), "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    print(f"{commit}, {time.strftime('%Y-%m-%d')}, {platform.platform()}, {arguments.runs} runs", flush=True)
    report = Report()
    for part in chosen:
        PARTS[part](report, arguments)
    report.table()
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(report.rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
