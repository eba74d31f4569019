"""A job's secret: the CURVE key pair that all its processes share.

It is a file of mode 600 with one line, the secret key in Z85 (40 characters). Every process finds it by
BYTEPS_GC_SECRET_FILE, uses the pair as server and as client, and accepts only clients with the same public key.
"""

import contextlib
import os
from pathlib import Path
import stat
import subprocess
import tempfile
from typing import Dict, Iterator, NamedTuple, Optional

from byteps_gc import env
from byteps_gc.errors import ClusterError

NAME = "secret"  # of the file in the folder of settings.sh, where run.sh looks for it
LENGTH = 40  # characters of a key in Z85
MODE = 0o600
# removes the folder $1 when its standard input ends
REMOVE = 'trap "" HUP INT TERM; read -r line; rm -rf -- "$1"'
COMMAND = "python -m byteps_gc secret"
OPEN = (
    "this job has no secret: whoever reaches its ports can read and change it;"
    f" make a secret with {COMMAND}, and copy it to all hosts"
)


class Keys(NamedTuple):
    """A key pair in Z85."""

    public: bytes
    secret: bytes


def make(file: Path) -> Path:
    """Write a new secret to a new file; :class:`ClusterError` if it exists or cannot be written."""
    key = new_key()
    try:
        handle = os.open(str(file), os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    except FileExistsError:
        raise ClusterError(f"{file} already exists; remove it to make a new secret", 2) from None
    except OSError as error:
        raise ClusterError(f"cannot write {file}: {error.strerror}", 2) from None
    try:
        with open(handle, "wb") as stream:
            stream.write(key + b"\n")
    except OSError as error:
        file.unlink()
        raise ClusterError(f"cannot write {file}: {error.strerror}", 2) from None
    return file


def new_key() -> bytes:
    """Return a new secret key in Z85."""
    import zmq  # here, so that doctor runs without it

    return zmq.curve_keypair()[1]


def in_memory(key: bytes) -> int:
    """Return a file descriptor with a secret that is in no folder; children inherit it where that is asked for."""
    try:
        handle = os.memfd_create(NAME)
        os.fchmod(handle, MODE)
        os.write(handle, key + b"\n")
    except OSError as error:
        raise ClusterError(f"cannot keep the secret in memory: {error.strerror}", 2) from None
    return handle


def load(file: Path) -> Keys:
    """Read a secret; :class:`ClusterError` if the file is missing, open to other users, or holds something else."""
    import zmq

    name = f"BYTEPS_GC_SECRET_FILE={file}"
    try:
        with open(file, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NONBLOCK)) as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(LENGTH + 2) if stat.S_ISREG(mode) else b""
    except OSError as error:
        raise ClusterError(f"{name}: cannot read the secret: {error.strerror}; make one with {COMMAND}", 2) from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ClusterError(f"{name}: other users may read the secret (mode {mode & 0o777:o}); run chmod 600 {file}", 2)
    key = text[:-1] if text.endswith(b"\n") else text
    try:
        return Keys(zmq.curve_public(key), key)
    except (ValueError, zmq.ZMQError):
        expected = f"expected one line of {LENGTH} characters, as {COMMAND} writes it"
        raise ClusterError(f"{name}: the file holds no secret; {expected}", 2) from None


def of_job() -> Optional[Keys]:
    """Return the key pair in BYTEPS_GC_SECRET_FILE; None if the variable is not set."""
    file = env.secret_file()
    return load(file) if file else None


@contextlib.contextmanager
def fresh() -> Iterator[Dict[str, str]]:
    """Make a secret for a job on this machine, in a private folder.

    Another process removes the folder at the end of the context or of this process, even if it is killed.
    Yields the variable by which the job's processes find the secret.
    """
    quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        folder = tempfile.mkdtemp(prefix="byteps_gc-secret-")  # its mode is 700
        words = ["sh", "-c", REMOVE, "sh", folder]
        remover = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True, **quiet)
    except OSError as error:
        raise ClusterError(f"cannot make a folder for the secret of this job: {error.strerror}", 2) from None
    try:
        yield {"BYTEPS_GC_SECRET_FILE": str(make(Path(folder, NAME)))}
    finally:
        remover.stdin.close()
        remover.wait()
