"""The command ``pack``."""

import argparse
from pathlib import Path
from typing import Any

from byteps_gc.processes import exit_on_sigterm


def add(commands: Any) -> None:
    """Add the command ``pack``."""
    parser = commands.add_parser(
        "pack", help="pack an image folder into the .rec, .idx and .lst files that MXNet reads"
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="one sub-folder for each class")
    parser.add_argument("prefix", type=Path, metavar="PREFIX", help="path of the files without extension")
    parser.add_argument(
        "--val-share", type=float, default=0.0, help="share of the images in PREFIX_val; PREFIX_train has the rest"
    )
    parser.add_argument("--resize", type=int, metavar="PIXELS", help="scale the shorter side and encode as JPEG")
    parser.add_argument("--quality", type=int, default=95, help="JPEG quality, 1 to 100 (default: 95)")
    parser.add_argument("--seed", type=int, default=0, help="seed for the order (default: 0)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Pack an image folder."""
    from byteps_gc.data import packing

    exit_on_sigterm()
    given = (options.val_share, options.resize, options.quality, options.seed)
    for line in packing.pack(options.folder, options.prefix, *given):
        print(line)
    return 0
