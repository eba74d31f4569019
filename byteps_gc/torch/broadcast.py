"""Gives all workers the parameters and the optimizer state of one."""

import io
from typing import Any, Dict, Iterable, Mapping, Tuple, Union

from byteps_gc.core import agreement, exchange, session
from byteps_gc.core import broadcast as broadcasting
from byteps_gc.errors import ExchangeError
from byteps_gc.torch import tensors
import torch

OURS = "byteps_gc"  # key of what this package adds to an optimizer's state_dict


def broadcast_parameters(
    params: Union[Mapping[str, torch.Tensor], Iterable[Tuple[str, torch.Tensor]]], root_rank: int = 0
) -> None:
    """Replace tensors by those of ``root_rank``, in place, bit for bit.

    params: ``model.state_dict()`` or ``model.named_parameters()``, with the same names and shapes on all workers. Any
    dtype, also bool and complex. Raises :class:`ExchangeError` for what differs between workers.
    """
    named = dict(params.items() if isinstance(params, Mapping) else params)
    found = {name: one.detach() for name, one in named.items() if isinstance(one, torch.Tensor) and one.numel()}
    name = exchange.next_name("broadcast_parameters", None)
    rows = [[key, list(one.shape), tensors.dtype_name(one.dtype), "", key] for key, one in found.items()]
    agreement.same_structure({}, rows, name)
    is_root = session.rank() == root_rank
    content = b"".join(_bytes_of(one) for one in found.values()) if is_root else None
    content = memoryview(bytearray(broadcasting.broadcast_bytes(content, "broadcast_parameters", root_rank)))
    at = 0
    for one in () if is_root else found.values():
        nbytes = one.numel() * one.element_size()
        flat = torch.frombuffer(content[at : at + nbytes], dtype=torch.uint8).clone()
        one.copy_(flat.view(one.dtype).view(one.shape))
        at += nbytes


def _bytes_of(tensor: torch.Tensor) -> bytes:
    flat = tensor.cpu().contiguous().view(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def broadcast_optimizer_state(optimizer: torch.optim.Optimizer, root_rank: int = 0) -> None:
    """Give an optimizer the state and the options of ``root_rank``'s: momentum, step counts, learning rates.

    What belongs to one worker stays: its error feedback and its momentum in front of a compressor.
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise ExchangeError(f"optimizer is a {type(optimizer).__name__}, not a torch.optim.Optimizer")
    content = None
    if session.rank() == root_rank:
        stream = io.BytesIO()
        torch.save(_plain(optimizer.state_dict()), stream)
        content = stream.getvalue()
    content = broadcasting.broadcast_bytes(content, "broadcast_optimizer_state", root_rank)
    if session.rank() != root_rank:
        optimizer.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))


def _plain(state: Dict[str, Any]) -> Dict[str, Any]:
    return {key: value for key, value in state.items() if key != OURS}
