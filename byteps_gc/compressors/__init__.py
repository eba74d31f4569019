"""Compressors by name. This file is the one place that registers them."""

from typing import Dict, Tuple, Type

from byteps_gc.compressors.base import Compressor
from byteps_gc.compressors.dithering import Dithering
from byteps_gc.compressors.identity import Identity
from byteps_gc.compressors.onebit import Onebit
from byteps_gc.compressors.randomk import RandomK
from byteps_gc.compressors.topk import TopK
from byteps_gc.errors import CompressionError

__all__ = ["Compressor", "Dithering", "Identity", "Onebit", "RandomK", "TopK", "find", "known", "register"]

_registry: Dict[str, Type[Compressor]] = {}


def register(kind: Type[Compressor]) -> Type[Compressor]:
    """Add a compressor under its ``name``; :class:`CompressionError` if the name is taken."""
    if kind.name in _registry:
        raise CompressionError(f"compressor {kind.name} is already registered")
    _registry[kind.name] = kind
    return kind


def known() -> Tuple[str, ...]:
    """The names of all registered compressors, sorted."""
    return tuple(sorted(_registry))


def find(name: str) -> Type[Compressor]:
    """The compressor called ``name``; :class:`CompressionError` lists the known ones otherwise."""
    if name not in _registry:
        raise CompressionError(f"unknown compressor {name!r}; known: {', '.join(known())}")
    return _registry[name]


for _kind in (Onebit, TopK, RandomK, Dithering, Identity):
    register(_kind)
