"""The command ``reproduce``."""

import argparse
from pathlib import Path
from typing import Any

from byteps_gc.cluster import commands as cluster
from byteps_gc.errors import UserError
from byteps_gc.processes import exit_on_sigterm


def add(commands: Any) -> None:
    """Add the command ``reproduce``."""
    parser = commands.add_parser("reproduce", help="run an experiment with several seeds (called by reproduce.sh)")
    cluster.add_jobs(parser)
    cluster.add_simulated_hosts(parser)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="run each job with N seeds (default: 1)")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: results/EXPERIMENT, -HOSTS-RATE with simulated hosts"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run all of an experiment's jobs with all seeds, and make their table."""
    from byteps_gc.cluster.experiment import Experiment
    from byteps_gc.reproduce import series

    exit_on_sigterm()
    if options.seeds < 1:
        raise UserError(f"--seeds {options.seeds} is not 1 or more")
    cluster.check_simulated_hosts(options)
    name = options.experiment.stem
    if options.hosts:
        name += f"-{options.hosts}-hosts" + (f"-{options.rate}" if options.rate else "")
    jobs = Experiment.read(options.experiment).select(options.jobs)
    if options.hosts:
        cluster.become_able_to_simulate()
    file, out = options.experiment.absolute(), (options.out or Path("results", name)).absolute()
    return series.main(
        series.Series(file, jobs, range(options.seeds), out, options.rest, options.hosts or 0, options.rate)
    )
