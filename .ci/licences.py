#!/usr/bin/env python3
"""Checks every dependency's licence and source against deny.toml, without a network and without cargo-deny.

Licences come from `cargo metadata` for this platform, sources from Cargo.lock for all platforms.
Prints what is wrong, one line each, and exits 1; prints nothing when all is well.
"""
import json
import pathlib
import re
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"


def host():
    lines = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line.removeprefix("host: ") for line in lines if line.startswith("host: "))


def packages():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", host()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"cargo metadata failed: {done.stderr.strip()}")
    metadata = json.loads(done.stdout)
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    return [package for package in metadata["packages"] if package["id"] in used]


def satisfied(expression, allowed):
    """Whether an SPDX expression (also with the old `/` for OR) can be met by the allowed licences."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))

    def either():
        result = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            result = both() or result
        return result

    def both():
        result = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            result = one() and result
        return result

    def one():
        token = tokens.pop(0)
        if token == "(":
            result = either()
            tokens.pop(0)
            return result
        if tokens and tokens[0] == "WITH":
            tokens.pop(0)
            token = f"{token} WITH {tokens.pop(0)}"
        return token in allowed

    return either()


def main():
    licences = tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]
    allowed = set(licences["allow"])
    extra = {e["crate"]: set(e["allow"]) for e in licences.get("exceptions", [])}
    faults = []
    for package in packages():
        name, licence = package["name"], package["license"]
        if not licence:
            faults.append(f"{name} {package['version']} states no licence")
        elif not satisfied(licence, allowed | extra.get(name, set())):
            faults.append(f"{name} {package['version']}: {licence} is not allowed by deny.toml")
    for package in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]:
        if package.get("source", CRATES_IO) != CRATES_IO:
            faults.append(f"{package['name']} {package['version']} does not come from crates.io")
    print("\n".join(faults), end="\n" if faults else "")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
