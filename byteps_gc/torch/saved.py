"""What a checkpoint holds of a worker's compressors, in tensors."""

from typing import Any, Callable, Dict, List

from byteps_gc.core import saved
from byteps_gc.torch.gradients import Gradients
import torch

Parts = List[Dict[str, Any]]


def state_of(gradients: Gradients) -> Dict[str, Any]:
    """Return this worker's state between two steps, in numbers, texts and tensors."""
    state = saved.state_of(gradients.settings, _routes(gradients), gradients.skipped_steps)
    return {
        **state,
        "local_ranks": gradients.shards,
        "gradients": _converted(state["gradients"], torch.from_numpy),
    }


def load(gradients: Gradients, state: Dict[str, Any]) -> None:
    """Continue where :func:`state_of` was called, see :func:`byteps_gc.core.saved.load`."""
    saved.require_same("number of local ranks that reduce first", state["local_ranks"], gradients.shards)
    arrays = {**state, "gradients": _converted(state["gradients"], torch.Tensor.numpy)}
    saved.load(gradients.settings, _routes(gradients), arrays, stacklevel=3)
    for one in gradients.each:
        found = state["momentum"].get(one.name)
        one.route.momentum = None if found is None else found.to(one.parameter.device, copy=True)
    gradients.skipped_steps = state["skipped_steps"]


def _routes(gradients: Gradients) -> Dict[str, Any]:
    return {one.name: one.route for one in gradients.each}


def _converted(gradients: Dict[str, Parts], convert: Callable[[Any], Any]) -> Dict[str, Parts]:
    """Return the partitions' states with converted arrays."""
    return {
        name: [{**part, **{key: convert(part[key]) for key in saved.ARRAYS}} for part in parts]
        for name, parts in gradients.items()
    }
