"""The file of a trainer's states: numbers, texts, lists, dicts, arrays, and where a scheduler is.

It is a file of ``mx.nd.save``: arrays by name, and the array ``header``, whose bytes are JSON. Nothing in it is
unpickled: numbers, texts, lists, dicts and arrays are read back, and the attributes of a learning rate scheduler go to
the scheduler that the trainer has.
"""

import json
from pathlib import Path
from typing import Any, Dict, Mapping, Tuple

from byteps_gc.checkpoint_files import array_file, file_hashes
from byteps_gc.errors import ExchangeError
from byteps_gc.mxnet.exchange import classic
import mxnet as mx
import numpy as np

FORMAT = "byteps_gc trainer states"
VERSION = 2
PLAIN = (bool, int, float, str, type(None))


class Writer:
    """Turns values into JSON, and collects the arrays in them.

    arrays: by name, as ``mx.nd.save`` takes them.
    """

    def __init__(self) -> None:
        self.arrays: Dict[str, mx.nd.NDArray] = {}

    def encode(self, value: Any, name: str) -> Any:
        """Return JSON for a value; :class:`ExchangeError` for one that cannot be saved. ``name`` is for arrays."""
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(value, PLAIN):
            return value
        if isinstance(value, np.ndarray):
            return {"numpy": value.tolist(), "dtype": value.dtype.name}
        if isinstance(value, mx.nd.NDArray):
            self.arrays[name] = classic(value).reshape((-1,))
            kind = "np" if isinstance(value, mx.np.ndarray) else "nd"
            return {"array": name, "shape": list(value.shape), "kind": kind}
        if isinstance(value, (list, tuple)):
            kind = "list" if isinstance(value, list) else "tuple"
            return {kind: [self.encode(one, f"{name}_{place}") for place, one in enumerate(value)]}
        if isinstance(value, dict):
            pairs = [[self.encode(key, name), self.encode(one, f"{name}_{key}")] for key, one in value.items()]
            return {"dict": pairs}
        return self._object(value, name)

    def _object(self, value: Any, name: str) -> Any:
        """A scheduler, or a function that is used as one: its class, and its attributes, which hold its position."""
        if not callable(value):
            raise ExchangeError(f"save_states cannot save {name}, a {type(value).__name__}")
        attributes = getattr(value, "__dict__", {})
        return {
            "class": type(value).__name__,
            "attributes": {key: self.encode(one, f"{name}_{key}") for key, one in attributes.items()},
        }


class Reader:
    """Turns JSON back into values, with the arrays of a file.

    context: the device of arrays.
    """

    def __init__(self, arrays: Mapping[str, "mx.nd.NDArray"], context: "mx.Context"):
        self.arrays = arrays
        self.context = context

    def decode(self, tree: Any, now: Any = None) -> Any:
        """Return the value of which the tree was made; a scheduler is ``now``, with the attributes that were saved."""
        if not isinstance(tree, dict):
            return tree
        if "array" in tree:
            array = self.arrays[tree["array"]].reshape(tuple(tree["shape"])).copyto(self.context)
            return array.as_np_ndarray() if tree["kind"] == "np" else array
        if "numpy" in tree:
            return np.array(tree["numpy"], tree["dtype"])
        if "dict" in tree:
            return {self.decode(key): self.decode(one) for key, one in tree["dict"]}
        if "class" in tree:
            for name, one in tree["attributes"].items():
                setattr(now, name, self.decode(one, getattr(now, name, None)))
            return now
        kind = list if "list" in tree else tuple
        before = now if isinstance(now, (list, tuple)) else ()
        parts = tree[kind.__name__]
        return kind(self.decode(one, before[place] if place < len(before) else None) for place, one in enumerate(parts))


def check_objects(tree: Any, now: Any, name: str) -> None:
    """:class:`ExchangeError` unless ``now`` has a scheduler of the same class wherever the tree has one."""
    if not isinstance(tree, dict):
        if name == "lr_scheduler" and callable(now):
            raise ExchangeError(f"the saved states have no {name}, but this trainer has {type(now).__name__}")
        return
    if "class" in tree:
        found = type(now).__name__ if callable(now) else "none"
        if found != tree["class"]:
            raise ExchangeError(f"the saved states have {name} {tree['class']}, but this trainer has {found}")
        for key, one in tree["attributes"].items():
            check_objects(one, getattr(now, key, None), key)
    parts = tree.get("list") or tree.get("tuple") or []
    for one, other in zip(parts, now if isinstance(now, (list, tuple)) else [None] * len(parts)):
        check_objects(one, other, name)


def write(fname: str, header: Mapping[str, Any], arrays: Mapping[str, "mx.nd.NDArray"]) -> None:
    """Write a file of states; :class:`ExchangeError` if that is not possible."""
    text = json.dumps({"format": FORMAT, "version": VERSION, **header}).encode()
    content = {"header": mx.nd.array(np.frombuffer(text, np.uint8), dtype="uint8"), **arrays}
    try:
        file_hashes.written(Path(fname), lambda name: mx.nd.save(name, content))
    except OSError as error:
        raise ExchangeError(f"cannot write {fname}: {error.strerror}") from None


def load_arrays(fname: str) -> Any:
    """Load a file of ``mx.nd.save``, whether ``npx.set_np()`` was on or off when it was saved."""
    try:
        return mx.nd.load(fname)
    except mx.base.MXNetError:
        with mx.util.np_shape(True):
            return mx.nd.load(fname)


def read(fname: str) -> Tuple[Dict[str, Any], Mapping[str, "mx.nd.NDArray"]]:
    """Read a file of states: its header and its arrays. :class:`ExchangeError` for any other file."""
    try:
        with open(fname, "rb") as stream:
            is_empty, fault = not stream.read(1), array_file.fault(stream)
    except OSError as error:
        raise ExchangeError(f"cannot read {fname}: {error.strerror}") from None
    if is_empty:
        raise ExchangeError(f"{fname} is empty")
    try:
        arrays = {} if fault else load_arrays(fname)
        header = json.loads(arrays["header"].asnumpy().tobytes())
        good = (header["format"], header["version"]) == (FORMAT, VERSION)
    except (mx.base.MXNetError, KeyError, TypeError, ValueError, AttributeError):
        good = False
    if not good:
        raise ExchangeError(
            f"{fname} was not written by DistributedTrainer.save_states of this version; states pickled by"
            " mx.gluon.Trainer and parameter files are not accepted"
        )
    return header, arrays
