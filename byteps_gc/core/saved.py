"""What a checkpoint holds of a worker's compressors: momentum, error feedback and step counters."""

from typing import Any, Dict, Mapping
import warnings

from byteps_gc import env
from byteps_gc.compressors.settings import Settings
from byteps_gc.core import session
from byteps_gc.core.routes import Route
from byteps_gc.errors import ExchangeError

ARRAYS = ("momentum", "residual")


def state_of(settings: Settings, routes: Mapping[str, Route], skipped_steps: int) -> Dict[str, Any]:
    """Return this worker's state between two steps, in numbers, texts and arrays.

    routes: of all gradients, by name. The front end's arrays of momentum are not copied.
    """
    return {
        "rank": session.rank(),
        "size": session.size(),
        "compression": settings.to_params(),
        "partition_bytes": env.partition_bytes(),
        "skipped_steps": skipped_steps,
        "momentum": {name: one.momentum for name, one in routes.items() if one.momentum is not None},
        "gradients": {
            name: one.tensor.state(one.skipped, one.reset) for name, one in routes.items() if one.tensor is not None
        },
    }


def load(settings: Settings, routes: Mapping[str, Route], state: Mapping[str, Any], stacklevel: int) -> None:
    """Continue where :func:`state_of` was called; all workers do. The front end loads momentum and skipped steps.

    A state of another worker, or another number of workers, gives the step counters only: error feedback starts from
    zero. So it does in any case on the servers, where a compressor keeps it there as well. :class:`ExchangeError` for
    the state of other gradients or settings.
    """
    encoded = {name: one for name, one in routes.items() if one.tensor is not None}
    require_same("compression", state["compression"], settings.to_params())
    require_same("BYTEPS_PARTITION_BYTES", state["partition_bytes"], env.partition_bytes())
    require_same("compressed gradients", sorted(state["gradients"]), sorted(encoded))
    mine = (state["rank"], state["size"]) == (session.rank(), session.size())
    if not mine and encoded:
        warnings.warn(
            f"the state is of worker {state['rank']} of {state['size']}: error feedback of worker {session.rank()} of"
            f" {session.size()} starts from zero",
            stacklevel=stacklevel + 1,
        )
    for name, one in encoded.items():
        parts = state["gradients"][name]
        require_same(f"partitions of {name}", len(parts), len(one.tensor.partitions()))
        if not mine:
            parts = [{**part, **{key: part[key] * 0 for key in ARRAYS}} for part in parts]
        if any(part["step"] for part in parts):
            one.tensor.load_state(parts)
        one.skipped = False


def require_same(what: str, saved: Any, here: Any) -> None:
    """:class:`ExchangeError` if the saved state differs from what is here."""
    if saved != here:
        raise ExchangeError(f"the saved state has another {what}: {saved}, here {here}")
