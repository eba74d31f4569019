"""BytePS's source release: pinned by its hash, fetched with pip, never vendored."""

import hashlib
from pathlib import Path
import sys
import tarfile
import tempfile
from typing import Optional

from byteps_gc.errors import EngineError
from byteps_gc.processes import last_line, output_of

VERSION = "0.2.5.post15"
SHA256 = "9d6a3c5be4c4b5a172739744bb32725c433f9a9f63794e1885e7376ff4eea99f"
TARBALL = f"byteps-{VERSION}.tar.gz"


def verify(tarball: Path) -> Path:
    """Return ``tarball`` if it is the pinned release; :class:`EngineError` otherwise."""
    if not tarball.is_file():
        raise EngineError(f"file {tarball} does not exist; expected BytePS's source release {TARBALL}")
    digest = hashlib.sha256(tarball.read_bytes()).hexdigest()
    if digest != SHA256:
        raise EngineError(f"{tarball} has sha256 {digest}, but {TARBALL} has {SHA256}")
    return tarball


def fetch(cache: Path, source: Optional[Path] = None) -> Path:
    """Return the path of the verified release in ``cache``.

    ``source`` is a copy of the tarball for machines without a package index.
    The file appears in the cache complete or not at all.
    """
    if source is not None:
        return verify(source)
    tarball = cache / TARBALL
    if tarball.is_file():
        return verify(tarball)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(f"byteps=={VERSION} --hash=sha256:{SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--no-deps", "--no-binary", "byteps", "--dest", folder, "--requirement", str(requirements)]
        status, text = output_of(command)
        if status:
            last = last_line(text, "no error output")
            raise EngineError(f"cannot download byteps=={VERSION}: {last}; pass a copy with engine build --source")
        verify(Path(folder, TARBALL)).replace(tarball)
    return tarball


def unpack(tarball: Path, folder: Path) -> Path:
    """Unpack the release into ``folder`` and return the root of its source."""
    with tarfile.open(tarball) as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    return folder / f"byteps-{VERSION}"
