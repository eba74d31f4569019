"""Compare random training programs on a cluster with one process of MXNet: .venv/bin/python scripts/oracle.py

Print the number of programs and the time. The first program that differs is reduced as far as possible and printed,
and the exit status is 1. The same flags run the same programs. tests/oracle.py describes what is compared.
"""

import argparse
from pathlib import Path
import sys
import tempfile
import time
import traceback

from byteps_gc.arguments import Parser

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))


def count(text):
    """Return a number of programs."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def flags():
    """Return the command's flags."""
    lines = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=lines, allow_abbrev=False)
    parser.add_argument("--programs", type=count, default=2000, help="number of programs (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, choices=(2, 3), default=2, help="number of workers (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed for the programs (default: %(default)s)")
    return parser.parse_args()


def main():
    """Run the programs; return the exit status."""
    options = flags()
    from oracle import cluster_in, run_programs  # imports MXNet, which takes seconds

    what, begun = f"oracle: {options.workers} workers, seed {options.seed}", time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="byteps_gc-oracle-") as folder:
            with cluster_in(folder, options.workers) as cluster:
                number = run_programs(cluster, options.programs, options.seed)
    except AssertionError:
        traceback.print_exc()
        print(f"{what}: a program differs, after {time.monotonic() - begun:.0f} s; it is printed above", flush=True)
        return 1
    print(f"{what}: {number} programs in {time.monotonic() - begun:.0f} s: all equal", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
