"""The native compressors' library: compiled once for each kind of processor, then kept in a cache."""

import functools
import hashlib
import os
from pathlib import Path
import sys
from typing import Sequence

from byteps_gc import env
from byteps_gc.toolchain import Compiler, compiler, locked

SOURCE = Path(__file__).parent / "src"
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-Wextra")
ISAS = {
    "avx2": ("-mavx2", "-mf16c", "-mbmi", "-mbmi2", "-mlzcnt", "-mpopcnt", "-msse4.2"),
    "portable": (),
}
NEEDED = {"avx2": {"avx2", "f16c", "bmi1", "bmi2", "abm", "popcnt", "sse4_2"}, "portable": set()}


@functools.lru_cache(maxsize=None)
def best_isa() -> str:
    """The kind of code that this processor runs fastest: "avx2" or "portable" (the same bits)."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            return "avx2" if NEEDED["avx2"] <= set(line.split()) else "portable"
    return "portable"


def sources() -> Sequence[str]:
    """The files to compile, in order."""
    return sorted(file.name for file in SOURCE.glob("*.cc"))


def build(isa: str, flags: Sequence[str] = ()) -> Path:
    """The path of the library for ``isa``; compiled if the cache has none for its sources.

    flags: more flags for compiler and linker, as a sanitizer needs. Raises
    :class:`~byteps_gc.errors.EngineError` if it cannot be compiled.
    """
    cache = env.cache_folder() / "native"
    recipe = [compiler(), isa, *FLAGS, *ISAS[isa], *flags]
    recipe += [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(SOURCE.iterdir()) if file.is_file()]
    name = hashlib.sha256("\0".join(recipe).encode()).hexdigest()[:12]
    target = cache / f"byteps_gc-{isa}-{name}.so"
    if target.is_file():
        return target
    with locked(cache):
        if target.is_file():
            return target
        print(f"byteps_gc: compiling the compressors for {isa} (only once)", file=sys.stderr, flush=True)
        work = Compiler(SOURCE, cache / "objects", os.cpu_count() or 1, lambda source: None)
        objects = work.compile_all(sources(), (*FLAGS, *ISAS[isa], *flags))
        partial = target.with_suffix(f".{os.getpid()}.so")
        work.run("g++", "-shared", *flags, *map(str, objects), "-o", str(partial))
        partial.replace(target)
    return target
