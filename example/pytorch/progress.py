"""Flags, learning rate and evaluations that both examples share: nothing here is about communication."""

import argparse
import math
import os
from pathlib import Path
import sys
import time
from typing import Any, Dict, List, Optional

from byteps_gc import env
from byteps_gc.errors import UserError
from byteps_gc.report.record import Recorder
from byteps_gc.report.target import is_reached
from byteps_gc.training.flags import Parser
import hooks
import torch
import torch.distributed as dist

NETWORK = Path("/proc/net/dev")  # bytes that have passed each network interface
# what gloo has summed: if its thread were the last to hold such a tensor, freeing it would need Python, and the process
# could abort at its end, or hang with PyTorch 2.1
reduced: List[torch.Tensor] = []
WARM_UP, LEAST = 0.05, 0.1  # fraction of the steps with a rising learning rate; last learning rate, relative to --lr


def parser(description: str, steps: int, eval_every: int, batch_size: int, lr: float) -> Parser:
    """Return a parser with the shared flags, whose defaults these are."""
    found = Parser(description=description)
    hooks.add(found)
    found.add_argument("--steps", type=int, default=steps, help="number of steps")
    found.add_argument("--eval-every", type=int, default=eval_every, metavar="N", help="steps between evaluations")
    found.add_argument("--batch-size", type=int, default=batch_size, help="samples per worker and step")
    found.add_argument("--lr", type=float, default=lr, help="highest learning rate")
    found.add_argument("--seed", type=int, default=0, help="seed for weights and data order")
    found.add_argument("--target-accuracy", type=float, metavar="A", help="report when it is reached, such as 0.85")
    found.add_argument("--target-loss", type=float, metavar="L", help="report when the validation loss is as low")
    found.add_argument("--stop-at-target", action="store_true", help="end when the target is reached")
    found.add_argument("--record", type=Path, metavar="FILE", help="write evaluations to FILE, one JSON object a line")
    found.add_argument("--check", action="store_true", help="check the flags and the data, then exit")
    return found


def parse(parser: Parser) -> argparse.Namespace:
    """Parse the command line and check the shared flags; a mistake ends the process with one line."""
    opt = parser.parse_args()
    try:
        check(opt)
    except UserError as error:
        parser.error(str(error))
    return opt


def check(opt: argparse.Namespace) -> None:
    """Check the shared flags; :class:`UserError` for a mistake. Sets ``opt.target``, such as {"accuracy": 0.85}."""
    opt.flags = {
        f"--{name.replace('_', '-')}": value if isinstance(value, (int, float)) else str(value)
        for name, value in vars(opt).items()
        if name not in ("hook", "check", "record") and value is not None
    }
    hooks.check(opt)
    for name in ("steps", "eval_every", "batch_size"):
        if getattr(opt, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(opt, name)} is not 1 or more")
    if not 0 < opt.lr < math.inf:
        raise UserError(f"--lr {opt.lr} is not above 0 and finite")
    given = {"accuracy": opt.target_accuracy, "loss": opt.target_loss}
    opt.target = {name: value for name, value in given.items() if value is not None}
    if len(opt.target) > 1:
        raise UserError("--target-accuracy and --target-loss cannot be combined")
    if "accuracy" in opt.target and not 0 < opt.target_accuracy <= 1:
        raise UserError(f"--target-accuracy {opt.target_accuracy} is not above 0 and at most 1")
    if opt.stop_at_target and not opt.target:
        raise UserError("--stop-at-target needs --target-accuracy or --target-loss")


def schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Return a scheduler: linear warm-up, then a cosine."""
    warm_up = max(1, int(WARM_UP * steps))

    def factor(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / max(1, steps - warm_up)
        return LEAST + (1 - LEAST) * 0.5 * (1 + math.cos(math.pi * done))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def sent_bytes() -> Optional[int]:
    """Return the bytes that this host has sent through its network interfaces; None if all workers are on it."""
    if int(os.environ.get("LOCAL_WORLD_SIZE", "1")) == dist.get_world_size():
        return None
    lines = [line.partition(":") for line in NETWORK.read_text().splitlines() if ":" in line]
    return sum(int(numbers.split()[8]) for name, _, numbers in lines if name.strip() != "lo")


def mean(*sums: float, count: int) -> Any:
    """Return sums over all workers, divided by the sum of ``count``."""
    total = torch.tensor([*sums, count], dtype=torch.float64)
    dist.all_reduce(total)
    reduced.append(total)
    return (total[:-1] / total[-1]).tolist()


class Progress:
    """Times the training, prints each evaluation, and writes it to --record, on rank 0.

    Seconds are those of the steps, without evaluations. Use::

        progress = Progress(opt, model="gpt", dataset="source", train_samples=..., val_samples=...)
        for step in ...:
            ...  # forward, backward and optimizer.step()
            if progress.step(loss) and progress.evaluated(*evaluate()):
                break
    """

    def __init__(self, opt: argparse.Namespace, **about: Any):
        self.opt = opt
        self.steps = self.evaluations = 0
        self.seconds = 0.0
        self.reached = False
        first = dist.get_rank() == 0
        self.recorder = Recorder(opt.record if first else None)
        self.print = print if first else lambda *words, **options: None
        limits = {"min_compress_bytes": env.min_compress_bytes(), "partition_bytes": env.partition_bytes()}
        about.update(workers=dist.get_world_size(), batch_size=opt.batch_size, learning_rate=opt.lr)
        epochs = -(-opt.steps // opt.eval_every)
        self.recorder.write(
            "start", **about, **limits, epochs=epochs, compression=hooks.described(opt), flags=opt.flags,
            target=opt.target,
        )  # fmt: skip
        self.print(f"{about['model']}, {about['workers']} workers, hook {opt.hook} {opt.compression or ''}", flush=True)
        self._restart()

    def _restart(self) -> None:
        """Begin to measure, on all workers at once."""
        dist.barrier()
        self._losses, self._since, self._sent, self._begin = 0.0, 0, sent_bytes(), time.monotonic()

    def step(self, loss: torch.Tensor) -> bool:
        """Count a step with its loss; return whether an evaluation is due."""
        self.steps += 1
        self._since += 1
        self._losses += loss.item()
        if self.steps % self.opt.eval_every and self.steps < self.opt.steps:
            return False
        self._took = time.monotonic() - self._begin
        self.seconds += self._took
        sent = sent_bytes()
        self._mb = None if sent is None else (sent - self._sent) / self._since / 1e6
        return True

    def evaluated(self, loss: float, accuracy: float) -> bool:
        """Report an evaluation, the same values on all workers; return whether to stop."""
        (trained,) = mean(self._losses, count=self._since)
        found: Dict[str, Any] = {
            "step": self.steps, "seconds": self.seconds, "accuracy": accuracy, "val_loss": loss, "loss": trained,
            "samples_per_second": self._since * self.opt.batch_size * dist.get_world_size() / self._took,
            "sent_mb_per_step": self._mb,
        }  # fmt: skip
        sent = "" if self._mb is None else f", {self._mb:.3f} MB/step"
        self.print(
            f"step {self.steps}: {self.seconds:.1f} s, loss {trained:.4f}, validation loss {loss:.4f}, accuracy"
            f" {accuracy:.2%}, {found['samples_per_second']:.1f} samples/s{sent}",
            flush=True,
        )
        self.recorder.write("epoch", epoch=self.evaluations, **found)
        self.evaluations += 1
        if is_reached(self.opt.target, found) and not self.reached:
            self.reached = True
            self.print(f"reached {self.opt.target} after {self.seconds:.1f} s and {self.steps} steps", flush=True)
        stops = self.steps >= self.opt.steps or self.reached and self.opt.stop_at_target
        if stops:
            self.recorder.write("end")
        else:
            self._restart()
        return stops


def run(main: Any) -> None:
    """Run a script's ``main``; a mistake of the user ends it with one line."""
    try:
        main()
    except UserError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: {error}")
