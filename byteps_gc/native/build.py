"""The native compressors' library for a kind of processor: from an installed wheel, or compiled once and cached."""

import functools
import hashlib
import os
from pathlib import Path
import sys
import sysconfig
from typing import Optional, Sequence

from byteps_gc import env
from byteps_gc.toolchain import Compiler, compiler, locked

SOURCE = Path(__file__).parent / "src"
PRECOMPILED = Path(__file__).parent / "lib"  # in wheels only
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


def digest(parts: Sequence[str]) -> str:
    """Return the first 12 hex digits of a hash of texts and of all files in SOURCE."""
    hashes = [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(SOURCE.iterdir()) if file.is_file()]
    return hashlib.sha256("\0".join([*parts, *hashes]).encode()).hexdigest()[:12]


def precompiled_name(isa: str) -> str:
    """Return the file name that a wheel's library for ``isa`` has if it is of these sources."""
    return f"byteps_gc-{isa}-{digest([isa, *FLAGS, *ISAS[isa]])}.so"


def precompiled(isa: str) -> Optional[Path]:
    """Return an installed wheel's library of these sources, or None.

    A checkout that Python imports from its own folder finds that of the wheel in this environment.
    """
    installed = Path(sysconfig.get_path("platlib"), "byteps_gc", "native", PRECOMPILED.name)
    libraries = (folder / precompiled_name(isa) for folder in (PRECOMPILED, installed))
    return next((library for library in libraries if library.is_file()), None)


def compiled(isa: str, flags: Sequence[str] = ()) -> Path:
    """Return the path that the library has in the cache; :class:`EngineError` without a compiler."""
    name = digest([compiler(), isa, *FLAGS, *ISAS[isa], *flags])
    return env.cache_folder() / "native" / f"byteps_gc-{isa}-{name}.so"


def origin(isa: str) -> str:
    """Say where the library for ``isa`` comes from; :class:`EngineError` if there is neither it nor a compiler."""
    if precompiled(isa):
        return "precompiled in the wheel"
    return "compiled here" if compiled(isa).is_file() else "to be compiled at first use"


def build(isa: str, flags: Sequence[str] = ()) -> Path:
    """Return the path of the library for ``isa``: a wheel's, or the cache's, compiled if it is missing.

    flags: more flags for compiler and linker, as a sanitizer needs; a wheel has no such library. Raises
    :class:`~byteps_gc.errors.EngineError` if it cannot be compiled.
    """
    found = None if flags else precompiled(isa)
    if found:
        return found
    target = compiled(isa, flags)
    if target.is_file():
        return target
    cache = target.parent
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
