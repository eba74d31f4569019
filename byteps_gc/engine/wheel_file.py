"""Write wheels: archives of a package's files with their hashes (PyPA's binary distribution format)."""

import base64
import hashlib
from pathlib import Path
import sysconfig
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


def line(path: str, content: bytes) -> str:
    """Return a file's line in RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(content)}\n"


def write(folder: Path, project: str, version: str, metadata: str, files: Mapping[str, bytes]) -> Path:
    """Write a project's wheel to a folder and return its path.

    metadata: the text of METADATA. files: contents by path in the wheel. Equal arguments give equal wheels. The file
    appears complete or not at all.
    """
    info = info_folder(project, version)
    about = f"Wheel-Version: 1.0\nGenerator: byteps_gc\nRoot-Is-Purelib: false\nTag: {tag()}\n"
    contents = dict(files)
    contents[f"{info}/METADATA"], contents[f"{info}/WHEEL"] = metadata.encode(), about.encode()
    record = "".join(line(path, content) for path, content in contents.items()) + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / name(project, version)
    partial = wheel.with_suffix(".partial")
    with zipfile.ZipFile(str(partial), "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in {**contents, f"{info}/RECORD": record.encode()}.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = 0o100644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    partial.replace(wheel)
    return wheel
