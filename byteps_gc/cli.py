"""The commands of ``python -m byteps_gc``."""

import argparse
import os
from pathlib import Path
import sys
from typing import List, Optional, Tuple

from byteps_gc import __version__
from byteps_gc.bench import commands as bench
from byteps_gc.cluster import commands as cluster
from byteps_gc.engine import commands as engine
from byteps_gc.errors import UserError, why
from byteps_gc.processes import exit_on_sigterm


def parser() -> argparse.ArgumentParser:
    """The command line of ``python -m byteps_gc``."""
    top = argparse.ArgumentParser(
        prog="python -m byteps_gc", description="Compress gradients in distributed training with BytePS."
    )
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    cluster.add_launch(commands)
    cluster.add_secret(commands)
    cluster.add_run(commands)
    add_reproduce(commands)
    add_report(commands)
    bench.add(commands)
    add_pack(commands)
    doctor = commands.add_parser("doctor", help="print what is installed and what is missing")
    doctor.set_defaults(run=run_doctor)
    engine.add(commands)
    cluster.add_roles(commands)
    return top


def add_reproduce(commands: "argparse._SubParsersAction") -> None:
    """Add the command ``reproduce``."""
    again = commands.add_parser("reproduce", help="run an experiment with several seeds (called by reproduce.sh)")
    cluster.add_jobs(again)
    again.add_argument("--seeds", type=int, default=1, metavar="N", help="run each job with N seeds (default: 1)")
    again.add_argument(
        "--hosts",
        type=int,
        default=0,
        metavar="N",
        help="simulate N hosts (default: the hosts of settings.sh)",
    )
    again.add_argument("--rate", default="", help="bandwidth of each simulated host's link, such as 100mbit or 1gbit")
    again.add_argument("--out", type=Path, metavar="FOLDER", help="default: results/EXPERIMENT, -HOSTS-RATE with hosts")
    again.set_defaults(run=run_reproduce)


def add_report(commands: "argparse._SubParsersAction") -> None:
    """Add the command ``report``."""
    report = commands.add_parser("report", help="print the table of recorded runs (means over seeds)")
    report.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    report.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="also write table.md, .csv, .json, report.html, plots and the packed records to this folder",
    )
    report.add_argument("--html", type=Path, metavar="FILE", help="also write the HTML report to this file")
    report.set_defaults(run=run_report)


def add_pack(commands: "argparse._SubParsersAction") -> None:
    """Add the command ``pack``."""
    pack = commands.add_parser("pack", help="pack an image folder into the .rec, .idx and .lst files that MXNet reads")
    pack.add_argument("folder", type=Path, metavar="FOLDER", help="one sub-folder for each class")
    pack.add_argument("prefix", type=Path, metavar="PREFIX", help="path of the files without extension")
    pack.add_argument(
        "--val-share", type=float, default=0.0, help="share of the images in PREFIX_val; PREFIX_train has the rest"
    )
    pack.add_argument("--resize", type=int, metavar="PIXELS", help="scale the shorter side and encode as JPEG")
    pack.add_argument("--quality", type=int, default=95, help="JPEG quality, 1 to 100 (default: 95)")
    pack.add_argument("--seed", type=int, default=0, help="seed for the order (default: 0)")
    pack.set_defaults(run=run_pack)


def run_doctor(options: argparse.Namespace) -> int:
    """Print what is installed; 1 if the main job could not run."""
    from byteps_gc import doctor

    return doctor.report()


def split(words: List[str]) -> Tuple[List[str], List[str]]:
    """The words before the first "--", and those after it."""
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


def run_reproduce(options: argparse.Namespace) -> int:
    """Run all of an experiment's jobs and make their table."""
    from byteps_gc import reproduce
    from byteps_gc.cluster import privileges
    from byteps_gc.cluster.experiment import Experiment
    from byteps_gc.cluster.namespaces import NamespaceHosts

    exit_on_sigterm()
    if options.seeds < 1:
        raise UserError(f"--seeds {options.seeds} is not 1 or more")
    if options.rate and not options.hosts:
        raise UserError("--rate needs --hosts: it limits the links of simulated hosts")
    if options.hosts:
        NamespaceHosts(options.hosts, options.rate)  # checks both
    name = options.experiment.stem
    if options.hosts:
        name += f"-{options.hosts}-hosts" + (f"-{options.rate}" if options.rate else "")
    jobs = Experiment.read(options.experiment).select(options.jobs)
    if options.hosts:
        privileges.enter([sys.executable, "-m", "byteps_gc", *sys.argv[1:]])
    out = (options.out or Path("results", name)).absolute()
    seeds, extra = range(options.seeds), options.rest
    series = reproduce.Series(options.experiment.absolute(), jobs, seeds, out, extra, options.hosts, options.rate)
    return reproduce.main(series)


def run_report(options: argparse.Namespace) -> int:
    """Print the table of recorded runs."""
    from byteps_gc import report
    from byteps_gc.report import packed, rows

    records = rows.find(options.folders)
    if not records:
        raise UserError(f"no record of a run in {', '.join(map(str, options.folders))}")
    report.present(records, options.out, options.html, options.folders)
    if options.out:
        packed.keep(records, options.out, options.folders)
    return 0


def run_pack(options: argparse.Namespace) -> int:
    """Pack an image folder."""
    from byteps_gc.data import packing

    exit_on_sigterm()
    given = (options.val_share, options.resize, options.quality, options.seed)
    for line in packing.pack(options.folder, options.prefix, *given):
        print(line)
    return 0


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
    """Discard what the standard output does not take, which Python would try again at its end, with a trace."""
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
