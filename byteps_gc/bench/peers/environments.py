"""The environments of the peers: those without this package are made once, and kept in the cache."""

import json
import os
from pathlib import Path
import shutil
import subprocess
from typing import Callable, Dict, List, Optional, Set

import byteps_gc
from byteps_gc import env
from byteps_gc.bench.peers.jobs import Places
from byteps_gc.bench.stock import engine
from byteps_gc.engine import build
from byteps_gc.errors import UserError
from byteps_gc.processes import last_line

# PyPI's PyTorch of these versions brings all it needs, and of these Pythons there are wheels of all.
PYTHONS = ("3.10", "3.9", "3.8")
PACKAGES = {
    "pytorch": (["--no-deps", "torch==1.12.1", "typing_extensions", "numpy==1.22.4"],),
    "horovod": (
        ["mxnet==1.9.1", "numpy==1.22.4", "cmake<3.30", "setuptools<70", "wheel", "packaging"],
        ["cffi", "cloudpickle", "psutil", "pyyaml"],
        ["--no-build-isolation", "--no-deps", "horovod==0.28.1"],
    ),
}
# Variables for Horovod's build.
BUILD = {
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITH_MXNET": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_PYTORCH": "1",
    "HOROVOD_WITHOUT_MPI": "1",
}
DISTRIBUTIONS = {"pytorch": "torch", "horovod": "horovod", "torch": "torch"}
VERSION = "import sys; from importlib import metadata; print(metadata.version(sys.argv[1]))"
TORCH = Path(byteps_gc.__file__).parent.parent / ".venv-torch" / "bin" / "python"
HAS_HOOK = "import byteps_gc.torch; from byteps_gc.core import engine; engine.library()"


def python() -> str:
    """A Python that the peers have wheels for; :class:`UserError` if there is none."""
    for version in PYTHONS:
        homes = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        for candidate in [*homes, shutil.which(f"python{version}")]:
            if candidate and succeeds([candidate, "-c", "import ctypes, ssl, venv, zlib"]):
                return str(candidate)
    raise UserError(
        f"PyTorch and Horovod need Python {' or '.join(PYTHONS)}; install one, or choose peers without them by --peer"
    )


def succeeds(command: List[object]) -> bool:
    """Whether a command can be run and ends well."""
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return subprocess.run([*map(str, command)], **quiet).returncode == 0
    except OSError:
        return False


def environment(name: str, progress: Callable[[str], None]) -> Path:
    """The Python of the environment that a peer lives in; :class:`UserError` if it cannot be made."""
    folder = env.cache_folder() / "peers" / name
    done, interpreter = folder / "packages.json", folder / "bin" / "python"
    wanted = json.dumps(PACKAGES[name])
    if done.is_file() and done.read_text() == wanted:
        return interpreter
    progress(f"installing {name}")
    shutil.rmtree(str(folder), ignore_errors=True)
    commands = [[python(), "-m", "venv", str(folder)]]
    commands += [[str(interpreter), "-m", "pip", "install", "-q", *words] for words in PACKAGES[name]]
    path = os.pathsep.join([str(interpreter.parent), os.environ.get("PATH", os.defpath)])
    options = dict(env={**os.environ, **BUILD, "PATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for command in commands:
        made = subprocess.run(command, text=True, **options)
        if made.returncode:
            last = last_line(made.stdout)
            raise UserError(f"cannot install {name}: {last}; choose peers without it by --peer")
    done.write_text(wanted)
    return interpreter


def with_torch(python: Optional[Path]) -> Path:
    """Return a Python with PyTorch and this package: this one or that of .venv-torch; :class:`UserError` without."""
    place = Path(shutil.which(str(python or TORCH)) or python or TORCH).absolute()
    hint = "make an environment with ./scripts/setup.sh --torch, or pass --torch-python PATH"
    if not succeeds([place, "-c", "import torch"]):
        raise UserError(f"{place} cannot import torch; {hint}")
    if not succeeds([place, "-c", HAS_HOOK]):
        raise UserError(f"{place} has torch, but not byteps_gc.torch with its engine; {hint}")
    return place


def prepare(needs: Set[str], folder: Path, progress: Callable[[str], None], python: Optional[Path] = None) -> Places:
    """What contestants need; ``folder``: for what is not kept; ``python``: with PyTorch, see :func:`with_torch`."""
    found: Dict[str, Optional[Path]] = {}
    if "torch" in needs:
        found["torch"] = with_torch(python)
    if "released" in needs:
        progress("stock BytePS")
        found["released"] = engine.unpack(folder / "released", progress)
    for name in sorted(needs & set(PACKAGES)):
        found[name] = environment(name, progress)
    return Places(**found)


def versions(places: Places, mxnet: bool = True) -> Dict[str, str]:
    """Of the peers that have an environment, and of MXNet."""
    interpreters = {name: getattr(places, name) for name in DISTRIBUTIONS}
    found = {"mxnet": build.mxnet_version().rpartition("=")[2]} if mxnet else {}
    for name, interpreter in interpreters.items():
        if interpreter:
            command = [str(interpreter), "-c", VERSION, DISTRIBUTIONS[name]]
            found[name] = subprocess.check_output(command, text=True).strip()
    return found
