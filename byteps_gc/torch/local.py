"""The local ranks of a host: they reduce gradients among themselves, so that each host sends each gradient once."""

import threading
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from byteps_gc.core import agreement, session
from byteps_gc.errors import ExchangeError
from byteps_gc.torch import process
import torch
from torch import distributed as dist

NEEDS = (
    "local_reduce=True needs torch's process group, and the same number of processes, two or more, on each host, with"
    " consecutive ranks"
)
GLOO_REDUCES = torch.__version__ >= (2, 2)
# from torch 2.13 on under new names
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or getattr(dist, "reduce_scatter_tensor", None)
_all_gather = getattr(dist, "all_gather_single", None) or getattr(dist, "all_gather_into_tensor", None)


class LocalGroup:
    """A process group of the local ranks, for one model.

    size: how many they are. rank: this one's. hosts: how many workers exchange a shard.
    """

    def __init__(self, size: int, device: torch.device):
        backend = "nccl" if device.type == "cuda" else "gloo"
        if backend == "gloo" and not GLOO_REDUCES:
            raise ExchangeError(
                "local_reduce=True in host memory needs PyTorch 2.2 or newer: gloo has no reduce-scatter in PyTorch"
                f" {torch.__version__}"
            )
        self.size = size
        self.rank = session.rank() % size
        self.hosts = session.size() // size
        self._group, _ = dist.new_subgroups(group_size=size, backend=backend)

    def elements(self, elements: int) -> int:
        """Return the elements of a shard, of which the last one is padded with zeros."""
        return -(-elements // self.size)

    def reduce_scatter(self, rows: torch.Tensor) -> torch.Tensor:
        """Return this rank's row of the sum over the local ranks."""
        row = torch.empty_like(rows[0])
        _reduce_scatter(row, rows.view(-1), group=self._group)
        return row

    def all_gather(self, rows: torch.Tensor, row: torch.Tensor) -> None:
        """Replace rows by those of the local ranks."""
        _all_gather(rows.view(-1), row, group=self._group)


def find_group(device: torch.device, wanted: Optional[bool], name: str) -> Optional[LocalGroup]:
    """Return the group in which gradients are reduced first, or None. All workers decide alike, together.

    wanted: None: for gradients on GPUs where it is possible. name: of the exchange in which workers compare their
        places.
    """
    if session.size() == 1:
        return None
    possible = dist.is_available() and dist.is_initialized() and dist.get_rank() == session.rank()
    wants = device.type == "cuda" if wanted is None else wanted
    size = process.local_size()
    mine = [size, int(possible and process.local_rank() == session.rank() % size), int(wants)]
    ranks, places = agreement.gather(mine, name, "int64")
    fits = size > 1 and len(ranks) % size == 0 and (places[:, 0] == size).all() and places[:, 1].all()
    if wanted and not fits:
        raise ExchangeError(NEEDS)
    return LocalGroup(size, device) if fits and places[:, 2].all() else None


class Shards:
    """Some gradients of one dtype: one row for each local rank, with its shard of each, and a flag at the end."""

    def __init__(self, group: LocalGroup, gradients: Sequence[torch.Tensor], dtype: torch.dtype):
        self._group = group
        self._gradients = gradients
        self._widths = [group.elements(one.numel()) for one in gradients]
        self._dtype = dtype
        self._rows = self._row = self._flags = torch.empty(0)

    def reduce(self) -> List[torch.Tensor]:
        """Sum over the local ranks; return this rank's shards."""
        shape = (self._group.size, sum(self._widths) + 1)
        self._rows = torch.zeros(shape, dtype=self._dtype, device=self._gradients[0].device)
        for gradient, columns in zip(self._gradients, self._columns(self._rows)):
            flat = gradient.reshape(-1)
            for part, row in self._parts(flat, columns):
                row.copy_(part)
        self._row = self._group.reduce_scatter(self._rows)
        return self._columns(self._row)

    def gather(self, flag: bool) -> None:
        """Gather all ranks' shards, after this rank's were replaced, and their flags."""
        self._row[-1] = float(flag)
        self._group.all_gather(self._rows, self._row)
        pinned = self._rows.device.type == "cuda"
        self._flags = torch.empty(self._group.size, dtype=self._dtype, pin_memory=pinned)
        self._flags.copy_(self._rows[:, -1], non_blocking=True)

    def flags(self) -> List[bool]:
        """Return the flags of all ranks; once the gathering has ended."""
        return [bool(flag) for flag in self._flags.tolist()]

    def write(self, number: int) -> None:
        """Replace a gradient by what has been gathered."""
        gradient, columns = self._gradients[number], self._columns(self._rows)[number]
        gradient.copy_(columns.reshape(-1)[: gradient.numel()].view(gradient.shape))

    def _columns(self, rows: torch.Tensor) -> List[torch.Tensor]:
        return list(rows[..., :-1].split(self._widths, -1))

    def _parts(self, flat: torch.Tensor, columns: torch.Tensor) -> List[Tuple[torch.Tensor, torch.Tensor]]:
        """Return the parts of a gradient with the rows that they go to."""
        return [(part, row[: part.numel()]) for part, row in zip(flat.split(columns.shape[-1]), columns)]


class InOrder:
    """Runs work in the order of its places, each as soon as all before it have run.

    A place counts the gradients before it; next: the place of the next one.
    """

    def __init__(self) -> None:
        self.next = 0
        self._waiting: Dict[int, Tuple[int, Callable[[], Any]]] = {}

    def add(self, place: int, size: int, work: Callable[[], Any]) -> None:
        """Add work for ``size`` gradients."""
        self._waiting[place] = (size, work)

    def run(self) -> None:
        """Run what can run."""
        while self.next in self._waiting:
            size, work = self._waiting.pop(self.next)
            self.next += size
            work()


class Turns:
    """The order of a step's collective operations, which is the same on all local ranks.

    Reductions take the order of their places. Gathers take the same order, after the last reduction: exchanges end in
    another order on each rank. count: gradients of a step.
    """

    def __init__(self, count: int):
        self._count = count
        self._mutex = threading.RLock()
        self._reductions, self._gathers = InOrder(), InOrder()

    def reduce(self, place: int, size: int, work: Callable[[], Any]) -> None:
        """Run a reduction in its turn."""
        with self._mutex:
            self._reductions.add(place, size, work)
            self._reductions.run()
            self._end()

    def gather(self, place: int, size: int, work: Callable[[], Any]) -> None:
        """Run a gather in its turn."""
        with self._mutex:
            self._gathers.add(place, size, work)
            self._end()

    def _end(self) -> None:
        if self._reductions.next == self._count:
            self._gathers.run()
        if self._gathers.next == self._count:
            self._reductions.next = self._gathers.next = 0
