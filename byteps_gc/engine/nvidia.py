"""CUDA, cuDNN and NCCL from NVIDIA's wheels, so that a GPU host needs nothing installed but its driver.

The wheels hold headers and versioned libraries in ``nvidia/*/include`` and
``nvidia/*/lib``: the engine is compiled against a folder of links to them, and
MXNet, which looks for libraries next to its own, finds links to them there.
"""

import hashlib
import importlib.util
import os
from pathlib import Path
import shutil
import tempfile
from typing import Iterator, List

from byteps_gc.errors import EngineError

# what the linker asks for, and which of the wheels' libraries it is
LINKED = {"libcudart.so": "libcudart.so.11.0", "libnccl.so": "libnccl.so.2"}
# what mxnet-cu112's library names, in addition to the driver's libcuda.so.1
NEEDED = (
    *("libcublas.so.11", "libcudart.so.11.0", "libcudnn.so.8", "libcufft.so.10", "libcurand.so.10"),
    *("libcusolver.so.11", "libnccl.so.2", "libnvToolsExt.so.1", "libnvrtc.so.11.2"),
)


def parts() -> List[Path]:
    """The folders of the installed wheels; :class:`EngineError` if there are none."""
    spec = importlib.util.find_spec("nvidia")
    found = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
    if not found:
        raise EngineError("NVIDIA's wheels are not installed; install them with ./scripts/setup.sh --cuda")
    return sorted(folder for place in found for folder in place.iterdir() if (folder / "lib").is_dir())


def libraries() -> List[Path]:
    """The wheels' libraries; :class:`EngineError` names those that MXNet or the engine needs and that are missing."""
    found = [file for folder in parts() for file in sorted((folder / "lib").glob("lib*.so.*"))]
    missing = sorted(set(NEEDED) - {file.name for file in found})
    if missing:
        raise EngineError(f"NVIDIA's wheels lack {', '.join(missing)}; install them with ./scripts/setup.sh --cuda")
    return found


def headers() -> Iterator[Path]:
    """The wheels' headers, and folders of them."""
    for folder in parts():
        for file in sorted((folder / "include").glob("*")):
            if not file.name.startswith("__"):
                yield file


def toolkit(cache: Path) -> Path:
    """A folder with ``include`` and ``lib`` to compile and link against, made in ``cache`` of links to the wheels."""
    files = {f"include/{file.name}": file for file in headers()}
    found = {file.name: file for file in libraries()}
    files.update({f"lib/{name}": found[target] for name, target in LINKED.items()})
    key = hashlib.sha256("".join(f"{name} {file}\n" for name, file in sorted(files.items())).encode()).hexdigest()
    folder = cache / f"cuda-{key[:12]}"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=cache, prefix="cuda-"))
        for name, file in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).symlink_to(file)
        try:
            partial.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(partial)
    return folder


def expose(mxnet: Path) -> int:
    """Link the wheels' libraries next to MXNet's own in its package's folder; return how many."""
    found = libraries()
    for file in found:
        link = mxnet / file.name
        if link.is_symlink():
            link.unlink()
        link.symlink_to(os.path.relpath(file, mxnet))
    return len(found)
