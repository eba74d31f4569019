"""Compressors by name. Every module here is imported, so that a compressor needs no more than its own file."""

import importlib
import pkgutil

from byteps_gc.compressors.base import Compressor
from byteps_gc.compressors.registry import find, flag, kinds, known, option_fields, register

__all__ = ["Compressor", "find", "flag", "kinds", "known", "option_fields", "register"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
