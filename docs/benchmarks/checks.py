"""What the scripts of this directory look at before they start anything: programs, numbers, names, files. Not a script."""

import argparse
import os
import pathlib
import shutil
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
# What cargo builds, and by which words.
BUILT = {
    "shoal-node": "-p shoal-node",
    "shoal-loadtest": "-p shoal-loadtest",
    "examples/static": "-p shoal-router --example static",
    "examples/store_latency": "-p shoal-node --example store_latency",
}
# Debian's packages, where they have other names than the program.
PACKAGES = {"redis-benchmark": "redis-tools", "taskset": "util-linux"}


def built(*names):
    """Ends the script if one of these is not there: a name in BUILT, or the path of another build."""
    for name in names:
        path = TARGET / name if name in BUILT else name
        if shutil.which(str(path)) is None:
            how = BUILT.get(os.path.relpath(path, TARGET))
            sys.exit(f"there is no {path}" + (f": cargo build --release {how}" if how else ""))


def installed(*names):
    for name in names:
        if shutil.which(name) is None:
            sys.exit(f"{name} is not installed (Debian: {PACKAGES.get(name, name)})")


def files(*names):
    for name in names:
        if not os.path.isfile(name):
            sys.exit(f"there is no file {name}")


def servers(names):
    """These servers, by their names."""
    built(*(name for name in names if name.startswith("shoal-")))
    installed(*(name for name in names if not name.startswith("shoal-")))


def whole(least):
    """A type for argparse: a whole number, so much at least."""

    def number(text):
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small: {least} at least")
        return value

    return number


def names(*known):
    """A type for argparse: some of these names, with commas between them."""

    def chosen(text):
        for name in text.split(","):
            if name not in known:
                raise argparse.ArgumentTypeError(f"no {name!r}: there are {', '.join(known)}")
        return text.split(",")

    return chosen
