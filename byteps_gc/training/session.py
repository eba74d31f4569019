"""What a training script does around its net: the log, the device, the seed and the learning rate of its process.

``byteps_gc.mxnet.init`` comes first.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from byteps_gc import agreement
from byteps_gc.errors import UserError
import byteps_gc.mxnet as bps
from byteps_gc.training.schedule import schedule
import mxnet as mx


def start(opt: argparse.Namespace) -> mx.Context:
    """Have rank 0 write the log file, seed MXNet, and return the device that this process computes on.

    opt: what :mod:`byteps_gc.training.flags` parsed.
    """
    log = logging.getLogger()
    log.setLevel(logging.INFO if bps.rank() == 0 else logging.WARNING)
    if bps.rank() == 0:
        Path(opt.logging_file).parent.mkdir(parents=True, exist_ok=True)
        log.addHandler(logging.FileHandler(opt.logging_file))
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
