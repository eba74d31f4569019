"""Pickled dicts of arrays and lists, read without running anything that the pickle names.

Python's unpickler calls what a pickle names, and NumPy's arrays set their memory
from it. Here the few names that an array needs stand for plain records of its
state, which are checked before NumPy makes an array of their bytes.
"""

import io
from pathlib import Path
import pickle
import pickletools
from typing import Any, Dict

from byteps_gc.data.labels import check_size
from byteps_gc.data.names import shown
from byteps_gc.errors import DatasetError, one_line
import numpy as np

TYPES = {f"{kind}{size}" for kind in "iuf" for size in (1, 2, 4, 8)}  # of numbers, as NumPy abbreviates them


class PickledType:
    """What a pickle says of an array's type: a name such as ``u1``, and the order of bytes."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode("ascii") if isinstance(name, bytes) else name
        self.order = "="

    def __setstate__(self, state: Any) -> None:
        self.order = state[1].decode("ascii") if isinstance(state[1], bytes) else state[1]


class PickledArray:
    """What a pickle says of an array: shape, type and bytes. Made of any arguments, for they are of an empty one."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        """Return the array; pickle.UnpicklingError unless it is one of numbers, with as many bytes as its shape says.

        The bytes are not copied.
        """
        _, shape, kind, in_columns, content = self.state
        if not (isinstance(kind, PickledType) and kind.name in TYPES and kind.order in tuple("<>=|")):
            raise pickle.UnpicklingError("it holds an array that is not one of numbers")
        if not isinstance(content, bytes) or not all(type(size) is int and size >= 0 for size in shape):
            raise pickle.UnpicklingError("it holds an array without bytes or sizes")
        return np.frombuffer(content, kind.order + kind.name).reshape(shape, order="F" if in_columns else "C")


def latin1(text: str, encoding: str) -> bytes:
    """Return bytes that Python 3 has pickled as text; the encoding is always the same."""
    return text.encode("latin-1")


# what a pickle may import
ALLOWED: Dict[Any, Any] = {
    ("numpy", "ndarray"): "ndarray",  # named, not called
    ("numpy", "dtype"): PickledType,
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("_codecs", "encode"): latin1,
}


class Unpickler(pickle.Unpickler):
    """Reads arrays, lists, dicts, texts and numbers, and refuses to import anything else."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name; pickle.UnpicklingError for one that is not allowed."""
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it imports {module}.{name}, which is not allowed in a data set")
        return ALLOWED[module, name]


def check_operations(content: bytes) -> None:
    """Raise an exception for a pickle that claims more memory than it has bytes.

    Python's unpickler allocates what a length or the number of a memo says; here
    each is compared with what there is.
    """
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count:
            raise pickle.UnpicklingError(f"its operation {count} is {operation.name} {argument}")


def read(file: Path) -> Dict[Any, Any]:
    """Read a pickled dict, whose arrays are :class:`PickledArray`; :class:`DatasetError` for any other file."""
    try:
        with open(file, "rb") as stream:
            check_size(file, file.stat().st_size)
            content = stream.read()
        check_operations(content)
        found = Unpickler(io.BytesIO(content), encoding="bytes").load()
    except DatasetError:
        raise
    except Exception as error:  # a damaged pickle fails in whatever way its bytes happen to ask for
        raise DatasetError(f"{shown(file)} is not a CIFAR100 pickle: {one_line(error)}") from None
    if not isinstance(found, dict):
        raise DatasetError(f"{shown(file)} is not a CIFAR100 pickle: it holds a {type(found).__name__}, not a dict")
    return found


def numbers(file: Path, content: Dict[Any, Any], name: str) -> np.ndarray:
    """Return an array or a list of integers of a dict that was read; :class:`DatasetError` for anything else."""
    value = content.get(name.encode(), content.get(name))
    try:
        if isinstance(value, PickledArray):
            return value.array()
        if not isinstance(value, list):
            raise ValueError(f"{name} is missing" if value is None else f"{name} is a {type(value).__name__}")
        for index, one in enumerate(value):
            if type(one) is not int or not -(2**63) <= one < 2**63:
                shape = repr(one)[:30] if isinstance(one, (int, float)) else f"a {type(one).__name__}"
                raise ValueError(f"{name}[{index}] is {shape}; expected an integer")
        return np.array(value, np.int64)
    except Exception as error:  # a state of any kind
        raise DatasetError(f"{shown(file)} is not a CIFAR100 pickle: {one_line(error)}") from None
