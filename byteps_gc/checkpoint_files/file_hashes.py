"""The SHA-256 of a checkpoint's files: computed while they are written, and compared before they are loaded.

NAME.json holds the SHA-256 of NAME.params, NAME.states and of itself without that entry. It must be, to the byte, what
:func:`rendered` returns for its values.
"""

from concurrent.futures import ThreadPoolExecutor
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional

from byteps_gc.checkpoint_files import array_file
from byteps_gc.errors import UserError

KEY = "sha256"  # of the hashes in NAME.json
CHUNK = 1 << 20  # bytes


def written(file: Path, write: Callable[[str], None]) -> str:
    """Write a file by ``write(name)``; return the SHA-256 of what it wrote.

    The name is that of a pipe, because MXNet ignores errors when it closes a file, and leaves a short one on a full
    disk. Raises OSError for what cannot be written.
    """
    reader, writer = os.pipe()
    with ThreadPoolExecutor(1) as pool:
        copied = pool.submit(poured, reader, file)
        try:
            write(f"/proc/self/fd/{writer}")
        finally:
            os.close(writer)
        return copied.result()


def poured(reader: int, file: Path) -> str:
    """Copy a pipe to a file until its end; return the SHA-256."""
    digest = hashlib.sha256()
    with open(reader, "rb", buffering=0) as source:
        try:
            with open(file, "wb") as target:
                for part in iter(lambda: source.read(CHUNK), b""):
                    digest.update(part)
                    target.write(part)
        except OSError:
            while source.read(CHUNK):  # whoever writes must not wait
                pass
            raise
    return digest.hexdigest()


class FileChecker:
    """Checks files of checkpoints against the SHA-256 in the NAME.json next to each; reads each NAME.json once."""

    def __init__(self) -> None:
        self._progress: Dict[Path, bytes] = {}

    def check(self, file: Path, suffix: str, content: Optional[bytes] = None) -> None:
        """Check a file with one of a checkpoint's suffixes, or the ``content`` that was read from it.

        Parameters or states without a NAME.json are not ours: parameters must be a file of MXNet's arrays, states must
        not be empty (loading them checks their structure). Raises :class:`UserError` for a file that is damaged.
        """
        progress = file.with_suffix(".json")
        if suffix == ".json":
            parse_progress(file, self._read_progress(file))
            return
        try:
            digest = digest_of(file) if content is None else hashlib.sha256(content).hexdigest()
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror}") from None
        if digest == hashlib.sha256().hexdigest():
            raise UserError(f"{file} is damaged: it is empty; {advice(progress)}")
        if os.path.isfile(progress):
            if parse_progress(progress, self._read_progress(progress))[KEY].get(suffix) != digest:
                raise UserError(
                    f"{file} is damaged: its SHA-256 differs from the one in {progress.name}; {advice(progress)}"
                )
        elif suffix == ".params":
            check_arrays(file, content)

    def read(self, file: Path, suffix: str) -> bytes:
        """Return the content of a file after checking it."""
        content = self._read_progress(file) if suffix == ".json" else read_bytes(file)
        self.check(file, suffix, content)
        return content

    def _read_progress(self, file: Path) -> bytes:
        """Return the content of a NAME.json."""
        if file not in self._progress:
            self._progress[file] = read_bytes(file)
        return self._progress[file]


def check_arrays(file: Path, content: Optional[bytes] = None) -> None:
    """Raise :class:`UserError` unless a file, or its ``content``, is a complete file of MXNet's arrays."""
    with open(file, "rb") if content is None else io.BytesIO(content) as stream:
        fault = array_file.fault(stream)
    if fault:
        raise UserError(f"{file} is damaged, or is not a file of MXNet's arrays: {fault}")


def advice(progress: Path) -> str:
    """Return what a user can do about a damaged checkpoint, for messages."""
    return f"remove {progress} to continue from an earlier checkpoint with --resume, or name another one"


def digest_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for part in iter(lambda: stream.read(CHUNK), b""):
            digest.update(part)
    return digest.hexdigest()


def rendered(progress: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """Return the text of a NAME.json: progress and hashes, including its own."""
    own = hashlib.sha256(json.dumps({**progress, KEY: hashes}).encode()).hexdigest()
    return json.dumps({**progress, KEY: {**hashes, ".json": own}}) + "\n"


def read_bytes(file: Path) -> bytes:
    """Return the content of a file; :class:`UserError` if it cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None


def read_progress(file: Path) -> Dict[str, Any]:
    """Read a NAME.json; see :func:`parse_progress`."""
    return parse_progress(file, read_bytes(file))


def parse_progress(file: Path, content: bytes) -> Dict[str, Any]:
    """Return the values in the content of a NAME.json; :class:`UserError` unless :func:`rendered` would write it."""
    try:
        text = content.decode()
        progress = json.loads(text)
        hashes = progress.pop(KEY, None)
        good = isinstance(hashes, dict) and hashes.pop(".json", None) and text == rendered(progress, hashes)
    except (ValueError, TypeError, AttributeError, RecursionError):  # no JSON, or no dict
        good, hashes = False, {}
    if hashes is None:
        raise UserError(
            f"{file} holds no SHA-256: it is damaged, or was written by an older version of byteps_gc; {advice(file)}"
        )
    if not good:
        raise UserError(f"{file} is damaged: its SHA-256 differs from the one that it holds; {advice(file)}")
    return {**progress, KEY: hashes}
