"""The training loop: epochs of steps, validated, logged, recorded and saved."""

import logging
from pathlib import Path
import time
from typing import Any, Callable, Dict, Sequence, Tuple

from byteps_gc import checkpoint, exchange
from byteps_gc.data.loader import Loader
from byteps_gc.data.sharding import ShardedSampler
import byteps_gc.mxnet as bps
from byteps_gc.training.session import Session
import mxnet as mx
import numpy as np

Step = Callable[[np.ndarray, np.ndarray], Tuple[Any, Any]]
UNITS = "time=%.1fs speed=%.1f samples/s sent=%.3f MB/step"


class Loop:
    """Trains a Gluon block, epoch by epoch.

    step(images, labels): computes the gradients of one batch of ``train_data``;
        returns the sum of the losses and the number of right guesses, each an
        NDArray of one element.
    validate(): the accuracy over all workers' images, and others by name, such
        as ``top5``; all from 0 to 1.
    log_interval: steps between two lines of the log; 0: none.
    """

    def __init__(
        self,
        session: Session,
        net: Any,
        trainer: "bps.DistributedTrainer",
        sampler: ShardedSampler,
        train_data: Loader,
        step: Step,
        validate: Callable[[], Tuple[float, Dict[str, float]]],
        log_interval: int = 0,
    ):
        self.session = session
        self.net = net
        self.trainer = trainer
        self.sampler = sampler
        self.train_data = train_data
        self.step = step
        self.validate = validate
        self.log_interval = log_interval

    def run(self, progress: Dict[str, Any]) -> None:
        """Train what follows ``progress``: the last ``epoch`` that is done, from -1, and the ``best`` accuracy so far.

        The best epoch's checkpoint is best.params, and every --save-period-th has one of its number.
        """
        opt, recorder, best = self.session.opt, self.session.recorder, progress["best"]
        started = time.time()
        for epoch in range(progress["epoch"] + 1, opt.num_epochs):
            tic = time.time()
            totals, sent = self.epoch(epoch)
            seconds = time.time() - tic
            right, losses = exchange.total(totals, "training")
            samples = len(self.sampler) * self.session.workers
            accuracy, more = self.validate()
            rate, speed = self.trainer.learning_rate, samples / seconds
            logging.info(
                f"[Epoch %d] train=%.4f val=%.4f {''.join(f'{name}={value:.4f} ' for name, value in more.items())}"
                f"loss=%.4f lr=%.5g {UNITS}",
                epoch, right / samples, accuracy, losses / samples, rate, seconds, speed, sent,
            )  # fmt: skip
            recorder.write(
                "epoch", epoch=epoch, seconds=time.time() - started, accuracy=accuracy, **more,
                train_accuracy=right / samples, loss=losses / samples, learning_rate=rate, samples_per_second=speed,
                sent_mb_per_step=sent,
            )  # fmt: skip
            self.save(epoch, accuracy, best)
            best = max(accuracy, best)
        recorder.write("end")

    def epoch(self, epoch: int) -> Tuple[Sequence[float], float]:
        """One epoch: right guesses and sum of losses on this worker, and the 10^6 bytes it sent in a step."""
        session, batches = self.session, self.sampler.batches
        self.sampler.epoch = epoch
        self.train_data.seed = (session.opt.seed * 1000003 + epoch) * session.workers + session.rank
        right, losses = mx.nd.zeros(1, ctx=session.context), mx.nd.zeros(1, ctx=session.context)
        tic, sent = time.time(), 0
        for batch, (images, labels) in enumerate(self.train_data, 1):
            loss, guessed = self.step(images, labels)
            self.trainer.step(session.opt.batch_size)
            losses += loss
            right += guessed
            losses.wait_to_read()
            if batch == 1:  # the very first step broadcasts the parameters as well
                mx.nd.waitall()
                sent = bps.sent_bytes()
            session.recorder.progress(epoch=epoch, batch=batch, batches=batches)
            if self.log_interval and batch % self.log_interval == 0:
                seen = batch * session.opt.batch_size
                logging.info(
                    "[Epoch %d] step %d of %d: loss=%.4f lr=%.5g speed=%.1f samples/s", epoch, batch, batches,
                    losses.asscalar() / seen, self.trainer.learning_rate, seen * session.workers / (time.time() - tic),
                )  # fmt: skip
        mx.nd.waitall()
        sent = (bps.sent_bytes() - sent) / max(1, batches - 1) / 1e6
        return [float(right.asscalar()), float(losses.asscalar())], sent

    def save(self, epoch: int, accuracy: float, best: float) -> None:
        """Write the checkpoints that are due after an epoch; ``best`` is the best accuracy before it."""
        if self.session.rank != 0:
            return
        opt, progress = self.session.opt, {"epoch": epoch, "best": max(accuracy, best)}
        names = ["best"] * (accuracy > best)
        names += [f"epoch-{epoch + 1}"] * bool(opt.save_period and (epoch + 1) % opt.save_period == 0)
        for name in names:
            checkpoint.save(Path(opt.save_dir, name), self.net, self.trainer, progress)
