"""Torch tensors as the engine sees them: dense host memory of a dtype that it sums."""

from typing import Any, Optional

from byteps_gc.errors import ExchangeError
import torch

# dtype: that in which the engine sums it
SUMMED = {
    torch.float16: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float32: torch.float32,
    torch.float64: torch.float64,
    torch.uint8: torch.uint8,
    torch.int8: torch.int8,
    torch.int32: torch.int32,
    torch.int64: torch.int64,
}
DEVICES = ("cpu", "cuda")


def dtype_name(dtype: torch.dtype) -> str:
    """Return a dtype's name, as NumPy has it where NumPy has the dtype."""
    return str(dtype).split(".")[-1]


def require(tensor: Any, name: str) -> None:
    """:class:`ExchangeError` unless a tensor can be exchanged, perhaps after a copy."""
    if not isinstance(tensor, torch.Tensor):
        raise ExchangeError(f"{name} is a {type(tensor).__name__}, not a tensor")
    if tensor.layout is not torch.strided:
        kind = str(tensor.layout).split(".")[-1]
        raise ExchangeError(f"{name} is {kind}: sparse tensors are not supported; use dense ones (sparse=False)")
    if tensor.dtype not in SUMMED or not tensor.numel():
        accepted = ", ".join(dtype_name(dtype) for dtype in SUMMED)
        raise ExchangeError(
            f"{name} has dtype {dtype_name(tensor.dtype)} and shape {tuple(tensor.shape)}; accepted: {accepted}, not"
            " empty"
        )
    if tensor.device.type not in DEVICES:
        raise ExchangeError(f"{name} is on device {tensor.device}; accepted: {', '.join(DEVICES)}")


def is_dense(tensor: torch.Tensor) -> bool:
    """Return whether a tensor's elements fill one range of memory, in any order of its dimensions."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def host_memory(tensor: torch.Tensor, encoded: bool = False, elements: Optional[int] = None) -> torch.Tensor:
    """Return host memory in which a tensor can be exchanged: like it, or of ``elements``; pinned for a GPU.

    encoded: by a compressor, which takes float32.
    """
    dtype = torch.float32 if encoded else SUMMED[tensor.dtype]
    options = {"dtype": dtype, "device": "cpu", "pin_memory": tensor.device.type == "cuda"}
    if elements is not None:
        return torch.empty(elements, **options)
    return torch.empty_like(tensor.detach(), memory_format=torch.preserve_format, requires_grad=False, **options)


def in_place(tensor: torch.Tensor, like: Optional[torch.Tensor] = None) -> bool:
    """Return whether a tensor can be exchanged where it is; ``like``: if its elements have this one's order."""
    fits = tensor.device.type == "cpu" and tensor.dtype is SUMMED[tensor.dtype]
    return fits and (tensor.is_contiguous() if like is None else tensor.stride() == like.stride() and is_dense(like))
