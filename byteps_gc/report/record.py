"""A run's record: one JSON object a line, so that it can be read while it grows.

{"event": "start", "job": ..., "model": ..., "workers": ..., "epochs": ..., ...}
{"event": "progress", "epoch": 0, "batch": 12, "batches": 48}
{"event": "epoch", "epoch": 0, "seconds": 19.3, "accuracy": 0.61, "train_accuracy": ...,
 "loss": ..., "learning_rate": ..., "samples_per_second": ..., "sent_mb_per_step": ...}
{"event": "end"}

``seconds`` count from the first batch; ``sent_mb_per_step`` is what one worker
hands to the network, in 10^6 bytes.
"""

from dataclasses import dataclass, field
import json
from pathlib import Path
import time
from typing import Any, Dict, List, Optional


class Recorder:
    """Writes a record; without a path, nothing is written."""

    def __init__(self, path: Optional[Path], pause: float = 0.5):
        self._file = open(path, "w") if path else None
        self._pause = pause
        self._last = 0.0

    def write(self, event: str, **values: Any) -> None:
        """Append one event."""
        if self._file:
            self._file.write(json.dumps({"event": event, **values}) + "\n")
            self._file.flush()

    def progress(self, **values: Any) -> None:
        """Append a progress event, unless the last one was less than ``pause`` seconds ago."""
        if self._file and time.monotonic() - self._last >= self._pause:
            self._last = time.monotonic()
            self.write("progress", **values)


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
