"""What a user asks of gradient compression, checked: a compressor and what wraps it."""

from dataclasses import dataclass
from typing import Any, Dict, Mapping, Optional
import warnings

from byteps_gc import compressors
from byteps_gc.compressors import Compressor
from byteps_gc.errors import CompressionError

WRAPPERS = {"ef": ("vanilla",), "momentum": ("nesterov",)}
NARROW = {"fp16": "half", "bf16": "bfloat16"}  # each with the option of compressors that it sets


def option_names() -> frozenset:
    """The options of all compressors together."""
    return frozenset(compressors.option_fields())


def keys() -> tuple:
    """All keys that a dict of compression parameters may have."""
    return ("compressor", *sorted(option_names()), *WRAPPERS, *NARROW)


@dataclass(frozen=True)
class Settings:
    """How gradients travel. ``Settings()`` leaves them as they are.

    compressor: applied to float32 gradients of at least BYTEPS_MIN_COMPRESS_BYTES.
    ef: "vanilla" adds what compression lost to the next gradient, scaled by the
        ratio of learning rates (arXiv 1905.10936).
    momentum: "nesterov" moves the optimizer's momentum in front of the compressor.
    fp16, bf16: gradients that are not compressed, and the values of sparse compressors, travel as float16 or
        bfloat16; sums are float32. Only one of them may be set.
    """

    compressor: Optional[Compressor] = None
    ef: Optional[str] = None
    momentum: Optional[str] = None
    fp16: bool = False
    bf16: bool = False

    def __post_init__(self) -> None:
        for name, choices in WRAPPERS.items():
            value = getattr(self, name)
            if value is not None and value not in choices:
                raise CompressionError(f"{name}={value!r} is not one of {', '.join(choices)}")
            if value is not None and self.compressor is None:
                raise CompressionError(f"{name}={value!r} needs a compressor; known: {', '.join(compressors.known())}")
        for name in NARROW:
            if not isinstance(getattr(self, name), bool):
                raise CompressionError(f"{name}={getattr(self, name)!r} is not True or False")
        if self.fp16 and self.bf16:
            raise CompressionError("fp16 and bf16 exclude each other; set one of them")
        option = self.narrow()
        for other in set(NARROW.values()) - {option}:
            if option and getattr(self.compressor, other, False):
                name = next(name for name in NARROW if getattr(self, name))
                raise CompressionError(
                    f"{name} and {self.compressor.name}'s {other} exclude each other; set one of them"
                )

    @classmethod
    def from_params(cls, params: Optional[Mapping[str, Any]]) -> "Settings":
        """Read BytePS's dict of compression parameters, which stays as it is.

        Keys: compressor, the compressor's options, ef, momentum, fp16, bf16. None, False and "" mean "not given". An
        option of another compressor is ignored with a warning, because BytePS's
        own examples pass them all; everything else that is not known raises
        :class:`CompressionError`.
        """
        if params is not None and not isinstance(params, Mapping):
            raise CompressionError(f"compression_params must be a dict, not {type(params).__name__}")
        given = {
            key: value for key, value in (params or {}).items() if not (value is None or value is False or value == "")
        }
        unknown = [str(key) for key in (params or {}) if key not in keys()]
        if unknown:
            raise CompressionError(f"unknown option {', '.join(unknown)}; known: {', '.join(keys())}")
        compressor = None
        options = {key: given[key] for key in given if key in option_names()}
        if "compressor" in given:
            kind = compressors.find(given["compressor"])
            foreign = sorted(set(options).difference(kind.option_names()))
            if foreign:
                warnings.warn(f"ignoring {', '.join(foreign)}: not an option of {kind.name}", stacklevel=3)
            compressor = make(kind, {key: options[key] for key in options if key not in foreign})
        elif options:
            warnings.warn(f"ignoring {', '.join(sorted(options))}: no compressor is set", stacklevel=3)
        return cls(compressor, given.get("ef"), given.get("momentum"), *(given.get(name, False) for name in NARROW))

    def narrow(self) -> str:
        """Return the option of compressors that fp16 or bf16 sets; empty if neither is."""
        return "".join(option for name, option in NARROW.items() if getattr(self, name))

    def advice(self) -> str:
        """What a user should know of these settings before training with them; empty if nothing."""
        return self.compressor.advice(bool(self.ef)) if self.compressor else ""

    def to_params(self) -> Dict[str, Any]:
        """The dict that :meth:`from_params` reads back; JSON can carry it."""
        params = {"ef": self.ef, "momentum": self.momentum, "fp16": self.fp16 or None, "bf16": self.bf16 or None}
        if self.compressor is not None:
            params.update(self.compressor.options(), compressor=self.compressor.name)
        return {key: value for key, value in params.items() if value is not None}


def make(kind: type, options: Mapping[str, Any]) -> Compressor:
    """Make a compressor of its options; :class:`CompressionError` if one is missing or wrong."""
    try:
        return kind(**options)
    except TypeError:
        needed = [name for name in kind.option_names() if name not in options]
        raise CompressionError(f"{kind.name} needs {', '.join(needed)}") from None
