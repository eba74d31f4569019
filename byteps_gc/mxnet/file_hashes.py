"""The SHA-256 of a checkpoint's files: made while they are written, and compared before they are loaded.

NAME.json holds them, by ending, those of NAME.params and NAME.states and its own, of what it holds but that. It must
be, to the byte, what :func:`rendered` makes of it.
"""

from concurrent.futures import ThreadPoolExecutor
import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, Optional

from byteps_gc.errors import UserError
from byteps_gc.mxnet import array_file

KEY = "sha256"  # of the hashes in NAME.json
CHUNK = 1 << 20  # bytes


def written(file: Path, write: Callable[[str], None]) -> str:
    """Have ``write``, which is given a name, write a file; returns the SHA-256 of what it wrote.

    It writes to a pipe, because MXNet ignores errors when it closes a file: on
    a full disk it leaves a short one. Raises OSError for what the disk does not take.
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
    """Write to a file what comes through a pipe, to its end, and return its SHA-256."""
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


def check_file(file: Path, suffix: str, content: Optional[bytes] = None) -> None:
    """Compare a checkpoint's file with the SHA-256 in the NAME.json next to it.

    suffix: which of the three it is; content: what was read of it.
    Parameters or states without a NAME.json are others': parameters must be a
    file of MXNet's arrays, states must not be empty (their structure is checked
    when they are loaded). Raises :class:`UserError` for a file that is damaged.
    """
    progress = file.with_suffix(".json")
    if suffix == ".json":
        read_progress(file)
        return
    try:
        digest = digest_of(file) if content is None else hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    if digest == hashlib.sha256().hexdigest():
        raise UserError(f"{file} is damaged: it is empty; {advice(progress)}")
    if os.path.isfile(progress):
        if read_progress(progress)[KEY].get(suffix) != digest:
            raise UserError(
                f"{file} is damaged: its SHA-256 differs from the one in {progress.name}; {advice(progress)}"
            )
    elif suffix == ".params":
        check_arrays(file, content)


def check_arrays(file: Path, content: Optional[bytes] = None) -> None:
    """Raise :class:`UserError` unless a file, of which ``content`` was read, is one of MXNet's arrays, and whole."""
    with open(file, "rb") if content is None else io.BytesIO(content) as stream:
        fault = array_file.fault(stream)
    if fault:
        raise UserError(f"{file} is damaged, or is not a file of MXNet's arrays: {fault}")


def advice(progress: Path) -> str:
    """What a user can do about a damaged checkpoint, for messages."""
    return f"remove {progress} to continue from an earlier checkpoint with --resume, or name another one"


def digest_of(file: Path) -> str:
    """The SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for part in iter(lambda: stream.read(CHUNK), b""):
            digest.update(part)
    return digest.hexdigest()


def rendered(progress: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """The text of a NAME.json: progress and hashes, its own among them."""
    own = hashlib.sha256(json.dumps({**progress, KEY: hashes}).encode()).hexdigest()
    return json.dumps({**progress, KEY: {**hashes, ".json": own}}) + "\n"


def read_progress(file: Path) -> Dict[str, Any]:
    """What a NAME.json holds; :class:`UserError` if it is damaged: it must be what :func:`rendered` makes of it."""
    try:
        text = file.read_bytes().decode()
        progress = json.loads(text)
        hashes = progress.pop(KEY, None)
        good = isinstance(hashes, dict) and hashes.pop(".json", None) and text == rendered(progress, hashes)
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError, RecursionError):  # no JSON, or no dict
        good, hashes = False, {}
    if hashes is None:
        raise UserError(
            f"{file} holds no SHA-256: it is damaged, or was written by an older version of byteps_gc; {advice(file)}"
        )
    if not good:
        raise UserError(f"{file} is damaged: its SHA-256 differs from the one that it holds; {advice(file)}")
    return {**progress, KEY: hashes}


def read_checked(file: Path, suffix: str) -> bytes:
    """The content of a checkpoint's file, which :func:`check_file` accepts."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    check_file(file, suffix, content)
    return content
