"""Errors that a user can cause, each told in one line.

Every command of the package turns a :class:`UserError` into one line on the
standard error stream and exit status 2; a stack trace is kept for defects.
"""


class UserError(Exception):
    """The user asked for something that cannot be done; the text says what is accepted."""


class CompressionError(UserError, ValueError):
    """A compressor, an option or a value of an option that does not exist."""


class SettingsError(UserError, ValueError):
    """An environment variable or a line of the settings file that cannot be used."""


class EngineError(UserError, RuntimeError):
    """The engine could not be fetched, changed, built or found."""


class DatasetError(UserError, RuntimeError):
    """A data set is missing, incomplete or not of the expected format."""


class ClusterError(UserError, RuntimeError):
    """A role of the cluster could not be started, or failed."""

    def __init__(self, message: str, status: int = 1):
        super().__init__(message)
        self.status = status
