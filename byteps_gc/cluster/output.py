"""The output of a process of a job: read until its end, written to a log, and shown."""

import collections
import os
from pathlib import Path
import threading
from typing import IO, Callable, Deque, Optional

from byteps_gc.report.logs import tells

LAST_LINES = 12
LONGEST_LINE = 1 << 16  # bytes; longer ones are read in parts
STANDARD_OUTPUT = "the standard output"


class Output:
    """Reads the output of a process, so that it never blocks, even when a line cannot be written or shown.

    name: of the process; stream: its output; file: its log, to which all output is appended;
    show: called with (name, line) for each line.

    lines: the last lines, without C++ stack traces; lost: why lines are lost, None if none is.
    """

    def __init__(self, name: str, stream: IO[bytes], file: Path, show: Callable[[str, str], None]):
        self.name = name
        self.lines: Deque[str] = collections.deque(maxlen=LAST_LINES)
        self.lost: Optional[str] = None
        self._stream = stream
        self._file = file
        self._show = show
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def join(self, seconds: float) -> None:
        """Wait until all output is read, up to ``seconds``."""
        self._reader.join(seconds)

    def _read(self) -> None:
        """Read to the end; write and show each line until one is lost."""
        log = self._attempt(self._file, lambda: open(self._file, "ab", buffering=0))
        for raw in iter(lambda: self._stream.readline(LONGEST_LINE), b""):
            line = raw.decode(errors="replace").rstrip("\n")
            if tells(line, self.lines):
                self.lines.append(line)
            if not self.lost:
                self._attempt(self._file, lambda raw=raw: write(log, raw))
                self._attempt(STANDARD_OUTPUT, lambda line=line: self._show(self.name, line))
        if log:
            self._attempt(self._file, log.close)

    def _attempt(self, where: object, action: Callable[[], object]) -> object:
        """Use the log or the standard output; note why that is impossible."""
        try:
            return action()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            self.lost = self.lost or f"cannot write what {self.name} prints to {where}: {why}"
            return None


def write(log: IO[bytes], content: bytes) -> None:
    """Write all of the content to an unbuffered file; OSError if that is impossible."""
    while content:
        content = content[log.write(content) :]
