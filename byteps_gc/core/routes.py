"""What is known of each parameter's gradient on this worker, and what it is multiplied by on its way.

Nothing here knows a framework or a cluster. In MXNet's trainer the optimizer multiplies a gradient by
``rescale = rescale_grad / batch_size`` after the exchange, which is wrong as soon as two workers' batches differ. Here
all workers agree once on a reference rescale, and the optimizer multiplies by that; a worker with another one
multiplies its gradients by the ratio of the two before they are summed. As a rule the ratio is 1 and nothing is
multiplied.
"""

from dataclasses import dataclass
import os
import re
from typing import Any, Dict, List, Optional, Sequence, Tuple

from byteps_gc import native
from byteps_gc.core.engine import Step


@dataclass
class Route:
    """How one parameter's gradient travels, and what is kept of it.

    index: the parameter's place among the trainer's. parameter, gradient: the names under which it is broadcast, and
    under which its gradient is summed.
    Decided when it travels first: declared: whether that was yet; tensor: its compressors' step state, or None if it
    travels as it is; with_momentum: its compressor adds the momentum; dtype: of what is summed.
    Of every step: own, fresh: whether this worker's backward has computed the gradient since it was applied last;
    fresh is set as well by an allreduce_grads() that was not followed by update(). array: the gradient as it is
    exchanged; source: as the framework has it; total: what is summed; exchanged: whether ``array`` was before. digest:
    of what arrived, until it is applied. skipped: all workers skipped the step of its last exchange.
    Kept: momentum: what is applied around the exchange, or None; reset: its compressors start from zero.
    """

    index: int
    parameter: str
    gradient: str
    declared: bool = False
    tensor: Optional[native.Tensor] = None
    with_momentum: bool = False
    dtype: str = "float32"
    own: bool = False
    fresh: bool = False
    array: Optional[Any] = None
    source: Optional[Any] = None
    total: Optional[Any] = None
    exchanged: bool = False
    digest: int = 0
    skipped: bool = False
    momentum: Optional[Any] = None
    reset: bool = False

    @property
    def encoded(self) -> bool:
        """Whether a compressor on this worker encodes the gradient."""
        return self.tensor is not None

    def step(self, rate: float, factor: float) -> Optional[Step]:
        """Return the step state of the next exchange: None for a gradient that travels as it is.

        rate: learning rate of the step. factor: what the compressor multiplies the gradient by.
        """
        skipped, reset = self.skipped, self.reset
        self.skipped = self.reset = False
        return Step(self.tensor, rate, skipped, reset, factor) if self.tensor else None

    def begin(self, rate: float, factor: float) -> None:
        """Hand over the step state of the next exchange, for one that does not pass it."""
        step = self.step(rate, factor)
        if step:
            step.tensor.step(step.rate, step.skipped, step.reset, step.factor)

    def outcome(self) -> Tuple[bool, str]:
        """Whether what a compressor decoded is finite, and why it could not (empty: it could)."""
        return self.tensor.outcome() if self.tensor else (True, "")


def routes(scope: str, count: int) -> List[Route]:
    """The routes of a trainer's parameters; ``scope`` sets its tensors apart from those of other trainers."""
    return [Route(index, f"{scope}parameter_{index}", f"{scope}gradient_{index}") for index in range(count)]


@dataclass(frozen=True)
class Factors:
    """What a gradient is multiplied by: before the exchange, in the compressor, and when the sum has arrived."""

    before: float = 1.0
    compressor: float = 1.0
    after: float = 1.0


class Scaling:
    """The factors of gradients and of the optimizer.

    workers: how many processes exchange. local: how many of them share one compressor, which sees their sum.
    averages: the optimizer takes the mean as well, so that nothing is multiplied when a sum arrives.
    """

    def __init__(self, workers: int, local: int = 1, averages: bool = False):
        self.workers = workers
        self.local = local
        self.averages = averages
        self.reference: Optional[float] = None  # the rescale that all workers agree on
        self.batch_size = 1.0  # that belongs to it, or of the last update() after allreduce_grads()

    def agree(self, rescale: float, batch_size: float) -> None:
        """Set the reference; a rescale of 0 has no ratio to others, so it is 1 then."""
        self.reference, self.batch_size = rescale or 1.0, batch_size

    def optimizer(self) -> float:
        """What the optimizer multiplies a gradient by after :meth:`step`."""
        return self.reference / self.workers if self.averages else self.reference

    def step(self, encoded: bool, rescale: float) -> Factors:
        """The factors of a step whose rescale on this worker is ``rescale``."""
        ratio = rescale / self.reference
        if encoded:
            return self._encoded(ratio)
        return Factors(before=ratio, after=1.0 if self.averages else 1.0 / self.workers)

    def allreduce(self, encoded: bool, scale: float) -> Factors:
        """The factors of an exchange that ends with the plain mean of all workers.

        scale: what update() will divide by its batch size. Compressors keep states in the unit of the reference, so
        they see what they would if the batch size were the last one's.
        """
        if not encoded:
            return Factors(after=1.0 / self.workers)
        ratio = (self.expected(scale) or 1.0) / (self.reference or 1.0)
        factors = self._encoded(ratio)
        return Factors(factors.before, factors.compressor, 1.0 / ratio)

    def expected(self, scale: float) -> Optional[float]:
        """The rescale of the update() that follows, if its batch size is that of the one before; None for the first."""
        return None if self.reference is None else scale / self.batch_size

    def _encoded(self, ratio: float) -> Factors:
        if self.local > 1:
            return Factors(before=ratio, compressor=1.0 / self.workers)
        return Factors(compressor=ratio / self.workers)


COUNTER = re.compile(r"(\d+)(?=_)")


def in_order(names: Sequence[str]) -> List[str]:
    """Sort parameters' names, with the numbers in them as numbers: ``dense9_`` comes before ``dense10_``.

    So it is the order in which the layers were made, whatever the first number is.
    """
    return sorted(names, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)])


def canonical(names: Sequence[str]) -> List[str]:
    """Names without what depends on how many layers a process has made: counters become their rank among the others.

    Two processes that make the same net get the same names in the same order, although one has made another net before.
    """
    counters: Dict[str, List[Tuple[int, ...]]] = {}
    parts = [(COUNTER.sub("#", name), tuple(map(int, COUNTER.findall(name)))) for name in names]
    for pattern, numbers in parts:
        counters.setdefault(pattern, []).append(numbers)
    ranks = {pattern: sorted(set(found)) for pattern, found in counters.items()}
    return [f"{pattern} {ranks[pattern].index(numbers)}" for pattern, numbers in parts]


def relative(names: Sequence[str]) -> List[str]:
    """Canonical names without what all of them begin with: the same for a net of another prefix."""
    found = canonical(names)
    return [name[len(os.path.commonprefix(found)) :] for name in found]
