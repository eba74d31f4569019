"""The command ``doctor``."""

import argparse
from typing import Any

from byteps_gc import __version__


def add(commands: Any) -> None:
    """Add the command ``doctor``."""
    parser = commands.add_parser("doctor", help="print what is installed and what is missing")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print all findings; return 1 if something that training needs is missing, else 0."""
    from byteps_gc.doctor.findings import MISSING, findings

    missing = []
    print(f"byteps_gc {__version__}")
    for finding in findings():
        print(f"  {finding.part:<11} {finding.state:<9} {finding.detail}", flush=True)
        missing += [finding.part] if finding.state == MISSING else []
    print(f"not ready to train: see {', '.join(missing)}" if missing else "ready to train")
    return 1 if missing else 0
