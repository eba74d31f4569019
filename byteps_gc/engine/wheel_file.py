"""Write wheels (PyPA's binary distribution format) with the library ``wheel``."""

from pathlib import Path
import sysconfig
import tempfile
from typing import Mapping
import zipfile


def tag() -> str:
    """Return the wheels' tag: this machine's platform, any Python 3."""
    return "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def name(project: str, version: str) -> str:
    """Return the file name of a project's wheel."""
    return f"{project}-{version}-{tag()}.whl"


def info_folder(project: str, version: str) -> str:
    """Return the folder in a wheel for what describes the project."""
    return f"{project}-{version}.dist-info"


def write(folder: Path, project: str, version: str, metadata: str, files: Mapping[str, bytes]) -> Path:
    """Write a project's wheel to a folder and return its path. The file appears complete or not at all.

    metadata: the text of METADATA. files: contents by path in the wheel.
    """
    from wheel.wheelfile import WheelFile  # here, so that doctor runs without it

    info = info_folder(project, version)
    about = f"Wheel-Version: 1.0\nGenerator: byteps_gc\nRoot-Is-Purelib: false\nTag: {tag()}\n"
    contents = {**files, f"{info}/METADATA": metadata.encode(), f"{info}/WHEEL": about.encode()}
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / name(project, version)
    with tempfile.TemporaryDirectory(dir=str(folder), prefix="partial-") as partial:
        finished = Path(partial, wheel.name)
        with WheelFile(str(finished), "w") as archive:
            for path, content in contents.items():
                member = zipfile.ZipInfo(path)
                member.external_attr = 0o100644 << 16
                archive.writestr(member, content, zipfile.ZIP_DEFLATED)
        finished.replace(wheel)
    return wheel
