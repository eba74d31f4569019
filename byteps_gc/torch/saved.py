"""What a checkpoint holds of a worker's compressors: momentum, error feedback and step counters."""

from typing import Any, Dict
import warnings

from byteps_gc import env
from byteps_gc.core import session
from byteps_gc.errors import ExchangeError
from byteps_gc.torch.gradients import Gradients
import torch

ARRAYS = ("momentum", "residual")


def state_of(gradients: Gradients) -> Dict[str, Any]:
    """Return this worker's state between two steps, in numbers, texts and tensors."""
    return {
        "rank": session.rank(),
        "size": session.size(),
        "compression": gradients.settings.to_params(),
        "partition_bytes": env.partition_bytes(),
        "local_ranks": gradients.shards,
        "skipped_steps": gradients.skipped_steps,
        "momentum": {one.name: one.route.momentum for one in gradients.each if one.route.momentum is not None},
        "gradients": {one.name: _partitions(one.route) for one in gradients.each if one.route.encoded},
    }


def _partitions(route: Any) -> Any:
    state = route.tensor.state(route.skipped, route.reset)
    return [{**one, **{name: torch.from_numpy(one[name]) for name in ARRAYS}} for one in state]


def load(gradients: Gradients, state: Dict[str, Any]) -> None:
    """Continue where :func:`state_of` was called; all workers do.

    A state of another worker, or another number of workers, gives the step counters only: error feedback starts from
    zero. So it does in any case on the servers, where a compressor keeps it there as well.
    """
    _require_same("compression", state["compression"], gradients.settings.to_params())
    _require_same("BYTEPS_PARTITION_BYTES", state["partition_bytes"], env.partition_bytes())
    _require_same("number of local ranks that reduce first", state["local_ranks"], gradients.shards)
    encoded = {one.name: one for one in gradients.each if one.route.encoded}
    _require_same("compressed gradients", sorted(state["gradients"]), sorted(encoded))
    mine = (state["rank"], state["size"]) == (session.rank(), session.size())
    if not mine and encoded:
        warnings.warn(
            f"the state is of worker {state['rank']} of {state['size']}: error feedback of worker {session.rank()} of"
            f" {session.size()} starts from zero",
            stacklevel=4,
        )
    for name, one in encoded.items():
        parts = [{**part, **{key: part[key].numpy() for key in ARRAYS}} for part in state["gradients"][name]]
        _require_same(f"partitions of {name}", len(parts), len(one.route.tensor.partitions()))
        if not mine:
            parts = [{**part, **{key: part[key] * 0 for key in ARRAYS}} for part in parts]
        if any(part["step"] for part in parts):
            one.route.tensor.load_state(parts)
        one.route.skipped = False
    for one in gradients.each:
        found = state["momentum"].get(one.name)
        one.route.momentum = None if found is None else found.to(one.parameter.device, copy=True)
    gradients.skipped_steps = state["skipped_steps"]


def _require_same(what: str, saved: Any, here: Any) -> None:
    if saved != here:
        raise ExchangeError(f"the saved state has another {what}: {saved}, here {here}")
