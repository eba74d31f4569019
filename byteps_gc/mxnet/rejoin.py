"""After bps.join(): a trainer continues from the state of the worker that joined last, which alone has made all steps.

All workers call this at the same time.
"""

import json
from pathlib import Path
import tempfile
from typing import Any, Sequence, Tuple

from byteps_gc.core import session
from byteps_gc.core.broadcast import broadcast_bytes
from byteps_gc.core.exchange import total
from byteps_gc.core.routes import Route
from byteps_gc.mxnet import agreement, trainer_states
from byteps_gc.mxnet.broadcast import replace_by_root


def take_over(
    params: Sequence[Any], routes: Sequence[Route], updater: Any, numbers: Tuple[Any, ...], root: int, name: str
) -> Tuple[Any, ...]:
    """Give all workers the root's parameters, optimizer states and momentum; return the root's ``numbers``.

    numbers: plain values, of which the first is the coefficient of momentum around the exchange. name: prefix of
    tensors' names.
    """
    shapes = [None if param._data is None else list(param.shape) for param in params]
    found, known = json.loads(broadcast_bytes(json.dumps([numbers, shapes]).encode(), f"{name}.numbers", root))
    for param, route, here, shape in zip(params, routes, shapes, known):
        agreement.adopt(param, here, shape)
        if shape is not None:
            replace_by_root(param.list_data()[0], route.parameter, root)
    skipped = total([route.skipped for route in routes], f"{name}.skipped")
    _take_states(params, routes, updater, numbers[0], root, name)
    for route, one in zip(routes, skipped):  # a step that some worker has not taken back: all compressors start anew
        route.reset, route.skipped = bool(one), False
    return tuple(found)


def _take_states(params: Sequence[Any], routes: Sequence[Route], updater: Any, mu: float, root: int, name: str) -> None:
    """Load on all workers what the root's save_states() writes."""
    with tempfile.TemporaryDirectory(prefix="byteps_gc-") as folder:
        file, content = Path(folder, "states"), None
        if session.rank() == root:
            trainer_states.save(str(file), updater, params, routes)
            content = file.read_bytes()
        content = broadcast_bytes(content, f"{name}.states", root)
        if session.rank() != root:
            file.write_bytes(content)
            trainer_states.load(str(file), updater, params, routes, mu)
