"""A worker that exchanges arrays through BytePS's core, without MXNet: device_exchange.py LIBRARY host|gpu LARGE.

LIBRARY is what scripts/check_gpu.py has compiled of device_exchange.cc; host or gpu says in whose memory the arrays
stand. A worker of one process sends what one of two would send in all. Prints a line of JSON for each way to compress:
a digest of all sums, how many of them are not NumPy's (without compression; else null), and, for some, the median
seconds of an exchange of LARGE numbers, if a worker has one process.
ONE_GPU=1: for NCCL, which wants a GPU for each process of a host, each process is a host.
"""

import ctypes
import functools
import hashlib
import json
import os
from pathlib import Path
import statistics
import sys
import time

from byteps_gc import native
from byteps_gc.compressors import engine_keys
from byteps_gc.compressors.settings import Settings
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from soak import COMPRESSORS

SIZES = (4096, 99999, 1024001)  # elements; the last one has two partitions
TINY = (1, 7)  # more of them, without compression
TIMED = (0, 1)  # of COMPRESSORS: none, and onebit
ROUNDS = 5
TIMED_ROUNDS = 10
RANKS = 2  # processes of a worker, if it has several


class Core:
    """The engine's core in this process, joined to its cluster."""

    def __init__(self, library, on_gpu):
        self.library = ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
        self.on_gpu = on_gpu
        self.compressed = []
        self.worker, self.workers = int(os.environ["DMLC_WORKER_ID"]), int(os.environ["DMLC_NUM_WORKER"])
        self.rank, self.alone = int(os.environ["BYTEPS_LOCAL_RANK"]), os.environ["BYTEPS_LOCAL_SIZE"] == "1"
        if os.environ.get("ONE_GPU"):
            os.environ["NCCL_HOSTID"] = f"worker-{self.worker}.{self.rank}"
        native.register("worker")
        native.start(self.workers, self.worker)
        self.library.byteps_init()

    def sends(self, *what):
        """What this process sends."""
        return sent(self.worker, *what) if self.alone else part(self.worker, self.rank, *what)

    def declare(self, name, array, options):
        """Announce an array that will be exchanged under this name."""
        texts = ctypes.c_char_p * len(options)
        keys = texts(*(key[len("byteps_") :].encode() for key in options))
        values = texts(*(text.encode() for text in options.values()))
        size, dtype = ctypes.c_uint64(array.nbytes), native.DTYPES[array.dtype.name]
        self.library.byteps_gc_declare(name.encode(), size, dtype, self.on_gpu, len(options), keys, values)
        if options:
            self.compressed.append(native.Tensor(name))

    def exchange(self, arrays):
        """Replace all arrays, by their names, by their sums over the workers; the seconds without copies of ours."""
        names = [name.encode() for name in arrays]
        for name, array in zip(names, arrays.values()):
            self.library.byteps_gc_put(name, ctypes.c_void_p(array.ctypes.data))
        for tensor in self.compressed:
            tensor.step(0.1)
        begun = time.monotonic()
        for name in names:
            self.library.byteps_gc_begin(name)
        failed = any([self.library.byteps_gc_end(name) for name in names])
        taken = time.monotonic() - begun
        if failed or any(tensor.outcome()[1] for tensor in self.compressed):
            sys.exit("an exchange has failed")
        for name in names:
            self.library.byteps_gc_get(name)
        return taken


@functools.lru_cache(maxsize=None)
def pool(process):
    """Random numbers of a process."""
    return np.random.RandomState(process).randn(max(SIZES) + ROUNDS).astype(np.float32)


def part(worker, rank, number, size, dtype):
    """What a process of a worker sends in a round."""
    return pool(RANKS * worker + rank)[number : number + size].astype(dtype)


def sent(worker, *what):
    """What a worker sends."""
    return sum(part(worker, rank, *what) for rank in range(RANKS))


def sums(core, case, settings):
    """Exchange arrays of all sizes and dtypes; the digest of the sums, and how many of them are wrong."""
    plain = not (settings.compressor or settings.narrow())
    sizes = TINY + SIZES if plain else SIZES
    shapes = {f"{case}.{dtype}.{size}": (size, dtype) for dtype in native.DTYPES for size in sizes}
    for name, (size, dtype) in shapes.items():
        core.declare(name, np.empty(size, dtype), engine_keys.engine_options(settings, 0.9, name, True))
    digest, wrong = hashlib.sha256(), 0
    for number in range(ROUNDS):
        arrays = {name: core.sends(number, *shape) for name, shape in shapes.items()}
        core.exchange(arrays)
        for name, array in arrays.items():
            digest.update(array.tobytes())
            if plain:
                want = sum(sent(worker, number, *shapes[name]) for worker in range(core.workers))
                wrong += not np.array_equal(array, want)
    return digest.hexdigest(), wrong if plain else None


def seconds(core, case, settings, size):
    """The median seconds of a large exchange."""
    name = f"{case}.large"
    array = np.resize(pool(core.worker), size)
    core.declare(name, array, engine_keys.engine_options(settings, 0.9, name, True))
    return statistics.median([core.exchange({name: array}) for _ in range(TIMED_ROUNDS + 1)][1:])


def main():
    core = Core(sys.argv[1], sys.argv[2] == "gpu")
    for case, params in enumerate(COMPRESSORS):
        settings = Settings.from_params(params)
        digest, wrong = sums(core, case, settings)
        large = seconds(core, case, settings, int(sys.argv[3])) if case in TIMED and core.alone else None
        found = {"rank": core.rank, "params": params, "digest": digest, "wrong": wrong, "seconds": large}
        print(json.dumps(found), flush=True)
    core.library.byteps_shutdown()


if __name__ == "__main__":
    main()
