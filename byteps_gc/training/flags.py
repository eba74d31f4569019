"""The flags that every training script has, and their checks."""

import argparse
import logging
from pathlib import Path
from typing import Any, Callable, Sequence

from byteps_gc import arguments, env
from byteps_gc.engine import nvidia_driver
from byteps_gc.errors import UserError
from byteps_gc.native import RATE_LIMIT
from byteps_gc.report import tensorboard
from byteps_gc.training import compression_flags, resume

NOT_NEGATIVE = ("lr", "momentum", "wd", "warmup_lr", "warmup_epochs", "lr_decay", "num_workers", "save_period")


class Defaults(argparse.HelpFormatter):
    """Show the default of every flag that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        if action.default is None or isinstance(action.default, bool) or action.default is argparse.SUPPRESS:
            return action.help
        return f"{action.help} (default: %(default)s)".lstrip()


class Parser(arguments.Parser):
    """A parser that shows defaults."""

    def __init__(self, **options: Any):
        super().__init__(formatter_class=Defaults, **options)


def add_training(parser: argparse.ArgumentParser, epochs: int, decay_epochs: str, log: str, save: str) -> None:
    """Add the flags of model, device, schedule, checkpoints and log, and those of the compression.

    epochs, decay_epochs, log: defaults; save: the flag that says how often a checkpoint stays.
    :func:`check` completes what they are parsed to.
    """
    parser.add_argument(
        "--mode", default="hybrid", choices=["imperative", "hybrid", "hybrib"], help="default: %(default)s"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="images per worker and step")
    parser.add_argument("--num-gpus", type=int, default=0, help="1: train on a GPU, if MXNet finds one")
    parser.add_argument("--num-epochs", type=int, default=epochs, help="number of epochs")
    parser.add_argument(
        "-j", "--num-data-workers", dest="num_workers", type=int, default=2, help="threads that load images"
    )
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate per host")
    parser.add_argument("--lr-decay", type=float, default=0.1, help="factor of each decay")
    parser.add_argument("--lr-decay-epoch", default=decay_epochs, help="epochs at which the learning rate decays")
    parser.add_argument("--lr-decay-period", type=int, default=0, metavar="N", help="decay every N epochs instead")
    parser.add_argument("--warmup-epochs", type=int, default=0, help="epochs of linear warm-up")
    parser.add_argument("--warmup-lr", type=float, default=0.0, help="learning rate at the start of the warm-up")
    parser.add_argument("--momentum", type=float, default=0.9, help="momentum of SGD")
    parser.add_argument("--wd", type=float, default=0.0001, help="weight decay")
    parser.add_argument(
        save,
        dest="save_period",
        type=int,
        default=10,
        metavar="N",
        help="keep the checkpoint of every N-th epoch; 0: none",
    )
    parser.add_argument("--save-dir", default="params", help="folder of the checkpoints")
    parser.add_argument("--resume-from", help="checkpoint to continue from (best.params, epoch-10.params, ...)")
    parser.add_argument(
        "--logging-file", default=log, help="log file; the run's record is written next to it, as .jsonl"
    )
    parser.add_argument(
        "--tensorboard", type=Path, metavar="DIR", help="also write scalars for TensorBoard to DIR/JOB-seed-N"
    )
    parser.add_argument("--check", action="store_true", help="check the flags and the data set, then exit")
    compression_flags.add_compression(parser)


def flag(name: str, parser: argparse.ArgumentParser) -> str:
    """The long flag that sets an attribute of the parsed options."""
    return next(action.option_strings[-1] for action in parser._actions if action.dest == name)


def require(parser: argparse.ArgumentParser, opt: argparse.Namespace, names: Sequence[str], least: int) -> None:
    """End the process with a parser error unless the named options are at least ``least``, and finite as float32."""
    for name in names:
        if not getattr(opt, name) >= least:
            parser.error(f"{flag(name, parser)} {getattr(opt, name)} is not {least} or more")
        if not getattr(opt, name) < RATE_LIMIT:
            parser.error(f"{flag(name, parser)} {getattr(opt, name)} is not a finite float32")


def parse(
    parser: argparse.ArgumentParser, check: Callable[[argparse.ArgumentParser, argparse.Namespace], None]
) -> argparse.Namespace:
    """Parse the command line and have a script ``check`` what it says; a :class:`UserError` is the parser's error."""
    opt = parser.parse_args()
    try:
        check(parser, opt)
    except UserError as error:
        parser.error(str(error))
    if opt.mode == "hybrib":
        logging.warning("--mode hybrib is read as hybrid")
    return opt


def check(parser: argparse.ArgumentParser, opt: argparse.Namespace) -> None:
    """Check what :func:`add_training` added; sets ``decay_epochs``, a sorted list, ``compression`` and ``flags``.

    Raises :class:`UserError`, or ends the process with a parser's error.
    """
    require(parser, opt, ("batch_size", "num_epochs"), 1)
    if opt.num_gpus > 1:
        raise UserError(f"--num-gpus {opt.num_gpus} is not 0 or 1: a process uses one GPU; BYTEPS_GC_GPUS lists them")
    require(parser, opt, NOT_NEGATIVE, 0)
    try:
        opt.decay_epochs = sorted(int(epoch) for epoch in opt.lr_decay_epoch.split(",") if epoch)
    except ValueError:
        raise UserError(f"--lr-decay-epoch {opt.lr_decay_epoch} is not a list of epochs such as 100,150") from None
    if opt.lr_decay_period > 0:
        opt.decay_epochs = list(range(opt.lr_decay_period, opt.num_epochs, opt.lr_decay_period))
    opt.compression = compression_flags.compression(opt)
    opt.flags = resume.fixed_flags(parser, opt)
    if opt.tensorboard:
        tensorboard.require()
    nvidia_driver.check(max(1, len(env.devices())), using=opt.num_gpus > 0)
    resume.check(opt)
