"""The contract of a compressor.

A compressor *is* its options: a frozen dataclass whose fields are declared with
:func:`option` and checked when it is made, so that a value that cannot be used
is refused before anything is sent. It maps one partition of a gradient (float32,
at most BYTEPS_PARTITION_BYTES bytes) to a payload and back; the engine's
compressor of the same ``name`` computes.

Error feedback, momentum and the size threshold are not options of a compressor:
they wrap one (see :mod:`byteps_gc.settings`).
"""

import dataclasses
import numbers
from typing import Any, ClassVar, Dict, Optional, Sequence

from byteps_gc.errors import CompressionError


def option(
    kind: type,
    help: str,
    default: Any = dataclasses.MISSING,
    choices: Sequence[str] = (),
    least: Optional[float] = None,
    most: Optional[float] = None,
) -> Any:
    """Declare an option: its type (bool, int, float or str), its meaning, and what it accepts.

    ``least`` and ``most`` are inclusive. An option without a default must be given.
    """
    metadata = {"kind": kind, "help": help, "choices": tuple(choices), "least": least, "most": most}
    return dataclasses.field(default=default, metadata=metadata)


def accepted(field: dataclasses.Field) -> str:
    """What the option accepts, in words."""
    meta = field.metadata
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    words = {bool: "True or False", int: "an integer", float: "a number", str: "a text"}[meta["kind"]]
    if meta["least"] is not None:
        words += f" from {meta['least']}"
    if meta["most"] is not None:
        words += f" to {meta['most']}"
    return words


def fits(field: dataclasses.Field, value: Any) -> bool:
    """Whether ``value`` has the option's type and lies in its range."""
    meta = field.metadata
    types = {bool: bool, int: numbers.Integral, float: numbers.Real, str: str}
    if not isinstance(value, types[meta["kind"]]) or (meta["kind"] is not bool and isinstance(value, bool)):
        return False
    if meta["choices"]:
        return value in meta["choices"]
    if meta["least"] is not None and not value >= meta["least"]:
        return False
    return meta["most"] is None or value <= meta["most"]


@dataclasses.dataclass(frozen=True)
class Compressor:
    """Base of all compressors; ``name`` is what a user writes and what the engine registers."""

    name: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not fits(field, value):
                raise CompressionError(f"{self.name}: {field.name}={value!r} is not {accepted(field)}")
        self.check()

    def check(self) -> None:
        """Refuse combinations of options that cannot work, with :class:`CompressionError`."""

    @classmethod
    def option_names(cls) -> Sequence[str]:
        """The names of this compressor's options, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def options(self) -> Dict[str, Any]:
        """The options as a dict that JSON can carry; ``type(self)(**options)`` is an equal compressor."""
        return dataclasses.asdict(self)
