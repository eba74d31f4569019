"""The contract of a compressor.

A compressor *is* its options: a frozen dataclass whose fields are declared with
:func:`option` and checked when it is made, so that a value that cannot be used
is refused before anything is sent. It maps one partition of a gradient (float32,
at most BYTEPS_PARTITION_BYTES bytes) to a payload and back, as docs/wire_format.md
defines; the native compressor of the same ``name`` gives the same bytes.

A new compressor is a leaf file with a subclass (``name``, ``codec``, ``encode``, ``entries``, ``max_payload``) that
:func:`~byteps_gc.compressors.registry.register` decorates: docs/adding_a_compressor.md. Flags of scripts, rows of
benchmarks and inputs of tests follow from what it declares.

Error feedback, momentum and the size threshold are not options of a compressor:
they wrap one (see :mod:`byteps_gc.compressors.settings` and :mod:`byteps_gc.compressors.wrappers`).
"""

import dataclasses
import numbers
from typing import Any, ClassVar, Dict, Mapping, Optional, Sequence

from byteps_gc.compressors.frame import HALF
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.sparse_entries import Encoded, Entries, read_sparse, write_sparse
from byteps_gc.compressors.values import is_unit
from byteps_gc.errors import CompressionError
import numpy as np

Examples = Sequence[Mapping[str, Any]]


def option(
    kind: type,
    help: str,
    default: Any = dataclasses.MISSING,
    choices: Sequence[str] = (),
    least: Optional[float] = None,
    most: Optional[float] = None,
    flag: str = "",
    later: bool = False,
) -> Any:
    """Declare an option: its type (bool, int, float or str), its meaning, and what it accepts.

    ``least`` and ``most`` are inclusive. An option without a default must be given. ``flag``: the name of the scripts'
    flag, without the dashes, if it is not that of the option; ``help`` is the flag's help text.
    ``later``: the option is sent only where it is not the default, so that it changes no frame without it.
    """
    metadata = {"kind": kind, "help": help, "choices": tuple(choices), "least": least, "most": most}
    metadata.update(flag=flag, later=later)
    return dataclasses.field(default=default, metadata=metadata)


def accepted(field: dataclasses.Field) -> str:
    """What the option accepts, in words."""
    meta = field.metadata
    if meta["choices"]:
        return "one of " + ", ".join(meta["choices"])
    words = {bool: "True or False", int: "an integer", float: "a number", str: "a string"}[meta["kind"]]
    least, most = meta["least"], meta["most"]
    if least is not None and most is not None:
        return f"{words} from {least} to {most}"
    if least is not None:
        return f"{words} of at least {least}"
    return words if most is None else f"{words} of at most {most}"


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
    """Base of all compressors; ``name`` is what a user writes and what the engine registers.

    codec: the number that stands for the compressor in a frame.
    lossless_reply: the server's reply holds the sum exactly, so that it may also travel raw; otherwise the
        server encodes the sum as a worker does, with error feedback of its own. An option may decide it.
    optional_flags: flags of a frame that its payload decides about.
    examples: options that are worth measuring; benchmarks have a row for each.
    """

    name: ClassVar[str] = ""
    codec: ClassVar[int] = 0
    lossless_reply: ClassVar[bool] = True
    optional_flags: ClassVar[int] = 0
    examples: ClassVar[Examples] = ({},)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not fits(field, value):
                raise CompressionError(f"{self.name}: {field.name}={value!r} is not {accepted(field)}")
        self.check()

    def check(self) -> None:
        """Refuse combinations of options that cannot work, with :class:`CompressionError`."""

    def advice(self, feedback: bool) -> str:
        """What a user should know before training with this, with or without error feedback; mostly nothing."""
        return ""

    @classmethod
    def option_names(cls) -> Sequence[str]:
        """The names of this compressor's options, in order."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def options(self) -> Dict[str, Any]:
        """The options as a dict that JSON can carry; ``type(self)(**options)`` is an equal compressor."""
        return dataclasses.asdict(self)

    def sent_options(self) -> Dict[str, Any]:
        """The options that both sides register, and that a frame's digest covers."""
        given = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {field.name: value for field, value in given if not (field.metadata["later"] and value == field.default)}

    def has_scale(self, scale: float, flags: int, d: int, feedback: bool) -> bool:
        """Whether a frame with these flags can have this scale, which is finite and at least 0."""
        return is_unit(scale) if flags & HALF else scale == 1

    def fixed_flags(self) -> int:
        """The flags that every push of this compressor has."""
        return 0

    def max_payload(self, d: int) -> int:
        """The most bytes that a push of ``d`` elements can have; it decides what travels raw."""
        raise NotImplementedError

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Optional[Encoded]:
        """Encode a finite float32[d], d >= 1, or None if that overflows.

        ``feedback`` says that what is lost comes back with the next step: the result is then a contraction,
        otherwise it may be an unbiased estimate.
        """
        raise NotImplementedError

    def entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        """Read what :meth:`encode` wrote; FrameError for what it cannot have written."""
        raise NotImplementedError

    def decode(self, encoded: Encoded, d: int, draw: Draw) -> np.ndarray:
        """As :meth:`entries`, as a float32[d]."""
        return self.entries(encoded, d, draw).dense(d)

    def encode_sum(self, total: Entries, d: int, draw: Draw, feedback: bool) -> Optional[Encoded]:
        """The payload of a reply: the sum of the workers' entries, or None if that overflows."""
        if not np.isfinite(total.values).all():
            return None
        if not self.lossless_reply:
            return self.encode(total.dense(d), draw, feedback)
        return write_sparse(total, d, 0)

    def sum_entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        """Read what :meth:`encode_sum` wrote; FrameError for what it cannot have written."""
        if not self.lossless_reply:
            return self.entries(encoded, d, draw)
        return read_sparse(encoded, d, 0)
