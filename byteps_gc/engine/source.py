"""The source releases that the engine is built from: pinned by hash, fetched with pip, never vendored."""

from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import shutil
import sys
import tarfile
import tempfile
from typing import Optional, Tuple

from byteps_gc.errors import EngineError
from byteps_gc.processes import last_line, output_of

# Folders of the unpacked tree
LIBZMQ = "3rdparty/libzmq"
LIBSODIUM = "3rdparty/libsodium"


# A build backend that answers pip's question for name and version from PKG-INFO. pip asks before it keeps a source
# distribution; the release's own backend would need packages from the index and run code of the release.
BACKEND = """
import pathlib, sys

__legacy__ = sys.modules[__name__]


def prepare_metadata_for_build_wheel(folder, config_settings=None):
    text = pathlib.Path("PKG-INFO").read_text(encoding="utf-8")
    name, version = (text.split(f"\\n{field}: ")[1].split()[0] for field in ("Name", "Version"))
    info = pathlib.Path(folder, f"{name}-{version}.dist-info")
    info.mkdir()
    info.joinpath("METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return info.name
"""


@dataclass(frozen=True)
class Release:
    """A source distribution on the package index, pinned by its hash.

    ``contents`` is the library in it, ``licenses`` are the files with its
    terms. ``part`` is the folder that is unpacked (by default all), ``place``
    the folder in BytePS's tree where it is put.
    """

    name: str
    version: str
    sha256: str
    contents: str
    licenses: Tuple[str, ...]
    part: str = ""
    place: str = ""

    @property
    def root(self) -> str:
        """The name of the archive's only folder."""
        return f"{self.name}-{self.version}"

    @property
    def file(self) -> str:
        """The name of the archive."""
        return f"{self.root}.tar.gz"


BYTEPS = Release(
    "byteps",
    "0.2.5.post15",
    "9d6a3c5be4c4b5a172739744bb32725c433f9a9f63794e1885e7376ff4eea99f",
    contents="BytePS 0.2.5.post15",
    licenses=("LICENSE",),
)
PYZMQ = Release(
    "pyzmq",
    "25.1.2",
    "93f1aa311e8bb912e34f004cf186407a4e90eec4f0ecc0efd26056bf7eda0226",
    contents="libzmq 4.3.4",
    licenses=("COPYING", "COPYING.LESSER"),
    part="bundled/zeromq",
    place=LIBZMQ,
)
PYNACL = Release(
    "pynacl",
    "1.6.2",
    "018494d6d696ae03c7e656e5e74cdfd8ea1326962cc401bcf018f1ed8436811c",
    contents="libsodium 1.0.20",
    licenses=("LICENSE",),
    part="src/libsodium",
    place=LIBSODIUM,
)
RELEASES = (BYTEPS, PYZMQ, PYNACL)


def verify(archive: Path, release: Release) -> Path:
    """Return ``archive`` if it is the pinned release; :class:`EngineError` otherwise."""
    if not archive.is_file():
        raise EngineError(f"file {archive} ({release.contents}, sha256 {release.sha256}) does not exist")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != release.sha256:
        raise EngineError(f"{archive} has sha256 {digest}, but {release.file} has {release.sha256}")
    return archive


def download(release: Release, cache: Path) -> None:
    """Fetch one release with pip. The file appears in the cache complete or not at all."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"{release.name}=={release.version} --hash=sha256:{release.sha256}\n")
        backend = Path(folder, "backend", "setuptools")
        backend.mkdir(parents=True)
        (backend / "__init__.py").touch()
        (backend / "build_meta.py").write_text(BACKEND)
        paths = [str(backend.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = dict(os.environ, PYTHONPATH=os.pathsep.join(paths), SETUPTOOLS_USE_DISTUTILS="stdlib")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary", release.name, "--use-pep517", "--no-build-isolation"]
        status, text = output_of([*command, "--dest", folder, "--requirement", str(requirements)], env=variables)
        if status:
            last = last_line(text, "no error output")
            raise EngineError(
                f"cannot download {release.file}: {last}; pass a folder with the archives to engine build --source"
            )
        verify(Path(folder, release.file), release).replace(cache / release.file)


def fetch(cache: Path, source: Optional[Path] = None) -> Path:
    """Return the folder with the verified archives of all releases: ``cache``, or ``source``.

    ``source`` is a folder with copies of them for machines without a package index.
    """
    for release in RELEASES:
        if source is None and not (cache / release.file).is_file():
            download(release, cache)
        verify((source or cache) / release.file, release)
    return source or cache


def extract(archive: tarfile.TarFile, folder: Path, part: str) -> None:
    """Unpack what stands under ``part`` in the archive."""
    members = [member for member in archive.getmembers() if f"{member.name}/".startswith(f"{part}/")]
    if hasattr(tarfile, "data_filter"):
        archive.extractall(folder, members, filter="data")
    else:
        archive.extractall(folder, members)


def unpack(archives: Path, folder: Path) -> Path:
    """Unpack the releases into ``folder`` and return the root of BytePS's source, with the libraries in it."""
    tree = folder / BYTEPS.root
    for release in RELEASES:
        part = "/".join(filter(None, (release.root, release.part)))
        with tarfile.open(archives / release.file) as archive:
            extract(archive, folder, part)
        if release.place:
            (folder / part).rename(tree / release.place)
    # As configure makes it. libzmq includes it, and is compiled without configure where libsodium is cached.
    builds = tree / LIBSODIUM / "builds" / "msvc"
    shutil.copy(str(builds / "version.h"), str(tree / LIBSODIUM / "src/libsodium/include/sodium"))
    return tree
