"""This process's part of a training job: its rank, its device, its log and its record."""

import argparse
import logging
from pathlib import Path
from typing import Any, Dict

from byteps_gc import agreement, checkpoint, env
from byteps_gc.errors import UserError
import byteps_gc.mxnet as bps
from byteps_gc.report import record
from byteps_gc.training import resume
from byteps_gc.training.schedule import schedule
import mxnet as mx


def device(gpus: int, local_rank: int) -> mx.Context:
    """What this process computes on: the GPU of its local rank, or the CPU where none is wanted or MXNet sees none."""
    return mx.gpu(local_rank) if gpus > 0 and mx.context.num_gpus() > local_rank else mx.cpu()


class Session:
    """Joins the cluster; rank 0 writes the log file and, beside it, the record.

    opt: what :mod:`byteps_gc.training.flags` parsed. rank, workers: this
    process's number, and how many there are in all; hosts: how many groups of
    local processes they are; rate: the effective learning rate, --lr for each
    host; context: the device that computes.
    """

    def __init__(self, opt: argparse.Namespace):
        bps.init()
        self.opt = opt
        self.rank, self.workers = bps.rank(), bps.size()
        self.hosts = self.workers // bps.local_size()
        self.rate = opt.lr * self.workers / bps.local_size()
        self.log = logging.getLogger()
        self.log.setLevel(logging.INFO if self.rank == 0 else logging.WARNING)
        if self.rank == 0:
            Path(opt.logging_file).parent.mkdir(parents=True, exist_ok=True)
            self.log.addHandler(logging.FileHandler(opt.logging_file))
        self.recorder = record.Recorder(record.beside(opt.logging_file) if self.rank == 0 else None)
        self.context = device(opt.num_gpus, bps.local_rank())
        if opt.num_gpus > 0 and self.context.device_type == "cpu":
            self.log.warning("--num-gpus %d, but MXNet sees no GPU for this process: training on the CPU", opt.num_gpus)
        mx.random.seed(opt.seed)

    def agree(self, **values: int) -> None:
        """:class:`UserError` on all workers unless each of the values is the same on all of them."""
        for (name, value), found in zip(values.items(), agreement.gather(list(values.values()), "agreement").T):
            if len(set(found.tolist())) > 1:
                raise UserError(f"the workers' data are not the same: {name.replace('_', ' ')}: {value} on this one")

    def trainer(self, net: Any, batches: int, mode: str = "step", **optimizer_params: Any) -> bps.DistributedTrainer:
        """The trainer of a Gluon block for epochs of so many ``batches``, as the flags of schedule and compression say.

        mode: see :func:`~byteps_gc.training.schedule.schedule`; optimizer_params: more of them.
        """
        opt = self.opt
        rates = schedule(
            opt.num_epochs,
            batches,
            self.rate,
            opt.warmup_epochs,
            opt.warmup_lr,
            mode,
            opt.lr_decay,
            opt.decay_epochs,
        )
        return bps.DistributedTrainer(
            net.collect_params(),
            "sgd" if opt.compression.compressor else "nag",
            {"wd": opt.wd, "momentum": opt.momentum, "lr_scheduler": rates, **optimizer_params},
            compression_params=opt.compression,
        )

    def resume(self, net: Any, trainer: bps.DistributedTrainer) -> Dict[str, Any]:
        """The progress that is made: what --resume-from's checkpoint says, once all workers have loaded it; else none.

        ``epoch`` is the last one that is done, from -1, and ``best`` the best accuracy.
        """
        if not self.opt.resume_from:
            return {"epoch": -1, "best": 0.0}
        progress = checkpoint.resume(self.opt.resume_from, net, trainer, self.context)
        if self.rank == 0:
            resume.complete_best(self.opt, progress)
        return progress

    def announce(self, dataset: str, batches: int, first_epoch: int, train_samples: int, val_samples: int) -> None:
        """Log and record what is going to be trained; :class:`UserError` if the record is that of another run."""
        opt, compression = self.opt, self.opt.compression.to_params()
        logging.info(
            "%s on %s: %d workers, %d steps an epoch, effective learning rate %g (%g x %d hosts), compression %s",
            opt.model, dataset, self.workers, batches, self.rate, opt.lr, self.hosts, compression or "none",
        )  # fmt: skip
        if first_epoch > 0:
            logging.info("resumed after %d of %d epochs: [Epoch %d] is next", first_epoch, opt.num_epochs, first_epoch)
            lost = resume.not_carried_over(opt.compression)
            if lost:
                logging.info("resumed: not in the checkpoint, so from zero again, are the compressors' %s", lost)
        start = dict(
            env.setting(), model=opt.model, dataset=dataset, epochs=opt.num_epochs, batches=batches,
            batch_size=opt.batch_size, learning_rate=self.rate, compression=compression,
            train_samples=train_samples, val_samples=val_samples, flags=opt.flags,
        )  # fmt: skip
        before = record.read(self.recorder.path).start if self.recorder.path and opt.resume_from else {}
        resume.require_same(before, start)
        if before:
            self.recorder.resume(first_epoch)
        else:
            self.recorder.write("start", first_epoch=first_epoch, **start)
