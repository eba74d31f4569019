"""The shared libraries of stock BytePS's compressors, built once for each compiler and processor, then kept.

They are compiled from the source release with the flags of its own setup.py,
twice: as its MXNet library has them ("worker") and as its server has them. Of
our fix-ups only the one is applied without which they need Python's headers;
what they compute and how fast is upstream's.
"""

import hashlib
from pathlib import Path
import shutil
import subprocess
import tempfile
from typing import Callable

from byteps_gc import env
from byteps_gc.engine import build, fixups, source
from byteps_gc.engine.compile import STANDIN, Build
from byteps_gc.toolchain import compiler, locked

SURFACE = Path(__file__).with_name("compressors.cc")
# get_cpp_flags of upstream's setup.py, and what a newer g++ and our folders need in addition. None of them is passed to
# the linker (nor does setup.py): -Ofast there would flush the whole process's denormal numbers to zero.
TARGET = ("-march=native", "-mno-avx512f")
FLAGS = ("-std=c++11", "-fPIC", "-Ofast", "-fopenmp", *TARGET)
EXTRA = ("-w", "-include", "memory", "-I.", f"-I{STANDIN}")
FIXUPS = fixups.select(set(fixups.names()) - {"any-python"})
SERVER = "-DBYTEPS_BUILDING_SERVER"
EXPORTS = "{ global: released_*; local: *; };\n"

COMPRESSOR = "byteps/common/compressor/"
# The registry comes first: its table has to exist before the others register.
CODECS = tuple(
    f"{COMPRESSOR}{name}.cc"
    for name in ("compressor_registry", "impl/onebit", "impl/topk", "impl/randomk", "impl/dithering")
)
# These include the network's parts where the macro is not defined. It changes nothing in what is called of them.
WRAPPERS = tuple(f"{COMPRESSOR}{name}.cc" for name in ("error_feedback", "impl/vanilla_error_feedback"))
MOMENTUM = tuple(f"{COMPRESSOR}{name}.cc" for name in ("momentum", "impl/nesterov_momentum"))
COMMON = tuple(f"byteps/common/{name}.cc" for name in ("common", "cpu_reducer", "logging"))
ROLES = {"worker": ((), WRAPPERS + MOMENTUM), "server": ((SERVER,), WRAPPERS)}


def key() -> str:
    """A hash of the release, our surface, the compiler, the flags and this machine's processor (12 hex digits)."""
    native = subprocess.run(["g++", *TARGET, "-Q", "--help=target"], stdout=subprocess.PIPE, text=True).stdout
    words = [source.BYTEPS.sha256, compiler(), native, repr(FIXUPS), SURFACE.read_text(), Path(__file__).read_text()]
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


def compile_role(work: Build, role: str, target: Path) -> None:
    """Compile and link one of the two libraries in an unpacked source tree."""
    macros, wrappers = ROLES[role]
    objects = work.compile_all(CODECS, (*FLAGS, *EXTRA, *macros))
    objects += work.compile_all((*wrappers, *COMMON, SURFACE.name), (*FLAGS, *EXTRA, SERVER))
    work.link(target, objects)


def make(target: Path, progress: Callable[[str], None]) -> None:
    """Build both libraries; their folder appears in the cache whole or not at all."""
    folder = Path(tempfile.mkdtemp(dir=target.parent, prefix="build-"))
    try:
        tree = source.unpack(source.fetch(env.cache_folder() / "engine"), folder)
        fixups.apply(tree, FIXUPS)
        shutil.copy(SURFACE, tree / SURFACE.name)
        (tree / "byteps.lds").write_text(EXPORTS)
        work = Build(tree, folder / "objects", 1, progress)
        finished = folder / "finished"
        finished.mkdir()
        for role in ROLES:
            compile_role(work, role, finished / f"released-{role}.so")
        finished.replace(target)
    finally:
        build.remove(folder)


def library(role: str, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Return the library of a role ("worker" or "server"), built if the cache has none. :class:`EngineError`."""
    target = env.cache_folder() / "bench" / key()
    if not target.is_dir():
        with locked(target.parent):
            if not target.is_dir():
                make(target, progress)
    return target / f"released-{role}.so"
