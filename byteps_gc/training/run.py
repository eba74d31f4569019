"""The bookkeeping of a training loop: epochs and steps are timed, logged, recorded and saved."""

import argparse
import contextlib
import logging
from pathlib import Path
from statistics import median
import time
from typing import Any, Dict, Iterator, List, Tuple

from byteps_gc import env
from byteps_gc.core import exchange
from byteps_gc.data.loader import Batch, Loader
from byteps_gc.data.sharding import ShardedSampler
import byteps_gc.mxnet as bps
from byteps_gc.report import record
from byteps_gc.report.tensorboard import TensorBoard
from byteps_gc.training import checkpoint, resume, session
import mxnet as mx
import numpy as np

UNITS = "time=%.1fs speed=%.1f samples/s sent=%.3f MB/step"
SPLIT = 8  # every N-th step is timed in two parts, with nothing else under way


def scalars(opt: argparse.Namespace) -> Path:
    """Return the folder of this run's scalars: one of its own, whatever other jobs and seeds write to --tensorboard."""
    return opt.tensorboard / f"{Path(opt.logging_file).stem}-seed-{opt.seed}"


class Run:
    """A training run of a Gluon block. The script has the loop, and calls this around it::

        run.begin("cifar100", train_samples, val_samples)
        for epoch in run.epochs():
            for data, label in run.batches(train_data):
                ...  # forward and backward
                with run.exchange():
                    trainer.step(batch_size)
                run.count(loss.sum(), right)
            run.finish_epoch(accuracy)

    opt: what :mod:`byteps_gc.training.flags` parsed; sampler: the order of this worker's images;
    log_interval: steps between two lines of the log; 0: none.
    progress: the last ``epoch`` that is done, from -1, and the ``best`` validation accuracy so far.
    """

    def __init__(
        self,
        opt: argparse.Namespace,
        net: Any,
        trainer: "bps.DistributedTrainer",
        sampler: ShardedSampler,
        context: mx.Context,
        log_interval: int = 0,
    ):
        self.opt = opt
        self.net = net
        self.trainer = trainer
        self.sampler = sampler
        self.context = context
        self.log_interval = log_interval
        self.progress: Dict[str, Any] = {"epoch": -1, "best": 0.0}
        first = bps.rank() == 0
        mirrors = [TensorBoard(scalars(opt))] if first and opt.tensorboard else []
        self.recorder = record.Recorder(record.path_of(opt.logging_file) if first else None, mirrors=mirrors)
        self._epoch: Dict[str, Any] = {}  # what is known of the current epoch
        self._timed = False
        self._begin = 0.0
        self._parts: List[Tuple[float, float]] = []
        self._right = self._losses = mx.nd.zeros(1, ctx=context)

    def begin(self, dataset: str, train_samples: int, val_samples: int) -> None:
        """Load the checkpoint of --resume-from, if it is given; then log and record what is trained.

        Raises :class:`UserError` if the record in the log's folder is that of another run. All workers call it.
        """
        opt, compression = self.opt, self.opt.compression.to_params()
        if opt.resume_from:
            self.progress = checkpoint.resume(opt.resume_from, self.net, self.trainer, self.context)
            if bps.rank() == 0:
                resume.complete_best(opt, self.progress)
        first_epoch, batches, rate = self.progress["epoch"] + 1, self.sampler.batches, session.learning_rate(opt)
        logging.info(
            "%s on %s: %d workers, %d steps per epoch, effective learning rate %g (%g x %d hosts), compression %s",
            opt.model, dataset, bps.size(), batches, rate, opt.lr, session.hosts(), compression or "none",
        )  # fmt: skip
        if first_epoch > 0:
            logging.info("resumed after %d of %d epochs: [Epoch %d] is next", first_epoch, opt.num_epochs, first_epoch)
            lost = resume.not_carried_over(opt.compression)
            if lost:
                logging.info("resumed: not in the checkpoint, so reset to zero: the compressors' %s", lost)
        start = dict(
            env.setting(), model=opt.model, dataset=dataset, epochs=opt.num_epochs, batches=batches,
            batch_size=opt.batch_size, learning_rate=rate, compression=compression,
            train_samples=train_samples, val_samples=val_samples, flags=opt.flags,
        )  # fmt: skip
        before = record.read(self.recorder.path).start if self.recorder.path and opt.resume_from else {}
        resume.require_same(before, start)
        if before:
            self.recorder.resume(first_epoch)
        else:
            self.recorder.write("start", first_epoch=first_epoch, **start)

    def epochs(self) -> Iterator[int]:
        """Yield the number of each epoch that is left to train; end the record after the last one."""
        started = time.time() - self.recorder.seconds
        for epoch in range(self.progress["epoch"] + 1, self.opt.num_epochs):
            self._epoch = {"epoch": epoch, "started": started}
            yield epoch
        self.recorder.write("end")

    def batches(self, train_data: Loader) -> Iterator[Batch]:
        """Yield the batches of the current epoch; then give all workers the same statistics of batch normalization."""
        opt, batches, epoch = self.opt, self.sampler.batches, self._epoch["epoch"]
        self.sampler.epoch = epoch
        train_data.seed = (opt.seed * 1000003 + epoch) * bps.size() + bps.rank()
        if epoch > 0:  # a resumed run drops out what the whole one would have; weights are drawn in the first epoch
            mx.random.seed(train_data.seed % 2**31)
        self._right, self._losses = mx.nd.zeros(1, ctx=self.context), mx.nd.zeros(1, ctx=self.context)
        self._parts = []
        tic, sent, received, skipped = time.time(), 0, 0, self.trainer.skipped_steps
        for batch, one in enumerate(train_data, 1):
            self._timed = batch % SPLIT == 2
            self._begin = self.moment()
            yield one
            self._losses.wait_to_read()
            if batch == 1:  # the very first step broadcasts the parameters as well
                mx.nd.waitall()
                sent, received = bps.sent_bytes(), bps.received_bytes()
            self.recorder.progress(epoch=epoch, batch=batch, batches=batches)
            if self.log_interval and batch % self.log_interval == 0:
                self.log_step(epoch, batch, time.time() - tic)
        mx.nd.waitall()
        self._epoch.update(
            seconds=time.time() - tic,
            sent_mb_per_step=(bps.sent_bytes() - sent) / max(1, batches - 1) / 1e6,
            received_mb_per_step=(bps.received_bytes() - received) / max(1, batches - 1) / 1e6,
            skipped_steps=self.trainer.skipped_steps - skipped,
        )
        totals = [float(self._right.asscalar()), float(self._losses.asscalar())]
        self._epoch["right"], self._epoch["losses"] = exchange.total(totals, "training")
        self.share_statistics()

    def moment(self) -> float:
        """Return the time, in a timed step once all that is under way is done."""
        if self._timed:
            mx.nd.waitall()
        return time.monotonic()

    @contextlib.contextmanager
    def exchange(self) -> Iterator[None]:
        """Time the exchange of gradients and the update in it, in one of SPLIT steps."""
        computed = self.moment()
        yield
        if self._timed:
            self._parts.append((computed - self._begin, self.moment() - computed))

    def count(self, loss: Any, right: Any) -> None:
        """Add a step's sum of losses and number of right predictions, NDArrays of one element each."""
        self._losses += loss
        self._right += right

    def log_step(self, epoch: int, batch: int, seconds: float) -> None:
        """Log how far the epoch is."""
        seen = batch * self.opt.batch_size
        logging.info(
            "[Epoch %d] step %d of %d: loss=%.4f lr=%.5g speed=%.1f samples/s", epoch, batch, self.sampler.batches,
            self._losses.asscalar() / seen, self.trainer.learning_rate, seen * bps.size() / seconds,
        )  # fmt: skip

    def finish_epoch(self, accuracy: float, **more: float) -> None:
        """Log, record and save the current epoch.

        accuracy: over all workers' validation images, from 0 to 1; more: others by name, such as ``top5``.
        """
        now, samples, rate = self._epoch, len(self.sampler) * bps.size(), self.trainer.learning_rate
        epoch, speed = now["epoch"], samples / now["seconds"]
        logging.info(
            f"[Epoch %d] train=%.4f val=%.4f {''.join(f'{name}={value:.4f} ' for name, value in more.items())}"
            f"loss=%.4f lr=%.5g {UNITS}",
            epoch, now["right"] / samples, accuracy, now["losses"] / samples, rate, now["seconds"], speed,
            now["sent_mb_per_step"],
        )  # fmt: skip
        self.recorder.write(
            "epoch", epoch=epoch, seconds=time.time() - now["started"], accuracy=accuracy, **more,
            train_accuracy=now["right"] / samples, loss=now["losses"] / samples, learning_rate=rate,
            samples_per_second=speed,
            **{name: now[name] for name in ("sent_mb_per_step", "received_mb_per_step", "skipped_steps")},
            **dict(zip(("compute_seconds", "exchange_seconds"), map(median, zip(*self._parts)))),
        )  # fmt: skip
        self.save(epoch, accuracy, self.progress["best"])
        self.progress = {"epoch": epoch, "best": max(accuracy, self.progress["best"])}

    def share_statistics(self) -> None:
        """Give all workers the mean of what each has gathered of its own images: batch normalization's averages.

        So all of them validate the net that is saved, and continue as they would when it is loaded.
        """
        own = [param for param in self.net.collect_params().values() if param.grad_req == "null"]
        if own:
            mine = np.concatenate([param.data().asnumpy().ravel() for param in own])
            mean = exchange.total(mine, "statistics") / bps.size()
            for param, part in zip(own, np.split(mean, np.cumsum([np.prod(param.shape) for param in own])[:-1])):
                param.set_data(mx.nd.array(part.reshape(param.shape), ctx=self.context))

    def save(self, epoch: int, accuracy: float, best: float) -> None:
        """Write the checkpoints that are due after an epoch, and remove those that they replace.

        The best epoch's checkpoint is best.params, the last one's is epoch-N.params of its number, which stays if it
        is a --save-period-th. Before that, all workers compare their parameters. best: the best accuracy before.
        """
        opt, folder = self.opt, Path(self.opt.save_dir)
        if opt.save_period or accuracy > best:
            self.trainer.check_parameters()
        if bps.rank() != 0:
            return
        progress = {"epoch": epoch, "accuracy": accuracy, "best": max(accuracy, best)}
        last = folder / (f"epoch-{epoch + 1}" if opt.save_period else "best")
        if opt.save_period or accuracy > best:
            checkpoint.save(last, self.net, self.trainer, progress)
        if opt.save_period and accuracy > best:
            checkpoint.copy(last, folder / "best")
        if opt.save_period:
            checkpoint.prune(folder, epoch + 1, opt.save_period)
