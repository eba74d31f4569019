"""The compressors of stock BytePS, callable from Python: what a benchmark compares ours with."""

import contextlib
import ctypes
import os
import tempfile
from typing import Any, Callable, Dict, Iterator
import weakref

from byteps_gc.bench.stock.library import library
import numpy as np

NAMES = ("onebit", "topk", "randomk", "dithering")
OPTIONS = {
    "k": ("compressor_k", {}),
    "seed": ("seed", {}),
    "scaling": ("compressor_onebit_scaling", {True: "true", False: "false"}),
    "partition": ("dithering_partition", {"linear": 0, "natural": 1}),
    "normalize": ("dithering_normalize", {"max": 0, "l2": 1}),
}


_loaded: Dict[str, ctypes.CDLL] = {}


def load(role: str, progress: Callable[[str], None] = lambda line: None) -> ctypes.CDLL:
    """The library of a role, built and loaded where it is not yet."""
    if role not in _loaded:
        pointer, size = ctypes.c_void_p, ctypes.c_size_t
        loaded = ctypes.CDLL(str(library(role, progress)))
        for name, result, arguments in (
            ("threads", None, (ctypes.c_int,)),
            ("new", pointer, (ctypes.c_char_p, size)),
            ("free", None, (pointer,)),
            ("compress", size, (pointer, pointer, size)),
            ("payload", pointer, (pointer,)),
            ("decompress", pointer, (pointer, pointer, size)),
            ("add", None, (pointer, pointer, size, pointer, size)),
        ):
            function = getattr(loaded, f"released_{name}")
            function.restype, function.argtypes = result, arguments
        _loaded[role] = loaded
    return _loaded[role]


@contextlib.contextmanager
def learning_rate(rate: float) -> Iterator[None]:
    """A current folder with the file ``lr.s``, which upstream's error feedback maps when it is made."""
    before = os.getcwd()
    with tempfile.TemporaryDirectory(prefix="byteps_gc-") as folder:
        np.array([rate]).tofile(os.path.join(folder, "lr.s"))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def spell(options: Dict[str, Any]) -> str:
    """The options in upstream's words: a number of pairs, then keys and values. A seed of 0 is left out."""
    words = {"compressor_type": options["compressor"]}
    if options.get("ef"):
        words["ef_type"] = options["ef"]
    if options.get("mu") is not None:
        words.update(momentum_type="nesterov", momentum_mu=options["mu"])
    for name in sorted(set(options).difference(("compressor", "ef", "mu"))):
        word, values = OPTIONS[name]
        if not (name == "seed" and options[name] == 0):
            words[word] = values[options[name]] if values else options[name]
    return " ".join([str(len(words)), *(f"{word} {value}" for word, value in words.items())])


class Released:
    """One released compressor for partitions of ``elements`` float32 numbers, on one thread.

    ``options``: "compressor" (onebit, topk, randomk, dithering) and its options
    (scaling, k, seed, partition, normalize) as in compression_params, "ef"
    ("vanilla") and "mu" (momentum). A worker's may have both, a server's no "mu".
    Upstream ends the process where something does not fit; ValueError refuses that here.
    """

    def __init__(self, options: Dict[str, Any], elements: int, role: str = "worker"):
        name, sparse = options["compressor"], options["compressor"] in ("topk", "randomk")
        if name not in NAMES or elements % 32 or (sparse and not 0 < options["k"] <= elements // 2):
            raise ValueError(f"stock BytePS would end the process: {options} with {elements} elements")
        self.library = load(role)
        self.library.released_threads(1)
        self.elements, self.role, self.size = elements, role, 0
        with learning_rate(0.1) if options.get("ef") else contextlib.nullcontext():
            self.handle = self.library.released_new(spell(options).encode(), 4 * elements)
        weakref.finalize(self, self.library.released_free, self.handle)

    def address(self, array: np.ndarray) -> int:
        """Where a whole partition of float32 numbers lies."""
        if array.dtype != np.float32 or array.shape != (self.elements,) or not array.flags.c_contiguous:
            raise ValueError(f"a partition is a contiguous array of {self.elements} float32 numbers")
        return array.ctypes.data

    def compress(self, gradient: np.ndarray) -> int:
        """Compress; returns the payload's size in bytes. With ef or mu, ``gradient`` is changed as upstream does."""
        self.size = self.library.released_compress(self.handle, self.address(gradient), gradient.nbytes)
        return self.size

    def payload(self) -> bytes:
        """A copy of the last payload."""
        return ctypes.string_at(self.library.released_payload(self.handle), self.size)

    def receive(self, buffer: np.ndarray) -> None:
        """Put the last payload at the begin of ``buffer``, where a worker receives it."""
        ctypes.memmove(self.address(buffer), self.library.released_payload(self.handle), self.size)

    def unpack(self, buffer: np.ndarray) -> int:
        """Unpack what ``buffer`` has received: a worker in place, a server elsewhere. Returns where the result is."""
        return self.library.released_decompress(self.handle, self.address(buffer), self.size)

    def decompress(self) -> np.ndarray:
        """The last payload, unpacked."""
        buffer = np.zeros(self.elements, np.float32)
        self.receive(buffer)
        return np.frombuffer(ctypes.string_at(self.unpack(buffer), buffer.nbytes), np.float32)

    def add(self, payload: bytes, out: np.ndarray) -> None:
        """Unpack another's payload and add it to ``out``, as a server does."""
        if self.role != "server":
            raise ValueError("a worker unpacks in place: add is a server's")
        self.library.released_add(self.handle, payload, len(payload), self.address(out), out.nbytes)
