"""A run's record: one JSON object a line, so that it can be read while it grows.

{"event": "start", "job": ..., "model": ..., "workers": ..., "epochs": ..., ...}
{"event": "progress", "epoch": 0, "batch": 12, "batches": 48}
{"event": "epoch", "epoch": 0, "seconds": 19.3, "accuracy": 0.61, "train_accuracy": ...,
 "loss": ..., "learning_rate": ..., "samples_per_second": ..., "sent_mb_per_step": ...,
 "compute_seconds": ..., "exchange_seconds": ...}
{"event": "resume", "first_epoch": 1}
{"event": "end"}

``seconds`` count from the first batch; ``sent_mb_per_step`` is what one worker
hands to the network, in 10^6 bytes. ``compute_seconds`` are those of a step until the
gradients are there, ``exchange_seconds`` those from there until the parameters are new:
medians over a few steps of worker 0 that wait in between, so that nothing of both overlaps
as it does in all others; they are missing in an epoch of one step. A run
that is resumed goes on in its record, of which "start" and the epochs before stay, and
in its ``seconds``.
"""

from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import time
from typing import IO, Any, Dict, List, Optional


def beside(log: str) -> Path:
    """The record of the run that writes a log file."""
    return Path(f"{log}.jsonl")


class Recorder:
    """Writes a record, a new one unless :meth:`resume` is called first; without a path, nothing is written.

    seconds: what the epochs took that were recorded before this process.
    """

    def __init__(self, path: Optional[Path], pause: float = 0.5):
        self.path = path
        self.seconds = 0.0
        self._file: Optional[IO[str]] = None
        self._pause = pause
        self._last = 0.0

    def resume(self, first_epoch: int) -> None:
        """Go on in the record that is there: of what it holds, the start and the epochs before ``first_epoch`` stay."""
        if self.path is None:
            return
        lines = [line for line in self.path.read_text().splitlines() if stays(line, first_epoch)]
        shorter = self.path.with_name(f"{self.path.name}.new")
        shorter.write_text("".join(f"{line}\n" for line in lines))
        shorter.replace(self.path)
        self._file = open(self.path, "a")
        self.seconds = max((epoch["seconds"] for epoch in read(self.path).epochs), default=0.0)
        self.write("resume", first_epoch=first_epoch)

    def write(self, event: str, **values: Any) -> None:
        """Append one event; all but a progress event are on the disk on return."""
        if self.path is None:
            return
        if self._file is None:
            self._file = open(self.path, "w")
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()
        if event != "progress":
            os.fsync(self._file.fileno())

    def progress(self, **values: Any) -> None:
        """Append a progress event, unless the last one was less than ``pause`` seconds ago."""
        if time.monotonic() - self._last >= self._pause:
            self._last = time.monotonic()
            self.write("progress", **values)


def stays(line: str, first_epoch: int) -> bool:
    """Whether a line of a record still holds when the run goes on with ``first_epoch``."""
    try:
        event = json.loads(line)
    except ValueError:
        return False
    kind = event["event"]
    return kind in ("start", "resume") or (kind == "epoch" and event["epoch"] < first_epoch)


@dataclass
class Record:
    """A record read back; ``epochs`` are the epoch events in order."""

    start: Dict[str, Any] = field(default_factory=dict)
    progress: Dict[str, Any] = field(default_factory=dict)
    epochs: List[Dict[str, Any]] = field(default_factory=list)
    finished: bool = False

    def done(self) -> float:
        """The part of the run that is done, from 0 to 1."""
        total = self.start.get("epochs", 0) - self.start.get("first_epoch", 0)
        if self.finished or total <= 0:
            return 1.0 if self.finished else 0.0
        within = 0.0
        if self.progress.get("epoch") == self.start.get("first_epoch", 0) + len(self.epochs):
            within = self.progress["batch"] / self.progress["batches"]
        return (len(self.epochs) + within) / total


def read(path: Path) -> Record:
    """Read what stands in a record so far; a line that is still being written is left out."""
    record = Record()
    if not path.is_file():
        return record
    for line in path.read_text().splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        kind = event.pop("event", None)
        if kind == "start":
            record.start = event
        elif kind == "progress":
            record.progress = event
        elif kind == "epoch":
            record.epochs.append(event)
        elif kind == "end":
            record.finished = True
    return record
