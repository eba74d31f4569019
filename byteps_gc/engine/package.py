"""byteps_gc's own wheel, with the native compressors compiled for every kind of processor."""

from importlib import metadata
from pathlib import Path
from typing import Dict

import byteps_gc
from byteps_gc.engine import wheel_file
from byteps_gc.errors import EngineError
from byteps_gc.native import build as native

PACKAGE = Path(byteps_gc.__file__).parent


def installed() -> metadata.Distribution:
    """Return the installed distribution, as pip has installed it; :class:`EngineError` if there is none."""
    for found in metadata.distributions(name="byteps_gc"):
        if found.read_text("METADATA"):
            return found
    raise EngineError("byteps_gc is not installed in this Python's environment; run ./scripts/setup.sh")


def package_files() -> Dict[str, bytes]:
    """Return this package's files, without compiled ones."""
    compiled = ("__pycache__", native.PRECOMPILED.name)
    files = (file for file in sorted(PACKAGE.rglob("*")) if file.is_file())
    paths = [file.relative_to(PACKAGE) for file in files]
    kept = (path for path in paths if not set(path.parts).intersection(compiled))
    return {f"{PACKAGE.name}/{path.as_posix()}": (PACKAGE / path).read_bytes() for path in kept}


def libraries() -> Dict[str, bytes]:
    """Return the native compressors of both instruction sets, compiled where no library of these sources is found."""
    folder = native.PRECOMPILED.relative_to(PACKAGE.parent).as_posix()
    return {f"{folder}/{native.precompiled_name(isa)}": native.build(isa).read_bytes() for isa in native.ISAS}


def build(folder: Path) -> Path:
    """Write the wheel to a folder and return its path; :class:`EngineError` if the libraries cannot be compiled."""
    about = installed()
    info = wheel_file.info_folder("byteps_gc", about.version)
    files = {**package_files(), **libraries()}
    for name in ("entry_points.txt", "licenses/LICENSE", "LICENSE"):
        text = about.read_text(name)
        if text:
            files[f"{info}/{name}"] = text.encode()
    return wheel_file.write(folder, "byteps_gc", about.version, about.read_text("METADATA") or "", files)
