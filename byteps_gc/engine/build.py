"""The engine's wheel: built once for a key of everything that goes into it, then kept in a cache."""

import contextlib
import hashlib
import importlib.util
import json
import os
from pathlib import Path
import platform
import shutil
import sysconfig
import tempfile
import time
from typing import Callable, Iterable, Optional

from byteps_gc import env, toolchain
from byteps_gc.engine import compile as compiling
from byteps_gc.engine import fixups as fixing
from byteps_gc.engine import source as sources
from byteps_gc.errors import EngineError
from byteps_gc.toolchain import compiler, locked

ENGINE = Path(__file__).parent
PACKAGES = ("byteps", "byteps/common", "byteps/mxnet", "byteps/server")
MXNET_DISTRIBUTIONS = ("mxnet", "mxnet-cu112")


def mxnet_package() -> Path:
    """The folder of the installed MXNet package, found without importing it."""
    spec = importlib.util.find_spec("mxnet")
    if spec is None or not spec.submodule_search_locations:
        raise EngineError("MXNet is not installed; pip install mxnet==1.9.1 (CPU) or mxnet-cu112==1.9.1 (GPU)")
    return Path(list(spec.submodule_search_locations)[0])


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
    """A hash of what is compiled, and of the compiler, MXNet and the device."""
    parts = [sources_key(fixups), compiler(), mxnet_version(), platform.machine(), *platform.libc_ver()]
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
    mxnet = mxnet_package()
    name = key(device, fixups)
    wheel = cache / name / wheel_name(device, name)
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
            finished = folder / "wheel"
            finished.mkdir()
            about = {"device": device.name, "key": name, "sources": sources_key(fixups)}
            about["fixups"] = [fixup.name for fixup in fixups]
            about.update(compiler=work.version, mxnet=mxnet_version(), released=sources.BYTEPS.version)
            pack(tree, finished / wheel.name, version(device, name), about)
            if wheel.parent.exists():
                shutil.rmtree(wheel.parent)
            finished.replace(wheel.parent)
        finally:
            remove(folder)
    return wheel


def remove(folder: Path) -> None:
    """Remove a folder in which a compiler that has just been ended may still make a file."""
    deadline = time.monotonic() + 5
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)


def version(device: compiling.Device, name: str) -> str:
    """The wheel's version: the release's, and in its local part our mark, the device and the key."""
    return f"{sources.BYTEPS.version}+gc.{device.name}.{name}"


def platform_tag() -> str:
    """The wheel's platform: this machine's, for any Python 3."""
    return "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def wheel_name(device: compiling.Device, name: str) -> str:
    """The wheel's file name."""
    return f"byteps-{version(device, name)}-{platform_tag()}.whl"


def pack(tree: Path, wheel: Path, release: str, about: dict) -> None:
    """Write a wheel of BytePS's MXNet packages, the two libraries and ``byteps/gc_build.json``."""
    from wheel.wheelfile import WheelFile

    info = f"byteps-{release}.dist-info"
    with WheelFile(str(wheel), "w") as archive:
        for package in PACKAGES:
            for file in sorted((tree / package).iterdir()):
                if file.suffix in (".py", ".so"):
                    archive.write(str(file), f"{package}/{file.name}")
        archive.writestr("byteps/gc_build.json", json.dumps(about, indent=2) + "\n")
        for one in sources.RELEASES:
            for name in one.licenses:
                archive.write(str(tree / one.place / name), f"{info}/licenses/{one.contents.replace(' ', '-')}/{name}")
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: byteps\nVersion: {release}\n"
            "License: Apache-2.0; libzmq: LGPL-3.0 with static linking exception; libsodium: ISC\n"
            "Summary: BytePS's parameter server for MXNet, with byteps_gc's fix-ups\n"
            "Home-page: https://github.com/bytedance/byteps\nRequires-Python: >=3.8\n",
        )
        archive.writestr(
            f"{info}/WHEEL",
            f"Wheel-Version: 1.0\nGenerator: byteps_gc\nRoot-Is-Purelib: false\nTag: {platform_tag()}\n",
        )
