"""The compressors by name. A definition adds itself with :func:`register`; nothing else lists them."""

import dataclasses
from typing import Dict, Tuple, Type

from byteps_gc.compressors.base import Compressor, accepted, fits
from byteps_gc.errors import CompressionError

# keys of the compression parameters and of the texts on the wire that are not options of a compressor
RESERVED = ("compressor", "ef", "momentum", "fp16", "bf16", "codec", "version", "mu", "tensor", "compressor_type")

_kinds: Dict[str, Type[Compressor]] = {}


def register(kind: Type[Compressor]) -> Type[Compressor]:
    """Add a compressor under its ``name``; a class decorator.

    Raises :class:`CompressionError` if its name or number is taken, if an option is not declared with
    :func:`~byteps_gc.compressors.base.option`, does not accept its default or has a reserved name, or if an option of
    the same name, or with the same flag, is declared differently by another compressor.
    """
    if kind.name in _kinds:
        raise CompressionError(f"compressor {kind.name} is already registered")
    if not 1 <= kind.codec <= 255:
        raise CompressionError(f"compressor {kind.name}: codec={kind.codec} is not an integer from 1 to 255")
    for other in _kinds.values():
        if kind.codec == other.codec:
            raise CompressionError(f"compressor {kind.name}: number {kind.codec} is that of {other.name}")
    for field in dataclasses.fields(kind):
        reason = _unusable(field)
        if reason:
            raise CompressionError(f"compressor {kind.name}: option {field.name} {reason}")
    _kinds[kind.name] = kind
    return kind


def _unusable(field: dataclasses.Field) -> str:
    """Return why a new compressor cannot have an option; empty if it can."""
    if field.metadata.get("kind") not in (bool, int, float, str):
        return "must be declared with option(), as a bool, int, float or str"
    if field.default is not dataclasses.MISSING and not fits(field, field.default):
        return f"has the default {field.default!r}, which is not {accepted(field)}"
    if field.name in RESERVED:
        return "has a reserved name"
    for owners in option_fields().values():
        for owner, other in owners.items():
            if field.name == other.name and _differ(field, other):
                return f"has another type or flag in {owner}"
            if field.name != other.name and flag(field) == flag(other):
                return f"has the flag of {owner}'s option {other.name}"
    return ""


def flag(field: dataclasses.Field) -> str:
    """Return the flag of an option, without the dashes."""
    return field.metadata["flag"] or field.name.replace("_", "-")


def _differ(one: dataclasses.Field, other: dataclasses.Field) -> bool:
    """Whether an option of two compressors would have two flags, or two kinds of values; numbers are one kind."""
    kinds_of_values = [{int: float}.get(field.metadata["kind"], field.metadata["kind"]) for field in (one, other)]
    return flag(one) != flag(other) or kinds_of_values[0] != kinds_of_values[1]


def kinds() -> Tuple[Type[Compressor], ...]:
    """Return all compressors, in the order of their numbers."""
    return tuple(sorted(_kinds.values(), key=lambda kind: kind.codec))


def known() -> Tuple[str, ...]:
    """Return the names of all compressors, sorted."""
    return tuple(sorted(_kinds))


def find(name: str) -> Type[Compressor]:
    """Return the compressor called ``name``; :class:`CompressionError` lists the known ones otherwise."""
    if name not in _kinds:
        raise CompressionError(f"unknown compressor {name!r}; known: {', '.join(known())}")
    return _kinds[name]


def option_fields() -> Dict[str, Dict[str, dataclasses.Field]]:
    """Return the options of all compressors: by their names, the field of each compressor that has it."""
    found: Dict[str, Dict[str, dataclasses.Field]] = {}
    for kind in kinds():
        for field in dataclasses.fields(kind):
            found.setdefault(field.name, {})[kind.name] = field
    return found
