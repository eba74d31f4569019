"""What ``scripts/cluster_on_one_machine.sh`` does once the environment is set up."""

import argparse
from pathlib import Path
import sys

from byteps_gc.cluster import one_machine
from byteps_gc.commands import split
from byteps_gc.errors import UserError
from byteps_gc.processes import exit_on_sigterm

NAME = "cluster_on_one_machine"
SCRIPTS = Path(__file__).resolve().parent.parent / "example" / "mxnet" / "gradient_compression"


class OneLineParser(argparse.ArgumentParser):
    """Tells a mistake without the usage above it."""

    def error(self, message):
        self.exit(2, f"{NAME}: {message}\n")


def main() -> int:
    """Run the jobs; a user's error becomes one line and a status that is not 0."""
    words, flags = split(sys.argv[1:])
    parser = OneLineParser(prog=f"{NAME}.sh", epilog="What follows -- goes to the training script.")
    parser.add_argument("--hosts", type=int, default=4, help="default: 4, with one worker and two servers each")
    parser.add_argument("--rate", default="", help="of each host's link: 100mbit, 1gbit, ... (default: no limit)")
    parser.add_argument("--experiment", default="cifar100", metavar="NAME", help="default: cifar100")
    parser.add_argument("jobs", nargs="*", metavar="JOBS", help="default: all of the experiment's")
    options = parser.parse_args(words)
    exit_on_sigterm()
    try:
        return one_machine.run(SCRIPTS, options.hosts, options.rate, options.experiment, options.jobs, flags)
    except UserError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return getattr(error, "status", 2)
    except KeyboardInterrupt:
        print(f"{NAME}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
