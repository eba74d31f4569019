"""Compile and link the engine's libraries: the server's, the worker's, and the shim for MXNet."""

from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import shutil
from typing import List, Optional, Tuple

from byteps_gc.engine.source import LIBSODIUM, LIBZMQ, PYNACL
from byteps_gc.errors import EngineError
from byteps_gc.toolchain import Compiler

STANDIN = Path(__file__).parent / "standin"
PLATFORM = Path(__file__).parent / "files" / "zmq_platform.h"

# Of BytePS's compressors only their registry: ours register there at run time.
SHARED = tuple(
    f"byteps/common/{name}.cc" for name in ("common", "cpu_reducer", "logging", "compressor/compressor_registry")
)
SERVER = ("byteps/server/server.cc",) + SHARED
SHIM = tuple(f"byteps/mxnet/{name}.cc" for name in ("ops", "ready_event", "tensor_util", "cuda_util", "adapter"))
CORE = (
    tuple(
        f"byteps/common/{name}.cc"
        for name in (
            "core_loops",
            "global",
            "operations",
            "communicator",
            "nccl_manager",
            "ready_table",
            "scheduled_queue",
            "shared_memory",
        )
    )
    + SHARED
)
# The C surface for front ends, of the fix-up core-surface, which may be left out.
SURFACE = ("byteps/common/byteps_gc_core_api.cc", "byteps/common/byteps_gc_core_session.cc")
PS_LITE = tuple(f"3rdparty/ps-lite/src/{name}.cc" for name in ("van", "postoffice", "customer"))

COMPLETE = "-Wl,--no-undefined"
# No flag depends on the processor of the machine that compiles.
FLAGS = ("-std=c++14", "-O3", "-fPIC", "-fopenmp", "-w")
FLAGS += tuple(word for header in ("cstdint", "cstring", "memory", "string") for word in ("-include", header))

# libzmq's sources but those of transports, mechanisms and pollers that files/zmq_platform.h leaves out.
DRAFT_API = "-DZMQ_BUILD_DRAFT_API=1"  # has ZMQ_ROUTER_NOTIFY
LIBZMQ_FLAGS = ("-std=c++14", "-O2", "-fPIC", "-w", DRAFT_API, f"-I{LIBZMQ}/src")
LIBZMQ_FLAGS += (f"-I{LIBSODIUM}/src/libsodium/include",)
LIBZMQ_OMITTED = (
    *("devpoll", "gssapi_", "kqueue", "norm_", "pgm_", "poll.", "pollset", "precompiled", "select", "tipc_", "vmci"),
    *("ws_", "wss_"),
)
LIBZMQ_PARTS = 4  # in which its sources are compiled
# How libsodium's configure script is called. It examines the compiler; the library examines the processor at run time.
LIBSODIUM_OPTIONS = ("--quiet", "--disable-shared", "--enable-static", "--disable-pie", "--enable-minimal")
LIBSODIUM_FLAGS = "-O2 -fPIC -w"


@dataclass(frozen=True)
class Device:
    """Where gradients live: host memory, or GPUs through CUDA and NCCL."""

    name: str
    includes: Tuple[str, ...] = (str(STANDIN),)
    macros: Tuple[str, ...] = ("MSHADOW_USE_CUDA=0",)
    libraries: Tuple[str, ...] = ()
    flags: Tuple[str, ...] = ()  # more, for compiler and linker

    def library_folders(self) -> List[Path]:
        """Where the libraries stand, of those that are linked from a folder, when what is linked runs."""
        pairs = zip(self.libraries, self.libraries[1:])
        return [Path(where[2:], f"lib{what[2:]}.so").resolve().parent for where, what in pairs if where[:2] == "-L"]


HOST = Device("host")
# Data races are reported while it runs; a Python that loads it has LD_PRELOAD=libtsan.so.2.
TSAN = Device("tsan", flags=("-fsanitize=thread", "-g1", "-O0"))


def cuda(cuda_home: Path, nccl_home: Path) -> Device:
    """The device for real CUDA and NCCL installations.

    ``cuda_home`` and ``nccl_home`` hold ``include`` and ``lib`` or ``lib64``;
    :class:`EngineError` names what is missing in them.
    """
    libraries: List[str] = []
    for home, header, library in ((cuda_home, "cuda_runtime.h", "cudart"), (nccl_home, "nccl.h", "nccl")):
        if not (home / "include" / header).is_file():
            raise EngineError(f"{home} has no include/{header}")
        folders = [home / name for name in ("lib64", "lib") if (home / name / f"lib{library}.so").exists()]
        if not folders:
            raise EngineError(f"{home} has no lib/lib{library}.so or lib64/lib{library}.so")
        libraries += [f"-L{folders[0]}", f"-l{library}"]
    return Device(
        "cuda",
        includes=(str(cuda_home / "include"), str(nccl_home / "include")),
        macros=("HAVE_CUDA=1", "MSHADOW_USE_CUDA=1"),
        libraries=(*libraries, "-lnuma"),
    )


class Build(Compiler):
    """The compiler at work on the engine's source tree."""

    def libsodium(self) -> Path:
        """Build libsodium with its own scripts; return the static library."""
        recipe = "\0".join((self.version, PYNACL.sha256, *LIBSODIUM_OPTIONS, LIBSODIUM_FLAGS))
        library = self.objects / (hashlib.sha256(recipe.encode()).hexdigest() + ".a")
        if not library.is_file():
            self.progress(LIBSODIUM)
            folder = self.tree / LIBSODIUM
            self.run("./configure", *LIBSODIUM_OPTIONS, f"CFLAGS={LIBSODIUM_FLAGS}", cwd=folder)
            self.run("make", "--silent", f"-j{self.jobs}", "-C", "src", cwd=folder)
            partial = library.with_suffix(f".{os.getpid()}.a")
            shutil.copyfile(folder / "src/libsodium/.libs/libsodium.a", partial)
            partial.replace(library)
        return library

    def libzmq(self, device: Device) -> List[Path]:
        """Compile libzmq, with CURVE; several sources at once, because most of the time goes into their headers."""
        src = self.tree / LIBZMQ / "src"
        shutil.copyfile(PLATFORM, src / "platform.hpp")
        sources = sorted(file.name for file in src.glob("*.cpp") if not file.name.startswith(LIBZMQ_OMITTED))
        parts = []
        for number in range(LIBZMQ_PARTS):
            part = src / f"part_{number}.cc"
            part.write_text("".join(f'#include "{name}"\n' for name in sources[number::LIBZMQ_PARTS]))
            parts.append(str(part.relative_to(self.tree)))
        return self.compile_all(tuple(parts), (*LIBZMQ_FLAGS, *device.flags))

    def network(self, device: Device) -> List[Path]:
        """Compile libsodium, libzmq and ps-lite; return them in the order for the linker."""
        libsodium = self.libsodium()
        libzmq = self.libzmq(device)
        includes = ("-I3rdparty/ps-lite/src", "-I3rdparty/ps-lite/include", f"-I{LIBZMQ}/include")
        ps_lite = self.compile_all(PS_LITE, (*FLAGS, *device.flags, DRAFT_API, *includes))
        return [*ps_lite, *libzmq, libsodium]

    def link(self, target: Path, objects: List[Path], *flags: str) -> None:
        """Link a shared library that exports BytePS's own symbols."""
        export = "-Wl,--version-script=byteps.lds"
        symbols = [] if "-g1" in flags else ["-s"]
        files = [*map(str, objects), *flags, "-lrt", "-o", str(target)]
        self.run("g++", "-shared", "-fopenmp", *symbols, export, *files)


def common_flags(device: Device) -> Tuple[str, ...]:
    """How the sources of server and worker are compiled."""
    return (*FLAGS, *device.flags, "-DEIGEN_MPL2_ONLY=1", "-I3rdparty/ps-lite/include")


def worker_flags(device: Device) -> Tuple[str, ...]:
    """How those of the worker are."""
    macros = (f"-D{macro}" for macro in device.macros)
    return (*macros, *(f"-I{folder}" for folder in device.includes), *common_flags(device))


def core_sources(build: Build) -> Tuple[str, ...]:
    """Return the sources of the worker's library."""
    return CORE + tuple(name for name in SURFACE if (build.tree / name).is_file())


def build_core(build: Build, device: Device, program: Path, *flags: str) -> Path:
    """Compile ``program`` (C++) and a worker's core, without a framework, into one library; returns its path."""
    network = build.network(device)
    objects = build.compile_all((str(program), *core_sources(build)), (*flags, *worker_flags(device), "-I."))
    library = build.tree / f"{program.stem}.so"
    build.link(library, objects + network, *device.libraries, *device.flags)
    return library


def build_libraries(build: Build, device: Device, mxnet: Optional[Path]) -> None:
    """Compile the engine's libraries into the source tree, next to the Python files that load them.

    ``byteps/server/c_lib.so`` is the scheduler and the server, ``byteps/core/c_lib.so`` the worker. They are two
    libraries, because BytePS's headers differ for a server (BYTEPS_BUILDING_SERVER), and because a server's host needs
    neither CUDA nor NCCL. No framework is in them.

    ``mxnet`` is the folder of the installed MXNet package, or None. With it, ``byteps/mxnet/c_lib.so`` is BytePS's
    interface for MXNet on the worker's library.
    """
    network = build.network(device)
    server = build.compile_all(SERVER, (*common_flags(device), "-DBYTEPS_BUILDING_SERVER"))
    build.link(build.tree / "byteps/server/c_lib.so", server + network, COMPLETE, *device.flags)

    (build.tree / "byteps/core").mkdir()
    core = build.compile_all(core_sources(build), worker_flags(device))
    # libraries of NVIDIA's wheels are linked into MXNet's folder (engine/nvidia.py)
    libraries = (rpath("mxnet"), *device.libraries) if device.libraries else ()
    build.link(build.tree / "byteps/core/c_lib.so", core + network, COMPLETE, *libraries, *device.flags)
    if mxnet:
        build_shim(build, device, mxnet)


def build_shim(build: Build, device: Device, mxnet: Path) -> None:
    """Compile BytePS's files for MXNet, and link them to the worker's library and to libmxnet.so.

    Both are found by paths relative to the shim, so the wheel can be installed wherever MXNet is.
    """
    (build.tree / "mxnet-package").symlink_to(mxnet)
    headers = "mxnet-package/include"
    onednn = (build.tree / headers / "mkldnn").is_dir()
    flags = (f"-I{headers}", f"-I{headers}/mkldnn", f"-DMXNET_USE_MKLDNN={int(onednn)}", "-DMSHADOW_USE_MKL=0")
    shim = build.compile_all(SHIM, (*flags, *worker_flags(device)))
    libraries = ("-Lbyteps/core", "-l:c_lib.so", rpath("byteps/core"), "-Lmxnet-package", "-lmxnet", rpath("mxnet"))
    target = build.tree / "byteps/mxnet/c_lib.so"
    build.link(target, shim, COMPLETE, *libraries, *device.libraries, *device.flags)


def rpath(package: str) -> str:
    """Return the linker's flag to search the folder of an installed package, from ``byteps/*/c_lib.so``."""
    return f"-Wl,-rpath,$ORIGIN/../../{package}"
