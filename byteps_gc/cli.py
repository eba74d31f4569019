"""The command line of ``python -m byteps_gc``, to which each package adds its commands."""

import argparse
import os
import sys
from typing import List, Optional

from byteps_gc import __version__
from byteps_gc.arguments import Parser, split
from byteps_gc.bench import commands as bench
from byteps_gc.cluster import commands as cluster
from byteps_gc.data import commands as data
from byteps_gc.doctor import commands as doctor
from byteps_gc.engine import commands as engine
from byteps_gc.errors import UserError, why
from byteps_gc.report import commands as report
from byteps_gc.reproduce import commands as reproduce

PACKAGES = (cluster, reproduce, report, bench, data, doctor, engine)  # in the order of their commands in the help


def parser() -> Parser:
    """Return the parser of all commands."""
    top = Parser(prog="python -m byteps_gc", description="Compress gradients in distributed training with BytePS.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for package in PACKAGES:
        package.add(commands)
    return top


def parse(top: argparse.ArgumentParser, words: List[str]) -> argparse.Namespace:
    """Parse the command line; jobs may also stand behind flags, where argparse does not look for them."""
    options, left = top.parse_known_args(words)
    wrong = [word for word in left if word.startswith("-") or not hasattr(options, "jobs")]
    if wrong:
        top.error(f"unrecognized arguments: {' '.join(wrong)}")
    if left:
        options.jobs = [*options.jobs, *left]
    return options


def give_up_output() -> None:
    """Discard output that cannot be written; Python would try again at exit, and print a traceback."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(arguments: Optional[List[str]] = None) -> int:
    """Run one command; a user's error becomes one line and a status that is not 0."""
    if hasattr(sys.stdout, "reconfigure"):  # what processes and names of files say may not fit its encoding
        sys.stdout.reconfigure(errors="backslashreplace")
    words, rest = split(sys.argv[1:] if arguments is None else arguments)
    top = parser()
    options = parse(top, words)
    options.rest = rest
    if options.command is None:
        top.print_help()
        return 0
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"byteps_gc: {error}", file=sys.stderr)
        return getattr(error, "status", 2)
    except OSError as error:  # of a disk, a permission, or whoever reads what this prints
        what = f"cannot access {error.filename}" if error.filename else "cannot continue"
        print(f"byteps_gc: {what}: {why(error)}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("byteps_gc"):
            raise
        print(f"byteps_gc: package {error.name} is not installed; run ./scripts/setup.sh", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("byteps_gc: interrupted", file=sys.stderr)
        return 130
    finally:
        give_up_output()
