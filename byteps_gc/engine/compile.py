"""Compile and link the engine's two libraries: the server's and the MXNet worker's."""

from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
import contextlib
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import shutil
import signal
import subprocess
from typing import Callable, List, Set, Tuple

from byteps_gc.errors import EngineError
from byteps_gc.processes import die_with_parent

STANDIN = Path(__file__).parent / "standin"
ZEROMQ = "zeromq-4.1.4"

COMPRESSORS = tuple(
    f"byteps/common/compressor/{name}.cc"
    for name in (
        "compressor_registry",
        "error_feedback",
        "impl/dithering",
        "impl/onebit",
        "impl/randomk",
        "impl/topk",
        "impl/vanilla_error_feedback",
        "impl/raw",
    )
)
SHARED = tuple(f"byteps/common/{name}.cc" for name in ("common", "cpu_reducer", "logging"))
SERVER = ("byteps/server/server.cc",) + SHARED + COMPRESSORS
WORKER = (
    tuple(f"byteps/mxnet/{name}.cc" for name in ("ops", "ready_event", "tensor_util", "cuda_util", "adapter"))
    + tuple(
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
            "compressor/momentum",
            "compressor/impl/nesterov_momentum",
        )
    )
    + SHARED
    + COMPRESSORS
)
PS_LITE = tuple(f"3rdparty/ps-lite/src/{name}.cc" for name in ("van", "postoffice", "customer"))

# No flag depends on the processor of the machine that compiles.
FLAGS = ("-std=c++14", "-O3", "-fPIC", "-fopenmp", "-w", "-include", "memory")


@dataclass(frozen=True)
class Device:
    """Where gradients live: host memory, or GPUs through CUDA and NCCL."""

    name: str
    includes: Tuple[str, ...] = (str(STANDIN),)
    macros: Tuple[str, ...] = ("MSHADOW_USE_CUDA=0",)
    libraries: Tuple[str, ...] = ()


HOST = Device("host")


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


def compiler() -> str:
    """The first line of ``g++ --version``; :class:`EngineError` if there is no compiler."""
    for tool, package in (("g++", "g++"), ("make", "make")):
        if shutil.which(tool) is None:
            raise EngineError(f"{tool} is missing; Debian's package {package} has it")
    return subprocess.run(["g++", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[0]


def end_group(child: subprocess.Popen) -> None:
    """End a command that has a process group of its own, and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


class Compiler:
    """Compiles one source tree, with a cache of objects keyed by preprocessed text and flags."""

    def __init__(self, tree: Path, objects: Path, jobs: int, progress: Callable[[str], None]):
        self.tree = tree
        self.objects = objects
        self.jobs = jobs
        self.progress = progress
        self.version = compiler()
        self.running: Set[subprocess.Popen] = set()
        objects.mkdir(parents=True, exist_ok=True)

    def run(self, *command: str, cwd: Path = None, env: dict = None) -> bytes:
        """Run one command in the tree; :class:`EngineError` with its first error line if it fails.

        The command and all that it starts end when this call is interrupted.
        """
        child = subprocess.Popen(
            command,
            cwd=cwd or self.tree,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self.running.add(child)
        try:
            output, errors = child.communicate()
        except BaseException:
            end_group(child)
            raise
        finally:
            self.running.discard(child)
        if child.returncode:
            lines = errors.decode(errors="replace").strip().splitlines() or ["no message"]
            first = next((line for line in lines if "error" in line.lower()), lines[-1])
            raise EngineError(f"{command[0]} failed with status {child.returncode}: {first.strip()}")
        return output

    def compile(self, source: str, flags: Tuple[str, ...]) -> Path:
        """Compile ``source`` (a path in the tree) and return the cached object."""
        text = self.run("g++", *flags, "-E", "-P", source)
        recipe = "\0".join((self.version, *(flag for flag in flags if not flag.startswith(("-I", "-D"))))).encode()
        target = self.objects / (hashlib.sha256(recipe + text).hexdigest() + ".o")
        if not target.is_file():
            self.progress(source)
            expanded = target.with_suffix(f".{os.getpid()}.ii")
            partial = expanded.with_suffix(".o")
            try:
                expanded.write_bytes(text)
                rest = [flag for flag in flags if not flag.startswith(("-I", "-D"))]
                rest = [flag for flag in rest if flag not in ("-include", "memory")]
                self.run("g++", *rest, "-c", str(expanded), "-o", str(partial))
                partial.replace(target)
            finally:
                for leftover in (expanded, partial):
                    if leftover.exists():
                        leftover.unlink()
        return target

    def compile_all(self, sources: Tuple[str, ...], flags: Tuple[str, ...]) -> List[Path]:
        """Compile several sources at a time; the first failure, or an interruption, ends the rest."""
        with ThreadPoolExecutor(self.jobs) as pool:
            pending = [pool.submit(self.compile, source, flags) for source in sources]
            try:
                wait(pending, return_when=FIRST_EXCEPTION)
                return [future.result() for future in pending]
            except BaseException:
                for future in pending:
                    future.cancel()
                for child in list(self.running):
                    end_group(child)
                raise

    def zeromq(self) -> Path:
        """Build the ZeroMQ release that BytePS carries; returns the static library."""
        archive = (self.tree / f"{ZEROMQ}.tar.gz").read_bytes()
        library = self.objects / (hashlib.sha256(self.version.encode() + archive).hexdigest() + ".a")
        folder = self.tree / ZEROMQ
        self.run("tar", "-xzf", f"{ZEROMQ}.tar.gz", "--no-same-owner")
        if not library.is_file():
            self.progress(ZEROMQ)
            env = dict(os.environ, CFLAGS="-fPIC -O2 -w", CXXFLAGS="-fPIC -O2 -w")
            options = ("--with-libsodium=no", "--with-libgssapi_krb5=no", "--disable-shared", "--enable-static")
            self.run("./configure", "--quiet", *options, cwd=folder, env=env)
            self.run("make", "--silent", f"-j{self.jobs}", "libzmq.la", cwd=folder, env=env)
            partial = library.with_suffix(f".{os.getpid()}.a")
            shutil.copyfile(folder / ".libs" / "libzmq.a", partial)
            partial.replace(library)
        return library

    def link(self, target: Path, objects: List[Path], *flags: str) -> None:
        """Link a shared library that exports BytePS's own symbols."""
        export = "-Wl,--version-script=byteps.lds"
        self.run("g++", "-shared", "-fopenmp", "-s", export, *map(str, objects), *flags, "-lrt", "-o", str(target))


def build_libraries(build: Compiler, device: Device, mxnet: Path) -> None:
    """Compile both libraries into the source tree, beside the Python files that load them.

    ``mxnet`` is the folder of the installed MXNet package: its headers are
    compiled against and its libmxnet.so is linked by a path relative to the
    worker's library, so that the wheel can be installed anywhere beside it.
    """
    (build.tree / "mxnet-package").symlink_to(mxnet)
    zeromq = build.zeromq()
    ps_lite = ("-I3rdparty/ps-lite/src", "-I3rdparty/ps-lite/include", f"-I{ZEROMQ}/include")
    network = [*build.compile_all(PS_LITE, (*FLAGS, *ps_lite)), zeromq]

    device_flags = (*(f"-D{macro}" for macro in device.macros), *(f"-I{folder}" for folder in device.includes))
    common = (*FLAGS, "-DEIGEN_MPL2_ONLY=1", "-I3rdparty/ps-lite/include")
    server = build.compile_all(SERVER, (*common, "-DBYTEPS_BUILDING_SERVER"))
    build.link(build.tree / "byteps/server/c_lib.so", server + network)

    headers = "mxnet-package/include"
    onednn = (build.tree / headers / "mkldnn").is_dir()
    framework = (f"-I{headers}", f"-I{headers}/mkldnn", f"-DMXNET_USE_MKLDNN={int(onednn)}", "-DMSHADOW_USE_MKL=0")
    worker = build.compile_all(WORKER, (*common[:-1], *framework, *device_flags, common[-1]))
    beside = "-Wl,-rpath,$ORIGIN/../../mxnet"
    build.link(
        build.tree / "byteps/mxnet/c_lib.so", worker + network, "-Lmxnet-package", "-lmxnet", beside, *device.libraries
    )
