"""The engine's wheel: built once for a key of everything that goes into it, then kept in a cache."""

import contextlib
import hashlib
import importlib.util
import json
import os
from pathlib import Path
import platform
import shutil
import tempfile
import time
from typing import Callable, Iterable, Optional

from byteps_gc import env, toolchain
from byteps_gc.engine import compile as compiling
from byteps_gc.engine import fixups as fixing
from byteps_gc.engine import source as sources
from byteps_gc.engine import wheel_file
from byteps_gc.errors import EngineError
from byteps_gc.toolchain import compiler, locked

ENGINE = Path(__file__).parent
PACKAGES = ("byteps", "byteps/common", "byteps/core", "byteps/server")
SHIM = ("byteps/mxnet",)
MXNET_DISTRIBUTIONS = ("mxnet", "mxnet-cu112")


def find_mxnet() -> Optional[Path]:
    """Return the folder of the installed MXNet package, found without importing it, or None."""
    spec = importlib.util.find_spec("mxnet")
    return Path(list(spec.submodule_search_locations)[0]) if spec and spec.submodule_search_locations else None


def mxnet_package() -> Path:
    """Return the folder of the installed MXNet package; :class:`EngineError` if there is none."""
    folder = find_mxnet()
    if folder is None:
        raise EngineError("MXNet is not installed; install byteps_gc with its extra mxnet-cpu or mxnet-cuda")
    return folder


def mxnet_version() -> str:
    """Name and version of the installed MXNet distribution."""
    from importlib import metadata

    for name in MXNET_DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{name}=={metadata.version(name)}"
    return "mxnet of unknown version"


def digest(parts: Iterable[str]) -> str:
    """The first 12 hex digits of a hash of some texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def sources_key(fixups: Iterable[fixing.Fixup]) -> str:
    """A hash of what is compiled: the releases, the fix-ups and our files. Engines that share it work together."""
    parts = [*(release.sha256 for release in sources.RELEASES), *(fixup.name for fixup in fixups)]
    for file in [Path(toolchain.__file__), *sorted(ENGINE.rglob("*"))]:
        if file.suffix in (".py", ".cc", ".h", ".fix"):
            parts += [file.relative_to(ENGINE.parent).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()]
    return digest(parts)


def key(device: compiling.Device, fixups: Iterable[fixing.Fixup]) -> str:
    """Return a hash of what is compiled, of the compiler and the device, and of MXNet if it is installed."""
    parts = [sources_key(fixups), compiler(), platform.machine(), *platform.libc_ver()]
    parts += [mxnet_version()] if find_mxnet() else []
    return digest([*parts, repr(device).replace(str(ENGINE), "")])


def build(
    device: compiling.Device = compiling.HOST,
    without: Iterable[str] = (),
    source: Optional[Path] = None,
    cache: Optional[Path] = None,
    jobs: Optional[int] = None,
    progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Return the path of the engine's wheel, building it if the cache has none for its key.

    ``without`` names fix-ups to leave out, ``source`` is a copy of the release
    for machines without a package index, ``cache`` the folder to keep wheels
    and objects in, ``jobs`` how many files to compile at a time. A finished
    wheel appears in the cache in one step; an interrupted build leaves nothing
    but compiled objects, each of them whole. Errors: :class:`EngineError`.
    """
    cache = cache or env.cache_folder() / "engine"
    fixups = fixing.select(without)
    mxnet = find_mxnet()
    name = key(device, fixups)
    wheel = cache / name / wheel_file.name("byteps", version(device, name))
    if wheel.is_file():
        return wheel
    with locked(cache):
        if wheel.is_file():
            return wheel
        folder = Path(tempfile.mkdtemp(dir=cache, prefix="build-"))
        try:
            tree = sources.unpack(sources.fetch(cache, source), folder)
            fixing.apply(tree, fixups)
            work = compiling.Build(tree, cache / "objects", jobs or os.cpu_count() or 1, progress)
            compiling.build_libraries(work, device, mxnet)
            about = {"device": device.name, "key": name, "sources": sources_key(fixups)}
            about["fixups"] = [fixup.name for fixup in fixups]
            about.update(compiler=work.version, released=sources.BYTEPS.version)
            about.update(mxnet=mxnet_version() if mxnet else None, glibc=os.confstr("CS_GNU_LIBC_VERSION"))
            packages = PACKAGES + SHIM if mxnet else PACKAGES
            finished = pack(tree, packages, folder / "wheel", version(device, name), about)
            if wheel.parent.exists():
                shutil.rmtree(wheel.parent)
            finished.parent.replace(wheel.parent)
        finally:
            remove(folder)
    return wheel


def copy(wheel: Path, folder: Path) -> Path:
    """Copy an engine's wheel to a folder, in place of an earlier one for the same device; return its path there."""
    device = wheel.name.partition("+gc.")[2].partition(".")[0]
    for earlier in folder.glob(f"byteps-*+gc.{device}.*.whl"):
        earlier.unlink()
    return Path(shutil.copy(str(wheel), str(folder)))


def remove(folder: Path) -> None:
    """Remove a folder in which a compiler that has just been ended may still make a file."""
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)


def version(device: compiling.Device, name: str) -> str:
    """The wheel's version: the release's, and in its local part our mark, the device and the key."""
    return f"{sources.BYTEPS.version}+gc.{device.name}.{name}"


def pack(tree: Path, packages: Iterable[str], folder: Path, release: str, about: dict) -> Path:
    """Write a wheel of BytePS's packages, with their libraries and ``byteps/gc_build.json``; return its path."""
    found = (file for package in packages for file in sorted((tree / package).iterdir()))
    files = {file.relative_to(tree).as_posix(): file.read_bytes() for file in found if file.suffix in (".py", ".so")}
    files["byteps/gc_build.json"] = (json.dumps(about, indent=2) + "\n").encode()
    info = wheel_file.info_folder("byteps", release)
    for one in sources.RELEASES:
        for name in one.licenses:
            path = f"{info}/licenses/{one.contents.replace(' ', '-')}/{name}"
            files[path] = (tree / one.place / name).read_bytes()
    metadata = (
        f"Metadata-Version: 2.1\nName: byteps\nVersion: {release}\n"
        "License: Apache-2.0; libzmq: LGPL-3.0 with static linking exception; libsodium: ISC\n"
        "Summary: BytePS's parameter server, with byteps_gc's fix-ups\n"
        "Home-page: https://github.com/bytedance/byteps\nRequires-Python: >=3.8\n"
    )
    return wheel_file.write(folder, "byteps", release, metadata, files)
