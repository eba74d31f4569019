"""What ``scripts/cluster_on_one_machine.sh`` does once the environment is set up."""

import argparse
from pathlib import Path
import sys

from byteps_gc.cli import split
from byteps_gc.cluster import simulated_cluster
from byteps_gc.cluster.experiment import Experiment
from byteps_gc.errors import UserError
from byteps_gc.processes import exit_on_sigterm

NAME = "cluster_on_one_machine"
SCRIPTS = Path(__file__).resolve().parent.parent / "example" / "mxnet" / "gradient_compression"


class OneLineParser(argparse.ArgumentParser):
    """Report an error without the usage above it."""

    def error(self, message):
        self.exit(2, f"{NAME}: {message}\n")


def main() -> int:
    """Run the jobs; a user's error becomes one line and a status that is not 0."""
    words, flags = split(sys.argv[1:])
    parser = OneLineParser(prog=f"{NAME}.sh", epilog="What follows -- goes to the training script.")
    hosts = "simulate N hosts, each with one worker and two servers (default: 4)"
    parser.add_argument("--hosts", type=int, default=4, metavar="N", help=hosts)
    rate = "bandwidth of each simulated host's link, such as 100mbit or 1gbit (default: no limit)"
    parser.add_argument("--rate", default="", help=rate)
    parser.add_argument("--experiment", default="cifar100", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--job", action="append", default=[], metavar='NAME="FLAGS"', help="define one more job")
    parser.add_argument("jobs", nargs="*", metavar="JOBS", help="jobs to run (default: all of the experiment)")
    options = parser.parse_args(words)
    exit_on_sigterm()
    try:
        experiment = Experiment.read(SCRIPTS / f"{options.experiment}.ini", options.job)
        simulated_cluster.run(experiment, options.hosts, options.rate, options.jobs, flags, by_pssh=True)
        return 0
    except UserError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return getattr(error, "status", 2)
    except KeyboardInterrupt:
        print(f"{NAME}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
