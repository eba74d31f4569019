"""Which gradient is compressed, and whether a step can be applied: the same for all front ends."""

from typing import Any, Callable, List, Sequence
import warnings

from byteps_gc import env, native
from byteps_gc.compressors import engine_keys
from byteps_gc.compressors.settings import Settings
from byteps_gc.core import exchange, session
from byteps_gc.core.routes import Route
from byteps_gc.errors import ExchangeError
import numpy as np


def declare(route: Route, settings: Settings, mu: float, size: int, dtype: Any, label: str, workers: int = 0) -> None:
    """Decide once how a gradient of ``size`` elements travels, by its size as float32, and declare it.

    mu: coefficient of the momentum in front of the compressor, or 0. label: the gradient's name in messages.
    workers: how many exchange it, or 0 for all.
    """
    if route.declared:
        return
    compressed = settings.compressor is not None and size * 4 >= session.threshold()
    options = engine_keys.engine_options(settings, mu or None, route.gradient, compressed)
    if options and env.distributed():
        route.tensor = native.Tensor(route.gradient)
        route.with_momentum = compressed and bool(mu)
    else:
        route.dtype = np.result_type(dtype, np.float32).name
    nbytes = size * (4 if options else max(4, np.dtype(dtype).itemsize))
    exchange.declare(route.gradient, nbytes, label, workers, **options)
    route.declared = True


def all_good(exchanged: Sequence[Route], all_finite: Callable[[List[Any]], bool]) -> bool:
    """Return whether all sums that have arrived are finite, which is the same on all workers.

    A compressor on this process has looked at what it decoded; of several local processes only one has compressors.
    all_finite: looks at sums that no compressor has seen. :class:`ExchangeError` if a server refused a gradient.
    """
    finite, plain = True, []
    for route in exchanged:
        good, failure = route.outcome()
        if failure:
            raise ExchangeError(failure)
        finite &= good
        if not route.encoded or session.local_size() > 1:
            plain.append(route.total)
    return all_finite(plain) and finite


def warn_of_skipped(steps: int, stacklevel: int) -> None:
    """Warn on rank 0 that all workers skip a step. steps: how many they have skipped by now."""
    if session.rank() == 0:
        text = f"a gradient is not finite: all workers skip this step ({steps} skipped so far)"
        warnings.warn(text, stacklevel=stacklevel + 1)
