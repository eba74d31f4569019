"""Errors that a user can cause, each reported in one line.

Every command of the package reports a :class:`UserError` in one line on the standard error stream, and exits with
status 2. A stack trace means a defect.
"""

import contextlib
import errno
from typing import Iterator


class UserError(Exception):
    """The user asked for something that cannot be done; the text says what is accepted."""


def one_line(error: Exception) -> str:
    """What an error of another library says, in a line: its first, or the last where a trace comes first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


@contextlib.contextmanager
def reported(what: str) -> Iterator[None]:
    """Turn an OSError of the body into a :class:`UserError`: it cannot do ``what``, and why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot {what}: {why(error)}") from None


def why(error: OSError) -> str:
    """Return why something could not be done with a file, for a message."""
    if error.errno == errno.EEXIST:  # where a folder was to be made
        return f"{error.filename} is a file, not a folder"
    return error.strerror or str(error)


class CompressionError(UserError, ValueError):
    """A compressor, an option or a value of an option that does not exist."""


class SettingsError(UserError, ValueError):
    """An environment variable or a line of the settings file that cannot be used."""


class ExchangeError(UserError, ValueError):
    """A call that cannot be honoured: the engine would abort the process, or the workers disagree."""


class EngineError(UserError, RuntimeError):
    """The engine could not be fetched, changed, built or found."""


class DatasetError(UserError, RuntimeError):
    """A data set is missing, incomplete or not of the expected format."""


class ClusterError(UserError, RuntimeError):
    """A role of the cluster could not be started, or failed."""

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status
