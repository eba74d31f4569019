"""The command ``report``."""

import argparse
from pathlib import Path
from typing import Any

from byteps_gc.errors import UserError


def add(commands: Any) -> None:
    """Add the command ``report``."""
    parser = commands.add_parser("report", help="print the table of recorded runs (means over seeds)")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="also write table.md, .csv, .json, report.html, plots and the packed records to this folder",
    )
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the HTML report to this file")
    parser.add_argument(
        "--target",
        metavar="WHAT=NUMBER",
        help="show the time to this validation accuracy or loss, such as accuracy=0.85 (default: the runs' own target)",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table of recorded runs."""
    from byteps_gc import report
    from byteps_gc.report import packed, rows, target

    records = rows.find(options.folders)
    if not records:
        raise UserError(f"no record of a run in {', '.join(map(str, options.folders))}")
    if options.target:
        target.replace(records, target.parse(options.target))
    report.present(records, options.out, options.html, options.folders)
    if options.out:
        packed.keep(records, options.out, options.folders)
    return 0
