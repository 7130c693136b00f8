"""Real tools and client libraries against the release binaries: no error, no warning.

  tools.py [--build release|debug] [--only WORD]

Starts a lone node, a cluster of three nodes, a router in front of it, and the router with embedded nodes, each on free
ports; runs every tool mode against those it is meant for; prints a line per check and `N passed, N failed`."""

import argparse
import contextlib
import os
import pathlib
import pty
import re
import select
import signal
import shutil
import socket
import subprocess
import sys
import threading
import time

import redis
from redis.cluster import ClusterNode, RedisCluster

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SUSPECT = ("ERR ", "Error", "error:", "WARNING", "warning", "MOVED", "CROSSSLOT", "Unrecognized", "not supported")


def free_port():
    """A port whose derived ports (plus 10000 and 20000) are in range and free as well."""
    while True:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        if port + 20000 > 65535:
            port -= 20000
        with contextlib.ExitStack() as stack:
            try:
                for p in (port, port + 10000, port + 20000):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", p))
                return port
            except OSError:
                continue


class Daemon:
    def __init__(self, binary, *args, log):
        self.log = open(log, "wb")
        self.port = free_port()
        command = [str(binary), "--listen", f"127.0.0.1:{self.port}", "--log-format", "text", *args]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.wait_ready()

    def wait_ready(self, seconds=30):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"a daemon ended at once: {pathlib.Path(self.log.name).read_text()}")
            try:
                client = redis.Redis(port=self.port, socket_timeout=2)
                client.set("ready", 1)
                client.delete("ready")
                client.close()
                return
            except redis.RedisError:
                time.sleep(0.02)
        raise SystemExit(f"a daemon did not become ready: {pathlib.Path(self.log.name).read_text()}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        self.log.close()
        return code


def tool(*command, stdin=None, seconds=120, expect=0, clean=True):
    run = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds)
    text = (run.stdout + run.stderr).decode(errors="replace")
    if expect is not None and run.returncode != expect:
        raise AssertionError(f"exit status {run.returncode}: {text[-600:]}")
    if clean:
        for word in SUSPECT:
            assert word not in text, f"'{word}' in the output: {text[-600:]}"
    return text


def for_a_while(*command, seconds):
    """Runs a tool that never ends by itself, on a terminal so that it does not hold back its output; the output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    text, deadline = b"", time.monotonic() + seconds
    with contextlib.suppress(OSError):
        while time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                text += os.read(ours, 65536)
    process.terminate()
    process.wait(10)
    os.close(ours)
    text = text.decode(errors="replace")
    for word in SUSPECT:
        assert word not in text, f"'{word}' in the output: {text[-600:]}"
    return text


def interactive(port, lines, wanted):
    """Types into redis-cli on a terminal."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "dumb"
        os.execvp("redis-cli", ["redis-cli", "-p", str(port)])
    text = b""
    try:
        for line in lines + ["quit"]:
            deadline = time.monotonic() + 10
            while not text.rstrip(b" ").endswith(b">") and time.monotonic() < deadline:
                if select.select([fd], [], [], 0.1)[0]:
                    text += os.read(fd, 65536)
            os.write(fd, line.encode() + b"\n")
            text += b"\n"
        with contextlib.suppress(OSError):
            while select.select([fd], [], [], 5)[0]:
                more = os.read(fd, 65536)
                if not more:
                    break
                text += more
    finally:
        os.close(fd)
        os.waitpid(pid, 0)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", text.decode(errors="replace"))
    for word in wanted:
        assert word in shown, f"'{word}' is missing in {shown}"


def cli_basic(port):
    p = str(port)
    assert tool("redis-cli", "-p", p, "set", "cli:a", "1").strip() == "OK"
    assert tool("redis-cli", "-p", p, "get", "cli:a").strip() == "1"
    assert tool("redis-cli", "-3", "-p", p, "hset", "cli:h", "f", "v").strip() in ("0", "1")
    assert "f" in tool("redis-cli", "-3", "-p", p, "hgetall", "cli:h")
    assert tool("redis-cli", "-n", "1", "-p", p, "get", "cli:a").strip() == ""
    assert tool("redis-cli", "-p", p, "-x", "set", "cli:x", stdin=b"from stdin").strip() == "OK"
    assert tool("redis-cli", "-p", p, "get", "cli:x").strip() == "from stdin"
    text = tool("redis-cli", "-p", p, stdin=b"set cli:b 2\nget cli:b\n")
    assert text.split() == ["OK", "2"], text


def cli_interactive(port):
    interactive(port, ["set cli:i 7", "get cli:i", "help get"], ["OK", '"7"', "GET key"])


def cli_modes(port):
    p = str(port)
    client = redis.Redis(port=port)
    for i in range(500):
        client.set(f"cli:k{i}", "x" * i)
    client.rpush("cli:list", *range(100))
    client.zadd("cli:zset", {str(i): i for i in range(50)})
    found = tool("redis-cli", "-p", p, "--scan", "--pattern", "cli:k*").split()
    assert len(set(found)) == 500, len(set(found))
    big = tool("redis-cli", "-p", p, "--bigkeys")
    assert "Biggest string found" in big and "cli:k499" in big, big[-900:]
    assert "Biggest" in tool("redis-cli", "-p", p, "--memkeys")
    assert "keys" in for_a_while("redis-cli", "-p", p, "--stat", "-i", "0.1", seconds=1)
    tool("redis-cli", "-p", p, "--latency", "--raw", "-i", "1", seconds=10)
    for_a_while("redis-cli", "-p", p, "--latency-history", "-i", "1", seconds=2)
    for_a_while("redis-cli", "-p", p, "--latency-dist", "-i", "1", seconds=2)


def cli_pipe(port):
    count = 1_000_000
    lines = (f"*3\r\n$3\r\nSET\r\n${len(k)}\r\n{k}\r\n${len(v)}\r\n{v}\r\n".encode()
             for k, v in ((f"pipe:{i}", str(i)) for i in range(count)))
    text = tool("redis-cli", "-p", str(port), "--pipe", stdin=b"".join(lines), seconds=300)
    assert "errors: 0, replies: 1000000" in text, text[-300:]
    client = redis.Redis(port=port)
    assert client.get("pipe:777777") == b"777777"
    client.flushall()


def cli_cluster(port):
    p = str(port)
    for i in range(50):
        assert tool("redis-cli", "-c", "-p", p, "set", f"cc:{i}", str(i)).strip().endswith("OK")
    for i in range(50):
        assert tool("redis-cli", "-c", "-p", p, "get", f"cc:{i}").strip().endswith(str(i))
    text = tool("redis-cli", "--cluster", "check", f"127.0.0.1:{port}")
    assert "All 16384 slots covered" in text, text[-600:]


def benchmark(port):
    text = tool("redis-benchmark", "-p", str(port), "-n", "20000", "-q", seconds=300)
    assert "MSET" in text and "LRANGE_600" in text, text[-600:]
    tool("redis-benchmark", "-p", str(port), "-n", "100000", "-P", "16", "-c", "50", "-r", "10000", "-q", seconds=300)
    tool("redis-benchmark", "-p", str(port), "-n", "20000", "-q", "-3", "-t", "set,get", "--dbnum", "3")


def benchmark_cluster(port):
    tool("redis-benchmark", "-p", str(port), "--cluster", "-n", "20000", "-q", "-t", "set,get,incr", "-r", "1000")


def redis_py(port):
    for protocol in (2, 3):
        client = redis.Redis(port=port, protocol=protocol, decode_responses=True)
        client.set("py:a", "1", ex=100)
        assert client.get("py:a") == "1" and 0 < client.ttl("py:a") <= 100
        client.delete("py:h", "py:s", "py:z", "py:l")
        client.hset("py:h", mapping={"f": "v", "g": "w"})
        assert client.hgetall("py:h") == {"f": "v", "g": "w"}
        client.sadd("py:s", "a", "b")
        assert client.smembers("py:s") == {"a", "b"}
        client.zadd("py:z", {"a": 1.5, "b": 2})
        scored = [(m, float(s)) for m, s in client.zrange("py:z", 0, -1, withscores=True)]
        assert scored == [("a", 1.5), ("b", 2.0)], scored
        client.rpush("py:l", "x", "y")
        assert client.lrange("py:l", 0, -1) == ["x", "y"]
        client.mset({f"py:m{i}": i for i in range(100)})
        assert client.mget([f"py:m{i}" for i in range(100)] + ["py:none"]) == [str(i) for i in range(100)] + [None]
        pipe = client.pipeline(transaction=False)
        for i in range(1000):
            pipe.incr("py:count")
        assert len(pipe.execute()) == 1000
        found = set(client.scan_iter("py:m*", count=50))
        assert len(found) == 100, len(found)
        assert client.delete(*[f"py:m{i}" for i in range(100)]) == 100
        assert client.info()["redis_version"] and client.dbsize() > 0
        assert client.config_get("maxmemory")["maxmemory"] is not None
        assert client.client_info()["lib-name"] == "redis-py"
        assert "get" in client.command()
        try:
            client.hget("py:a", "f")
            raise AssertionError("a wrong type must be an error")
        except redis.ResponseError as error:
            assert str(error).startswith("WRONGTYPE"), error
        other = redis.Redis(port=port, db=1, protocol=protocol)
        assert other.get("py:a") is None
        binary = bytes(range(256))
        other.set(binary, binary)
        assert other.get(binary) == binary
        client.close()
        other.flushdb()


def redis_py_threads(port):
    """Each thread checks that it gets its own values back."""
    failures = []

    def work(n):
        client = redis.Redis(port=port)
        for i in range(500):
            value = f"{n}-{i}".encode()
            client.set(f"th:{n}:{i % 7}", value)
            got = client.get(f"th:{n}:{i % 7}")
            if got != value:
                failures.append((got, value))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not failures, failures[:3]


def redis_py_cluster(port):
    client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port)], decode_responses=True)
    for i in range(300):
        client.set(f"pc:{i}", i)
    assert all(client.get(f"pc:{i}") == str(i) for i in range(300))
    client.mset_nonatomic({f"pc:{i}": i for i in range(100)})
    assert client.mget_nonatomic([f"pc:{i}" for i in range(100)]) == [str(i) for i in range(100)]
    assert len(set(client.scan_iter("pc:*", count=100))) == 300
    everywhere = RedisCluster.PRIMARIES
    assert client.dbsize(target_nodes=everywhere) >= 300
    assert len(client.keys("pc:*", target_nodes=everywhere)) == 300
    pipe = client.pipeline()
    for i in range(100):
        pipe.get(f"pc:{i}")
    assert pipe.execute() == [str(i) for i in range(100)]
    client.flushdb(target_nodes=everywhere)
    client.close()


def redis_py_replicas(port):
    """Reads go to owners and copies in turn, and see what was written before; commands to all masters reach all."""
    nodes = [ClusterNode("127.0.0.1", port)]
    client = RedisCluster(startup_nodes=nodes, decode_responses=True, read_from_replicas=True)
    assert len(client.get_primaries()) == 3, client.get_primaries()

    def moved():
        infos = (node.redis_connection.info("errorstats") for node in client.get_nodes())
        return [info.get("errorstat_MOVED", {"count": 0})["count"] for info in infos]

    everywhere = RedisCluster.PRIMARIES
    # What was written to see whether the nodes are up may have moved before it was deleted.
    client.flushall(target_nodes=everywhere)
    before = moved()
    for i in range(500):
        key = f"pr:{i}"
        for value in range(4):
            client.set(key, value)
            assert client.get(key) == str(value), key
    assert client.mget_nonatomic([f"pr:{i}" for i in range(100)]) == ["3"] * 100
    assert client.dbsize(target_nodes=everywhere) == 500, client.dbsize(target_nodes=everywhere)
    assert len(set(client.scan_iter("pr:*", count=100))) == 500
    # Nobody was sent elsewhere: that would have changed the client's table.
    assert all(len(nodes) == 2 for nodes in client.nodes_manager.slots_cache.values() if len(nodes) > 1)
    assert sum(len(nodes) == 1 for nodes in client.nodes_manager.slots_cache.values()) == 3
    assert moved() == before, (before, moved())
    client.flushall(target_nodes=everywhere)
    client.close()


def ioredis(port, *mode):
    if shutil.which("node") is None or not os.environ.get("NODE_PATH"):
        return "skipped: there is no node"
    tool("node", str(HERE / "ioredis.js"), "127.0.0.1", str(port), *mode)


def ioredis_cluster(port):
    return ioredis(port, "cluster")


SERVER = [cli_basic, cli_interactive, cli_modes, cli_pipe, benchmark, redis_py, redis_py_threads, ioredis]
CLUSTER = [cli_cluster, benchmark_cluster, redis_py_cluster, ioredis_cluster]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="release")
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / args.build
    logs = pathlib.Path(os.environ.get("TMPDIR", "/tmp")) / f"shoal-compat-{os.getpid()}"
    logs.mkdir()
    node, router = target / "shoal-node", target / "shoal-router"
    daemons = []

    def start(name, binary, *flags):
        daemons.append(Daemon(binary, *flags, log=logs / f"{name}.log"))
        return daemons[-1]

    passed = failed = 0
    try:
        lone = start("lone", node)
        first = start("node-1", node)
        join = f"127.0.0.1:{first.port}"
        for i in (2, 3):
            start(f"node-{i}", node, "--join", join)
        wait_for_members(first.port, 3)
        front = start("router", router, "--join", join)
        embedded = start("embedded", router)
        copied = start("copied-1", node, "--replicas", "1")
        for i in (2, 3):
            start(f"copied-{i}", node, "--replicas", "1", "--join", f"127.0.0.1:{copied.port}")
        wait_for_copies(daemons[-3:])
        plan = [("copied", copied.port, [redis_py_replicas, cli_cluster]), ("node", lone.port, SERVER), ("cluster", first.port, CLUSTER), ("router", front.port, SERVER),
                ("embedded", embedded.port, SERVER)]
        for where, port, checks in plan:
            for check in checks:
                name = f"{where}: {check.__name__}"
                if args.only not in name:
                    continue
                begun = time.monotonic()
                try:
                    note = check(port) or "ok"
                    passed += 1
                except Exception as error:  # noqa: BLE001 - every failure is reported and counted
                    line = error.__traceback__.tb_next and error.__traceback__.tb_next.tb_lineno
                    note = f"FAILED in line {line}: {error}"
                    failed += 1
                print(f"{name:32s} {time.monotonic() - begun:6.1f} s  {note}", flush=True)
    finally:
        codes = [d.stop() for d in reversed(daemons)]
    if any(codes):
        print(f"FAILED: a daemon ended with {codes}")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    if not failed:
        shutil.rmtree(logs)
    return 1 if failed else 0


def wait_for_copies(daemons):
    """Until all copies may be read."""
    clients = [redis.Redis(port=daemon.port) for daemon in daemons]
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        readable = [client.info("replication")["shoal_slots_readable_for_others"] for client in clients]
        # While some node has none it is still to join, and slots will move once more.
        if sum(readable) == 16384 and min(readable) > 0:
            return
        time.sleep(0.05)
    raise SystemExit("the nodes did not get their copies")


def wait_for_members(port, count):
    client = redis.Redis(port=port)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        owners = {row[2] for row in client.execute_command("CLUSTER SHARDS") and
                  [(0, 0, n) for n in client.execute_command("CLUSTER NODES")]}
        if len(owners) == count:
            return
        time.sleep(0.05)
    raise SystemExit(f"{count} nodes did not find each other")


if __name__ == "__main__":
    sys.exit(main())
