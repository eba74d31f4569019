"""The training loop: epochs of steps, validated, logged, recorded and saved."""

import logging
from pathlib import Path
from statistics import median
import time
from typing import Any, Callable, Dict, List, Sequence, Tuple

from byteps_gc import checkpoint, exchange
from byteps_gc.data.loader import Loader
from byteps_gc.data.sharding import ShardedSampler
import byteps_gc.mxnet as bps
from byteps_gc.training.session import Session
import mxnet as mx
import numpy as np

Step = Callable[[np.ndarray, np.ndarray], Tuple[Any, Any]]
UNITS = "time=%.1fs speed=%.1f samples/s sent=%.3f MB/step"
SPLIT = 8  # of so many steps, one is timed in two parts, with nothing else under way


def moment(timed: bool) -> float:
    """The time when all that is under way is done; without waiting, if it is not ``timed``."""
    if timed:
        mx.nd.waitall()
    return time.monotonic()


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

        The best epoch's checkpoint is best.params, the last one's is epoch-N.params of its number, which stays if
        it is a --save-period-th.
        """
        opt, recorder, best = self.session.opt, self.session.recorder, progress["best"]
        started = time.time() - recorder.seconds
        for epoch in range(progress["epoch"] + 1, opt.num_epochs):
            tic = time.time()
            totals, a_step = self.epoch(epoch)
            seconds = time.time() - tic
            right, losses = exchange.total(totals, "training")
            samples = len(self.sampler) * self.session.workers
            self.share_statistics()
            accuracy, more = self.validate()
            rate, speed = self.trainer.learning_rate, samples / seconds
            logging.info(
                f"[Epoch %d] train=%.4f val=%.4f {''.join(f'{name}={value:.4f} ' for name, value in more.items())}"
                f"loss=%.4f lr=%.5g {UNITS}",
                epoch, right / samples, accuracy, losses / samples, rate, seconds, speed,
                a_step["sent_mb_per_step"],
            )  # fmt: skip
            recorder.write(
                "epoch", epoch=epoch, seconds=time.time() - started, accuracy=accuracy, **more,
                train_accuracy=right / samples, loss=losses / samples, learning_rate=rate, samples_per_second=speed,
                **a_step,
            )  # fmt: skip
            self.save(epoch, accuracy, best)
            best = max(accuracy, best)
        recorder.write("end")

    def epoch(self, epoch: int) -> Tuple[Sequence[float], Dict[str, float]]:
        """One epoch: right guesses and sum of losses on this worker, and what the record says of a step."""
        session, batches = self.session, self.sampler.batches
        self.sampler.epoch = epoch
        self.train_data.seed = (session.opt.seed * 1000003 + epoch) * session.workers + session.rank
        if epoch > 0:  # a resumed run drops out what the whole one would have; weights are drawn in the first epoch
            mx.random.seed(self.train_data.seed % 2**31)
        right, losses = mx.nd.zeros(1, ctx=session.context), mx.nd.zeros(1, ctx=session.context)
        tic, sent = time.time(), 0
        parts: List[Tuple[float, float]] = []
        for batch, (images, labels) in enumerate(self.train_data, 1):
            timed = batch % SPLIT == 2
            begin = moment(timed)
            loss, guessed = self.step(images, labels)
            computed = moment(timed)
            self.trainer.step(session.opt.batch_size)
            if timed:
                parts.append((computed - begin, moment(timed) - computed))
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
        a_step = {"sent_mb_per_step": (bps.sent_bytes() - sent) / max(1, batches - 1) / 1e6}
        a_step.update(zip(("compute_seconds", "exchange_seconds"), map(median, zip(*parts))))
        return [float(right.asscalar()), float(losses.asscalar())], a_step

    def share_statistics(self) -> None:
        """Give all workers the mean of what each has gathered of its own images: batch normalization's averages.

        So all of them validate the net that is saved, and go on as they would when it is loaded.
        """
        own = [param for param in self.net.collect_params().values() if param.grad_req == "null"]
        if own:
            mine = np.concatenate([param.data().asnumpy().ravel() for param in own])
            mean = exchange.total(mine, "statistics") / self.session.workers
            for param, part in zip(own, np.split(mean, np.cumsum([np.prod(param.shape) for param in own])[:-1])):
                param.set_data(mx.nd.array(part.reshape(param.shape), ctx=self.session.context))

    def save(self, epoch: int, accuracy: float, best: float) -> None:
        """Write the checkpoints that are due after an epoch, and take away what they replace.

        Before it, all workers compare their parameters. best: the best accuracy before this epoch.
        """
        opt, folder = self.session.opt, Path(self.session.opt.save_dir)
        if opt.save_period or accuracy > best:
            self.trainer.check_parameters()
        if self.session.rank != 0:
            return
        progress = {"epoch": epoch, "accuracy": accuracy, "best": max(accuracy, best)}
        last = folder / (f"epoch-{epoch + 1}" if opt.save_period else "best")
        if opt.save_period or accuracy > best:
            checkpoint.save(last, self.net, self.trainer, progress)
        if opt.save_period and accuracy > best:
            checkpoint.copy(last, folder / "best")
        if opt.save_period:
            checkpoint.prune(folder, epoch + 1, opt.save_period)
