"""push_pull, under BytePS's names: sums and means of single tensors."""

import functools
from typing import Any, Callable, Optional

from byteps_gc.core import engine, exchange, session
from byteps_gc.core.exchange import Handle
from byteps_gc.errors import ExchangeError
from byteps_gc.torch import lanes, tensors
from byteps_gc.torch.completion import Outcome, completions
from byteps_gc.torch.process import FRONT_END
import torch


class CopiedHandle(Handle):
    """The exchange of a tensor that is copied to host memory first; it begins when the copy has ended."""

    def __init__(self, outcome: Outcome, result: Any, finish: Callable[[], Any]):
        super().__init__(0, result, finish)
        self._outcome = outcome

    def _poll(self) -> bool:
        over = self._outcome.is_over()
        if over:
            self._await()  # for its error
        return over

    def _await(self) -> None:
        self._outcome.synchronize()


@functools.lru_cache(maxsize=None)
def _lane(device: torch.device) -> Optional[lanes.Lane]:
    stream = lanes.stream_for(device)
    return stream and lanes.Lane(stream)


def push_pull_async_inplace(
    tensor: torch.Tensor, average: bool = True, name: Optional[str] = None, priority: int = 0
) -> Handle:
    """Begin :func:`push_pull_inplace`; the tensor must not be used until :func:`synchronize` has returned it."""
    name = exchange.next_name("push_pull", name)
    tensors.require(tensor, name)
    if average and not tensor.is_floating_point():
        raise ExchangeError(
            f"{name}: cannot average {tensors.dtype_name(tensor.dtype)}; pass average=False and divide the sum"
        )
    result = memory = tensor.detach()
    lane = _lane(result.device)
    if lane or not tensors.in_place(memory):
        memory = tensors.host_memory(result, elements=result.numel()).view(result.shape)
    shape, dtype = tuple(memory.shape), tensors.dtype_name(memory.dtype)
    number = exchange.prepare(name, shape, dtype, FRONT_END).number
    item = engine.Exchange(number, memory.data_ptr(), priority)
    workers = session.size() if average else 1

    def divide() -> None:
        if workers != 1:
            memory.div_(workers)

    if lane:
        return _by_lane(lane, item, result, memory, divide)
    if memory is not result:
        memory.copy_(result)

    def finish() -> None:
        divide()
        if memory is not result:
            result.copy_(memory)

    return Handle(engine.exchange([item], memory), result, finish)


def _by_lane(
    lane: lanes.Lane, item: engine.Exchange, result: torch.Tensor, memory: torch.Tensor, divide: Callable[[], None]
) -> Handle:
    """Begin to exchange a tensor by a copy in host memory, which a lane makes and copies back."""
    outcome = Outcome()
    done = completions().watch(outcome.done)

    def copied(error: Optional[Exception]) -> None:
        done(error) if error else completions().exchange([item], memory, done)

    def finish() -> None:
        divide()
        lane.stream.do(lambda: result.copy_(memory, non_blocking=True), [result])
        lane.stream.join()

    lane.stream.follow()
    lane.send(lambda: memory.copy_(result, non_blocking=True), copied, [result])
    return CopiedHandle(outcome, result, finish)


def push_pull_async(
    tensor: torch.Tensor, average: bool = True, name: Optional[str] = None, priority: int = 0
) -> Handle:
    """Begin :func:`push_pull`, and return what :func:`synchronize` waits for."""
    copy = tensor.detach().clone() if isinstance(tensor, torch.Tensor) else tensor
    return push_pull_async_inplace(copy, average, name, priority)


def push_pull_inplace(
    tensor: torch.Tensor, average: bool = True, name: Optional[str] = None, priority: int = 0
) -> torch.Tensor:
    """Replace a tensor by its mean or sum over all workers; see :func:`push_pull`."""
    return push_pull_async_inplace(tensor, average, name, priority).wait()


def push_pull(
    tensor: torch.Tensor, average: bool = True, name: Optional[str] = None, priority: int = 0
) -> torch.Tensor:
    """Return the mean of a tensor over all workers, or its sum with ``average=False``.

    tensor: dense and not empty, on the CPU or a GPU; dtype float16, bfloat16, float32, float64, uint8, int8, int32 or
        int64. float16 and bfloat16 are summed as float32. Means only of floating-point tensors.
    name: the same on all workers; one name has one shape and dtype for good. Calls without a name are matched in the
        order in which they are made.
    priority: an exchange with a larger one is sent first, where BYTEPS_SCHEDULING_CREDIT is set.

    The result has no gradient. The call returns when all workers have made it. Raises :class:`ExchangeError` for a
    tensor that cannot be exchanged, and while another exchange of this name is under way.
    """
    return push_pull_async(tensor, average, name, priority).wait()


def poll(handle: Handle) -> bool:
    """Return whether an exchange is done: :func:`synchronize` then returns at once."""
    return handle.done()


def synchronize(handle: Handle) -> torch.Tensor:
    """Wait for an exchange and return its result; Ctrl-C interrupts the wait."""
    return handle.wait()
