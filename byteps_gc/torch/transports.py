"""How gradients come from where backward has computed them to the memory that is exchanged, and back."""

import itertools
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from byteps_gc.torch import lanes, tensors
from byteps_gc.torch.completion import Done, completions
from byteps_gc.torch.local import LocalGroup, Shards, Turns
import torch

Batch = Sequence[Any]  # of Gradient
Judge = Callable[[Batch], bool]  # whether the sums that have arrived are finite


class Direct:
    """Gradients in host memory, exchanged where they are as far as the engine can sum them there.

    shards: into how many a gradient is cut; shard: the one that this worker exchanges; workers: how many exchange it,
    or 0 for all. flat: see :class:`Gradients`. judge: called once for each batch.
    """

    shards, shard, workers = 1, 0, 0

    def __init__(self, flat: bool, judge: Judge):
        self._flat, self._judge = flat, judge

    def elements(self, elements: int) -> int:
        """Return the elements of a gradient that this worker exchanges."""
        return elements

    def memory(self, one: Any, source: torch.Tensor) -> torch.Tensor:
        """Return the memory in which a gradient is exchanged."""
        fits = tensors.in_place(source, None if self._flat else one.parameter)
        if fits and not (one.route.encoded and source.dtype is not torch.float32):
            return source
        return self._own(one)

    def begin(self, place: int, batch: Batch, exchange: Callable[[Done], None], done: Done) -> None:
        """Begin to exchange a batch; ``done`` is called in another thread, with None or an error.

        place: how many gradients of the step come before it, on all workers. exchange: exchanges their memory.
        """
        for one in batch:
            if one.memory is not one.source:
                one.memory.copy_(one.source)
        exchange(self._judged(batch, done))

    def finish(self, batch: Batch, then: Optional[Callable[[], None]] = None) -> None:
        """Put the means where the gradients were; then call ``then``, or have the current stream wait for them."""
        scale(batch)
        for one in batch:
            if one.memory is not one.source:
                one.source.copy_(one.memory)
        if then:
            then()

    def _own(self, one: Any) -> torch.Tensor:
        """Return memory that is kept for a gradient."""
        if one.host is None:
            elements = self.elements(one.parameter.numel()) if self._flat else None
            one.host = tensors.host_memory(one.parameter, one.route.encoded, elements)
        return one.host

    def _judged(self, batch: Batch, done: Done) -> Done:
        """Return what is called when the sums have arrived; it judges them, and passes errors on to ``done``."""

        def arrived(error: Optional[Exception]) -> None:
            try:
                if error:
                    raise error
                good = self._judge(batch)
                for one in batch:
                    one.good = good
            except Exception as failure:
                done(failure)
            else:
                done(None)

        return arrived


class Copied(Direct):
    """Gradients on a GPU, exchanged in pinned host memory. A stream of its own copies them there and back."""

    def __init__(self, flat: bool, judge: Judge, stream: lanes.Stream):
        super().__init__(flat, judge)
        self._lane = lanes.Lane(stream)
        self._stream = stream

    def memory(self, one: Any, source: torch.Tensor) -> torch.Tensor:
        return self._own(one)

    def begin(self, place: int, batch: Batch, exchange: Callable[[Done], None], done: Done) -> None:
        done = completions().watch(done)

        def copy() -> None:
            for one in batch:
                one.memory.copy_(one.source, non_blocking=True)

        self._stream.follow()
        self._lane.send(copy, _or(done, lambda: exchange(self._judged(batch, done))), [one.source for one in batch])

    def finish(self, batch: Batch, then: Optional[Callable[[], None]] = None) -> None:
        scale(batch)

        def copy_back() -> None:
            for one in batch:
                one.source.copy_(one.memory, non_blocking=True)

        self._put_back(batch, copy_back, then)

    def _put_back(self, batch: Batch, work: lanes.Work, then: Optional[Callable[[], None]]) -> None:
        def both() -> None:
            work()
            if then:
                then()

        self._stream.do(both, [one.source for one in batch])
        if not then:
            self._stream.join()


class Reduced(Copied):
    """Gradients that the local ranks of a host reduce first: each exchanges its shard with the other hosts.

    The stream reduces, scatters, copies to the host, copies back, and gathers. Local ranks do so in the same order.
    """

    def __init__(self, judge: Judge, stream: lanes.Stream, group: LocalGroup, count: int):
        super().__init__(True, judge, stream)  # a shard has no shape
        self._group = group
        self._turns = Turns(count)
        self._gathered: Dict[int, Tuple[Shards, int]] = {}  # by the gradient's index, with its number among the shards
        self.shards, self.shard, self.workers = group.size, group.rank, group.hosts

    def elements(self, elements: int) -> int:
        return self._group.elements(elements)

    def begin(self, place: int, batch: Batch, exchange: Callable[[Done], None], done: Done) -> None:
        done = completions().watch(done)
        sources = [one.source for one in batch]
        shards = Shards(self._group, sources, tensors.SUMMED[sources[0].dtype])
        parts: List[torch.Tensor] = []

        def reduce() -> None:
            parts.extend(shards.reduce())
            for one, part in zip(batch, parts):
                one.memory.copy_(part, non_blocking=True)

        def gather() -> None:
            for one, part in zip(batch, parts):
                part.copy_(one.memory, non_blocking=True)
            shards.gather(batch[0].good)

        def gathered() -> None:
            good = all(shards.flags())
            for number, one in enumerate(batch):
                one.good = good
                self._gathered[one.route.index] = (shards, number)
            done(None)

        def exchanged() -> None:
            scale(batch)
            self._turns.gather(place, len(batch), lambda: self._lane.send(gather, _or(done, gathered)))

        arrived = self._judged(batch, _or(done, exchanged))
        self._stream.follow()
        copied = _or(done, lambda: exchange(arrived))
        self._turns.reduce(place, len(batch), lambda: self._lane.send(reduce, copied, sources))

    def finish(self, batch: Batch, then: Optional[Callable[[], None]] = None) -> None:
        def write() -> None:
            for one in batch:
                shards, number = self._gathered.pop(one.route.index)
                shards.write(number)

        self._put_back(batch, write, then)


def scale(batch: Batch) -> None:
    """Multiply the sums that have arrived by what makes them means."""
    for after, those in itertools.groupby(batch, key=lambda one: one.after):
        if after != 1.0:
            torch._foreach_mul_([one.memory for one in those], after)


def _or(done: Done, then: Callable[[], None]) -> Done:
    """Return what passes an error on to ``done``, and otherwise calls ``then``."""

    def ended(error: Optional[Exception]) -> None:
        try:
            if error:
                raise error
            then()
        except Exception as failure:
            done(failure)

    return ended
