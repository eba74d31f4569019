"""What a training script does around its net: the log, the device, the seed and the learning rate of its process.

``byteps_gc.mxnet.init`` comes first.
"""

import argparse
import logging
from pathlib import Path
import sys
import tempfile
from typing import Any

from byteps_gc.core import agreement
from byteps_gc.errors import UserError, reported
import byteps_gc.mxnet as bps
from byteps_gc.training.schedule import schedule
import mxnet as mx


class LogFile(logging.FileHandler):
    """A log file; :class:`UserError` if a line cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Report why; a mistake in a line is left to the module logging."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        raise UserError(f"cannot write the log {self.baseFilename}: {error.strerror or error}") from None


def start(opt: argparse.Namespace) -> mx.Context:
    """Have rank 0 write the log file, seed MXNet, and return the device that this process computes on.

    opt: what :mod:`byteps_gc.training.flags` parsed. Raises :class:`UserError` if rank 0 cannot write the log, or
    make the folder of the checkpoints.
    """
    log = logging.getLogger()
    log.setLevel(logging.INFO if bps.rank() == 0 else logging.WARNING)
    if bps.rank() == 0:
        with reported(f"write the log {opt.logging_file}"):
            Path(opt.logging_file).parent.mkdir(parents=True, exist_ok=True)
            log.addHandler(LogFile(opt.logging_file))
        with reported(f"write checkpoints to {opt.save_dir}"):
            Path(opt.save_dir).mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=opt.save_dir).close()
    context = device(opt.num_gpus, bps.local_rank())
    if opt.num_gpus > 0 and context.device_type == "cpu":
        log.warning(
            "warning: --num-gpus %d, but MXNet finds no GPU for this process: training on the CPU", opt.num_gpus
        )
    mx.random.seed(opt.seed)
    return context


def device(gpus: int, local_rank: int) -> mx.Context:
    """Return the GPU of a local rank, or the CPU if none is requested or MXNet finds none."""
    return mx.gpu(local_rank) if gpus > 0 and mx.context.num_gpus() > local_rank else mx.cpu()


def hosts() -> int:
    """Return the number of groups of local processes in the job."""
    return bps.size() // bps.local_size()


def learning_rate(opt: argparse.Namespace) -> float:
    """Return the effective learning rate: --lr for each host."""
    return opt.lr * bps.size() / bps.local_size()


def learning_rates(opt: argparse.Namespace, batches: int, mode: str = "step") -> Any:
    """Return the scheduler that the flags describe, for epochs of ``batches`` steps.

    mode: see :func:`~byteps_gc.training.schedule.schedule`.
    """
    warmup, decay = (opt.warmup_epochs, opt.warmup_lr), (opt.lr_decay, opt.decay_epochs)
    return schedule(opt.num_epochs, batches, learning_rate(opt), *warmup, mode, *decay)


def agree(**values: int) -> None:
    """Raise :class:`UserError` on all workers unless each value is the same on all of them."""
    for (name, value), found in zip(values.items(), agreement.gather(list(values.values()), "agreement")[1].T):
        if len(set(found.tolist())) > 1:
            raise UserError(f"the workers have different data: {name.replace('_', ' ')} is {value} on this one")
