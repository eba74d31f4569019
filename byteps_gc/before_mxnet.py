"""What MXNet 1.9 needs of other packages when it is imported: import this module first; ``byteps_gc.mxnet`` does so.

- The name ``numpy.bool``, on Python 3.12: no numpy that still has it exists there, while the extras for MXNet install
  one on older Pythons.
- ``scipy.stats``, which MXNet imports for its quantization and its test tools: it is loaded when something of it is
  used. That is a third of the CPU time of importing MXNet.
"""

import importlib
from importlib import machinery, util
import sys
import types
from typing import Any

import numpy

if sys.version_info >= (3, 12):
    vars(numpy).setdefault("bool", numpy.bool_)


class LazyModule(types.ModuleType):
    """A module that is imported when an attribute is read. importlib's LazyLoader already does it when it is named."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__spec__ = machinery.ModuleSpec(name, None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__path__", "__all__"):  # asked for by tools that look at all modules
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


if "scipy.stats" not in sys.modules and util.find_spec("scipy"):
    sys.modules["scipy.stats"] = LazyModule("scipy.stats")
