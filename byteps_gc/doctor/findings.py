"""Find what is installed, and what is missing for training."""

from dataclasses import dataclass
from importlib import metadata
import importlib.util
import json
from pathlib import Path
import platform
import shutil
import subprocess
import sys
from typing import Any, Dict, Iterator, Optional, Tuple

from byteps_gc.cluster import supervisor
from byteps_gc.engine import build, fixups, nvidia_driver
from byteps_gc.errors import EngineError

TORCH_ENVIRONMENT = Path(__file__).parent.parent / ".venv-torch"  # of ./scripts/setup.sh --torch
OK, MISSING, OPTIONAL = "ok", "MISSING", "optional"

# of the engine, each with the code that loads it
LIBRARIES = {
    "server": ("byteps/server/c_lib.so", "from byteps_gc.cluster import bpslaunch; bpslaunch.server_library()"),
    "core": ("byteps/core/c_lib.so", "from byteps_gc.core import engine; engine.library()"),
    "MXNet shim": ("byteps/mxnet/c_lib.so", "import byteps_gc.mxnet"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; a missing part that training needs makes it fail."""

    part: str
    state: str
    detail: str


def find_python() -> Finding:
    """Python itself."""
    fits = (3, 8) <= sys.version_info[:2] <= (3, 12)
    detail = f"{platform.python_version()} at {sys.executable}"
    return Finding("Python", OK if fits else MISSING, detail if fits else f"{detail} is not supported; use 3.8 to 3.12")


def runs(code: str) -> Tuple[bool, str]:
    """Run a line of Python in a process of its own; whether it worked, and the last line it printed."""
    result = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = result.stdout.strip().splitlines() or [f"exited with status {result.returncode}"]
    return result.returncode == 0, lines[-1]


def has_torch() -> bool:
    """Return whether this is an environment for PyTorch, without MXNet."""
    return build.find_mxnet() is None and importlib.util.find_spec("torch") is not None


def find_torch() -> Finding:
    """PyTorch, and whether it sees GPUs."""
    if importlib.util.find_spec("torch") is None:
        if (TORCH_ENVIRONMENT / "byteps_gc-setup.json").is_file():
            return Finding("PyTorch", OPTIONAL, f"not in this environment, but in {TORCH_ENVIRONMENT}")
        hint = "./scripts/setup.sh --torch; where the package index serves none for CPUs, --torch-python PATH"
        return Finding("PyTorch", OPTIONAL, f"not installed; needed only for byteps_gc.torch: {hint}")
    worked, line = runs("import byteps_gc.torch, torch; print(torch.__version__, torch.cuda.device_count())")
    version, _, gpus = line.partition(" ")
    return Finding("PyTorch", OK if worked else MISSING, f"{version}, {gpus} GPUs" if worked else line)


def find_framework() -> Finding:
    """MXNet, and whether it sees GPUs."""
    if has_torch():
        return Finding("MXNet", OPTIONAL, "not installed; needed only for byteps_gc.mxnet")
    try:
        name = build.mxnet_version()
        build.mxnet_package()
    except EngineError as error:
        return Finding("MXNet", MISSING, str(error))
    worked, line = runs("import byteps_gc.before_mxnet, mxnet; print(mxnet.context.num_gpus())")
    return Finding("MXNet", OK if worked else MISSING, f"{name}, {line} GPUs" if worked else line)


def built() -> Optional[Dict[str, Any]]:
    """Return what the installed engine's wheel says of its build; None for one without fix-ups."""
    spec = importlib.util.find_spec("byteps")
    folders = (spec.submodule_search_locations or ()) if spec else ()
    files = (Path(folder, "gc_build.json") for folder in folders)
    return next((json.loads(file.read_text()) for file in files if file.is_file()), None)


def find_engine() -> Finding:
    """BytePS: released or ours, and for which device."""
    try:
        version = metadata.version("byteps")
    except metadata.PackageNotFoundError:
        return Finding("BytePS", MISSING, "not installed; python -m byteps_gc engine build builds a wheel")
    about = built()
    if about is None:
        return Finding(
            "BytePS", MISSING, f"{version} lacks the fix-ups; python -m byteps_gc engine build builds a wheel"
        )
    left_out = [name for name in fixups.names() if name not in about["fixups"]]
    detail = f"{version}: device {about['device']}, {len(about['fixups'])} fix-ups"
    if left_out:
        return Finding("BytePS", MISSING, f"{detail}; missing fix-ups: {', '.join(left_out)}")
    return Finding("BytePS", OK, detail)


def find_libraries() -> Iterator[Finding]:
    """The engine's libraries."""
    for part, (name, code) in LIBRARIES.items():
        if part == "MXNet shim" and has_torch():
            continue
        worked, line = runs(code)
        yield Finding(part, OK, f"{name} loads") if worked else Finding(part, MISSING, f"cannot load {name}: {line}")


def find_compressors() -> Finding:
    """The native compressors of this processor."""
    try:
        from byteps_gc.native import build as native

        isa = native.best_isa()
        return Finding("compressors", OK, f"{isa}, {native.origin(isa)}")
    except (ImportError, EngineError) as error:
        return Finding("compressors", MISSING, str(error))


def find_package(name: str) -> Finding:
    """A Python package that has to import."""
    worked, line = runs(f"import byteps_gc.before_mxnet, {name}")
    if not worked:
        return Finding(name, MISSING, line)
    return Finding(name, OK, metadata.version(name))


def find_loopback() -> Finding:
    """Whether a scheduler could listen on this machine."""
    try:
        return Finding("loopback", OK, f"can listen (tried port {supervisor.free_port()})")
    except OSError as error:
        return Finding("loopback", MISSING, f"cannot listen on 127.0.0.1: {error.strerror}")


def find_compiler() -> Finding:
    """The compiler; libraries that are there need none."""
    missing = [name for name in ("g++", "make") if shutil.which(name) is None]
    hint = f"needed only to build the engine and the compressors: apt-get install {' '.join(missing)}"
    return Finding("compiler", OPTIONAL, hint) if missing else Finding("compiler", OK, "g++ and make are installed")


def find_images() -> Finding:
    """The demo's images."""
    try:
        from byteps_gc.data.images import FASHION_MNIST
    except ImportError as error:
        return Finding("images", MISSING, str(error))
    there = (FASHION_MNIST / "train-images-idx3-ubyte.gz").is_file()
    hint = "needed only for the demo: apt-get install dataset-fashion-mnist"
    return Finding("images", OK if there else OPTIONAL, f"Fashion-MNIST in {FASHION_MNIST}" if there else hint)


def find_driver() -> Finding:
    """NVIDIA's driver; a CPU needs none."""
    try:
        nvidia_driver.check()
    except EngineError as error:
        return Finding("GPU driver", MISSING, str(error))
    if Path("/proc/driver/nvidia/version").is_file():
        return Finding("GPU driver", OK, Path("/proc/driver/nvidia/version").read_text().splitlines()[0])
    return Finding("GPU driver", OPTIONAL, "none: training runs on the CPU")


def findings() -> Iterator[Finding]:
    """Yield what is found, in the order of the report."""
    yield find_python()
    yield find_framework()
    if not has_torch():
        yield find_package("gluoncv")
    yield find_torch()
    engine = find_engine()
    yield engine
    if engine.state == OK:
        yield from find_libraries()
    yield find_compressors()
    yield find_compiler()
    yield find_package("matplotlib")
    yield find_package("rich")
    yield find_loopback()
    yield find_images()
    yield find_driver()
