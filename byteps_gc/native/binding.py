"""The library's C functions (native/src/capi.h), loaded for this processor."""

import ctypes
from typing import Any, Dict, List, Optional, Sequence, Tuple

from byteps_gc import env
from byteps_gc.native import build

_libraries: Dict[str, ctypes.CDLL] = {}
_POINTER = ctypes.c_void_p
_FUNCTIONS: Dict[str, Tuple[Any, Sequence[Any]]] = {
    "bgc_worker_new": (
        _POINTER,
        (ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_uint32, ctypes.c_char_p),
    ),
    "bgc_worker_free": (None, (_POINTER,)),
    "bgc_worker_compress": (
        _POINTER,
        (_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_float, ctypes.c_int, ctypes.POINTER(ctypes.c_size_t)),
    ),
    "bgc_worker_decompress": (
        ctypes.c_int,
        (_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_size_t, _POINTER, ctypes.c_char_p),
    ),
    "bgc_worker_save": (
        None,
        (_POINTER, _POINTER, _POINTER, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_uint32)),
    ),
    "bgc_worker_load": (None, (_POINTER, ctypes.c_size_t, _POINTER, _POINTER, ctypes.c_float, ctypes.c_uint32)),
    "bgc_server_new": (
        _POINTER,
        (ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p),
    ),
    "bgc_server_free": (None, (_POINTER,)),
    "bgc_server_push": (ctypes.c_int, (_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_char_p)),
    "bgc_server_reply": (
        _POINTER,
        (_POINTER, ctypes.c_size_t, ctypes.c_size_t, ctypes.POINTER(ctypes.c_size_t)),
    ),
    "bgc_server_add": (
        ctypes.c_int,
        (_POINTER, _POINTER, ctypes.c_size_t, ctypes.c_size_t, _POINTER, ctypes.c_char_p),
    ),
    "bgc_server_save": (
        None,
        (_POINTER, ctypes.c_size_t, _POINTER, ctypes.POINTER(ctypes.c_float), ctypes.POINTER(ctypes.c_uint32)),
    ),
    "bgc_server_load": (None, (_POINTER, ctypes.c_size_t, _POINTER, ctypes.c_float, ctypes.c_uint32)),
    "bgc_refusal": (None, (ctypes.c_int, ctypes.c_char_p)),
    "bgc_register": (ctypes.c_int, (ctypes.c_int, ctypes.c_char_p)),
    "bgc_start": (None, (ctypes.c_int, ctypes.c_int)),
    "bgc_tensor": (ctypes.c_int, (ctypes.c_char_p,)),
    "bgc_step": (None, (ctypes.c_int, ctypes.c_float, ctypes.c_int, ctypes.c_float)),
    "bgc_outcome": (ctypes.c_int, (ctypes.c_int, ctypes.c_char_p)),
    "bgc_steps": (ctypes.c_uint32, (ctypes.c_int,)),
    "bgc_pass_over": (None, (ctypes.c_int, ctypes.c_uint32)),
    "bgc_partitions": (ctypes.c_int, (ctypes.c_int,)),
    "bgc_partition_elements": (ctypes.c_size_t, (ctypes.c_int, ctypes.c_int)),
    "bgc_partition_save": (
        None,
        (
            ctypes.c_int,
            ctypes.c_int,
            ctypes.c_int,
            _POINTER,
            _POINTER,
            ctypes.POINTER(ctypes.c_float),
            ctypes.POINTER(ctypes.c_uint32),
        ),
    ),
    "bgc_partition_load": (
        None,
        (ctypes.c_int, ctypes.c_int, ctypes.c_size_t, _POINTER, _POINTER, ctypes.c_float, ctypes.c_uint32),
    ),
    "bgc_registered": (ctypes.c_int, ()),
    "bgc_checksum": (ctypes.c_uint32, (_POINTER, ctypes.c_size_t)),
}


def flags() -> List[str]:
    """More flags for the library's compiler: those of the sanitizer that the environment asks for."""
    return ["-g", "-O1", f"-fsanitize={env.sanitizer()}"] if env.sanitizer() else []


def library(isa: Optional[str] = None) -> ctypes.CDLL:
    """The library for this processor, or for ``isa`` ("avx2" or "portable"); compiled at its first use."""
    isa = isa or build.best_isa()
    if isa not in _libraries:
        loaded = ctypes.CDLL(str(build.build(isa, flags())))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, list(arguments)
        _libraries[isa] = loaded
    return _libraries[isa]
