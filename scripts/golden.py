#!/usr/bin/env python3
"""Compare the messages of every compressor, kept in tests/golden, with the reference, or write them.

.venv/bin/python scripts/golden.py [--write]

A file has what goes over the wire in three steps of two workers with momentum and error feedback, each message
behind its length (u32, little-endian): the first worker's push, the second's, the reply.
"""

import argparse
from functools import partial
from pathlib import Path
import struct
import sys

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from laws import REFERENCE, ROWS, Cluster  # noqa: E402

FOLDER = ROOT / "tests" / "golden"
RATES = (0.1, 0.05, 0.0)
LENGTH, SHORT = 700, 130  # SHORT: where pushes are long


def path(row):
    """The file of a row: its compressor and the options that it sends, by name."""
    options = sorted(row.compressor.sent_options().items())
    return FOLDER / ("-".join([row.compressor.name, *(f"{name}={value}" for name, value in options if value)]) + ".bin")


def length(row):
    """How many elements the row's gradients have, so that files stay small."""
    return LENGTH if row.compressor.max_payload(LENGTH) < 2 * LENGTH else SHORT


def gradient(random, d):
    """float32[d] of exact arithmetic on integers, many of them small."""
    x = random.randint(-(2**15), 2**15, d) / 2**15
    return (x * x * x).astype(np.float32)


def messages(implementation, row):
    """All that travels, in order."""
    d, random = length(row), np.random.RandomState(700)
    cluster = Cluster(implementation, row.compressor, d, mu=0.9, ef=True, workers=2)
    for rate in RATES:
        cluster.step([gradient(random, d), gradient(random, d)], rate)
        yield from (*cluster.pushes, cluster.reply)


def content(implementation, row):
    """What the row's file has to be."""
    return b"".join(struct.pack("<I", len(message)) + message for message in messages(implementation, row))


def obsolete():
    """The files of rows that do not exist."""
    return sorted(set(FOLDER.iterdir()) - {path(row) for row in ROWS})


def main():
    """Compare or write; status 1 if something differs."""
    parser = argparse.ArgumentParser(description="Compare the messages in tests/golden with the reference.")
    parser.add_argument("--write", action="store_true", help="write files that are missing or differ; remove others")
    write = parser.parse_args().write
    changes = {}  # by file: what is found, what --write does
    for file in obsolete():
        changes[file] = "belongs to no row", "removed", file.unlink
    for file, data in ((path(row), content(REFERENCE, row)) for row in ROWS):
        if not file.is_file():
            changes[file] = "is missing", "written", partial(file.write_bytes, data)
        elif file.read_bytes() != data:
            changes[file] = "differs", "rewritten: this changes the wire format", partial(file.write_bytes, data)
    for file, (found, done, change) in changes.items():
        print(f"golden: {file.name} {done if write else found}")
        if write:
            change()
    print(f"golden: {len(ROWS)} rows, {len(changes)} changes")
    sys.exit(bool(changes) and not write)


if __name__ == "__main__":
    main()
