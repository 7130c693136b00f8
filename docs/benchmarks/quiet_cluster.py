"""What a cluster costs when nothing happens: packets, bytes and CPU of three nodes in a network namespace of their own.

  quiet_cluster.py [--build release] [--nodes 3] [--seconds 20] [--calm 20]

Needs root for the namespace. Counts what the loopback device carries, from /proc/net/dev there: every packet of every kind,
with IP, UDP and TCP headers but without the 14 bytes that the device adds. CPU is that of the whole processes, from
/proc/PID/stat. `--calm` seconds pass first, for a cluster that has just changed exchanges its views more often."""

import argparse
import os
import pathlib
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ETHERNET = 14


def traffic():
    for line in pathlib.Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            fields = numbers.split()
            return int(fields[8 + 1]), int(fields[8])
    raise RuntimeError("there is no loopback device")


def udp():
    """Datagrams sent."""
    names, values = [line.split()[1:] for line in pathlib.Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Udp:")]
    return int(values[names.index("OutDatagrams")])


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def members(address):
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 5) as s:
        s.sendall(b"CLUSTER INFO\r\n")
        text = s.recv(4096).decode()
    return int(text.partition("cluster_known_nodes:")[2].split()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="release")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--calm", type=float, default=20)
    parser.add_argument("--binary")
    args = parser.parse_args()
    if "SHOAL_QUIET_INSIDE" not in os.environ:
        inside = dict(os.environ, SHOAL_QUIET_INSIDE="1")
        return subprocess.call(["unshare", "--net", sys.executable, *sys.argv], env=inside)
    subprocess.check_call(["ip", "link", "set", "lo", "up"])
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / args.build
    addresses = [f"127.0.0.1:{7000 + n}" for n in range(args.nodes)]
    command = [args.binary or str(target / "shoal-node"), "--join", ",".join(addresses), "--listen"]
    nodes = [subprocess.Popen([*command, a], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for a in addresses]
    try:
        time.sleep(args.calm)
        before, datagrams, busy, begun = traffic(), udp(), [cpu(n.pid) for n in nodes], time.monotonic()
        time.sleep(args.seconds)
        after, sent, spent = traffic(), udp() - datagrams, time.monotonic() - begun
        busy = [cpu(n.pid) - b for n, b in zip(nodes, busy)]
        known = [members(a) for a in addresses]
        if known != [args.nodes] * args.nodes:
            raise RuntimeError(f"they did not all find each other: {known}")
    finally:
        for node in nodes:
            node.kill()
            node.wait()
    each = spent * args.nodes
    packets, size = after[0] - before[0], after[1] - before[1] - ETHERNET * (after[0] - before[0])
    print(f"{args.nodes} nodes, {spent:.0f} s: {packets / each:.1f} packets/s and {size / each:.0f} bytes/s from each node "
          f"({sent / each:.1f} datagrams/s; {(size - 28 * packets) / each:.0f} bytes/s without headers); "
          f"CPU {max(busy) / spent * 100:.2f} % of a core on the busiest, {sum(busy) / each * 100:.2f} % on average")
    return 0


if __name__ == "__main__":
    sys.exit(main())
