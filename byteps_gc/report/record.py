"""A run's record: one JSON object per line, readable while the run writes it.

{"event": "start", "model": ..., "workers": ..., "epochs": ..., "environment": {...}, ...}
{"event": "progress", "epoch": 0, "batch": 12, "batches": 48}
{"event": "epoch", "epoch": 0, "seconds": 19.3, "accuracy": 0.61, "train_accuracy": ...,
 "loss": ..., "learning_rate": ..., "samples_per_second": ..., "sent_mb_per_step": ...,
 "received_mb_per_step": ..., "compute_seconds": ..., "exchange_seconds": ..., "skipped_steps": ...}
{"event": "resume", "first_epoch": 1}
{"event": "end"}

``environment`` is what :func:`byteps_gc.report.environment.about` returns. ``seconds`` count from the first batch.
``sent_mb_per_step`` is what one worker sends, in 10^6 bytes, ``received_mb_per_step`` what servers reply to it; records
without it exist. ``compute_seconds`` is the time of a step until all
gradients are computed, ``exchange_seconds`` the rest of the step: medians over a few steps of worker 0 that wait in
between, without the overlap of ordinary steps. An epoch of one step has neither. ``skipped_steps`` is the number of
steps that all workers skipped, because a gradient was not finite; records without it exist.

A script that evaluates every few steps writes an epoch for each evaluation, with the number of its last ``step`` and
``val_loss``, and the start may have a ``target`` (:mod:`byteps_gc.report.target`). Its ``sent_mb_per_step`` is what its
host sends, servers included; it is null where all workers are on one host.

A resumed run continues its record: "start" and the epochs before the checkpoint stay, and ``seconds`` continue.
"""

from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import time
from typing import IO, Any, Dict, List, Optional, Sequence

from byteps_gc.errors import UserError, reported
from byteps_gc.report import environment

NUMBER = (int, float, type(None))
# what the events have that their readers use; all values of an epoch are numbers
TYPES = {"model": str, "dataset": str, "compression": dict, "flags": dict, "environment": dict, "target": dict}
TYPES.update((name, NUMBER) for name in ("workers", "epochs", "first_epoch", "batch_size", "batch", "batches", "epoch"))


def path_of(log: str) -> Path:
    """Return the path of the record of the run that writes a log file."""
    return Path(f"{log}.jsonl")


class Recorder:
    """Writes a record, a new one unless :meth:`resume` is called first; without a path, nothing is written.

    mirrors: receive every event that is written, by ``write(event, **values)``, and ``close()`` after the last one
        (see :class:`byteps_gc.report.tensorboard.TensorBoard`).
    seconds: training time of the epochs recorded before this process.
    """

    def __init__(self, path: Optional[Path], pause: float = 0.5, mirrors: Sequence[Any] = ()):
        self.path = path
        self.mirrors = mirrors
        self.seconds = 0.0
        self._file: Optional[IO[str]] = None
        self._pause = pause
        self._last = 0.0

    def resume(self, first_epoch: int) -> None:
        """Continue the existing record: its start and the epochs before ``first_epoch`` stay."""
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
        """Append one event; all but a progress event are on disk on return. A start event gets the environment.

        Raises :class:`UserError` if that is not possible.
        """
        if self.path is None:
            return
        if event == "start":
            values["environment"] = environment.about()
        with reported(f"write the run's record {self.path}"):
            if self._file is None:
                self._file = open(self.path, "w")
            self._file.write(json.dumps({"event": event, **values}) + "\n")
            self._file.flush()
            if event != "progress":
                os.fsync(self._file.fileno())
        for mirror in self.mirrors:
            with reported("write the scalars for TensorBoard"):
                mirror.write(event, **values)
                if event == "end":
                    mirror.close()

    def progress(self, **values: Any) -> None:
        """Append a progress event, unless the last one was less than ``pause`` seconds ago."""
        if time.monotonic() - self._last >= self._pause:
            self._last = time.monotonic()
            self.write("progress", **values)


def stays(line: str, first_epoch: int) -> bool:
    """Whether a line of a record stays when the run resumes with ``first_epoch``."""
    try:
        event = json.loads(line)
    except ValueError:
        return False
    kind = event["event"]
    return kind in ("start", "resume") or (kind == "epoch" and event["epoch"] < first_epoch)


@dataclass
class Record:
    """A record read back; ``epochs`` are the epoch events in order, ``events`` all events but the progress."""

    job: str = ""
    start: Dict[str, Any] = field(default_factory=dict)
    progress: Dict[str, Any] = field(default_factory=dict)
    epochs: List[Dict[str, Any]] = field(default_factory=list)
    events: List[Dict[str, Any]] = field(default_factory=list)
    finished: bool = False

    def add(self, event: Dict[str, Any]) -> None:
        """Add an event."""
        values = {name: value for name, value in event.items() if name != "event"}
        kind = event.get("event")
        if kind == "progress":
            self.progress = values
            return
        self.events.append(event)
        if kind == "start":
            self.start = values
        elif kind == "epoch":
            self.epochs.append(values)
        elif kind == "end":
            self.finished = True

    def done(self) -> float:
        """Return the finished fraction of the run, from 0 to 1."""
        total = self.start.get("epochs", 0) - self.start.get("first_epoch", 0)
        if self.finished or total <= 0:
            return 1.0 if self.finished else 0.0
        within = 0.0
        if self.progress.get("epoch") == self.start.get("first_epoch", 0) + len(self.epochs):
            within = self.progress["batch"] / self.progress["batches"]
        return (len(self.epochs) + within) / total


def read(path: Path) -> Record:
    """Read a record as far as it is written; an incomplete last line is left out, and whatever is no event.

    :class:`UserError` for an event with values of another kind.
    """
    record = Record(path.stem)
    if not path.is_file():
        return record
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            wrong = misfit(event)
            if wrong:
                raise UserError(f"{path} line {number} is not of a run's record: {wrong} is {str(event[wrong])[:60]}")
            record.add(event)
    return record


def misfit(event: Dict[str, Any]) -> str:
    """Return the name of an event's value that is not of its kind; empty if there is none."""
    kinds = dict.fromkeys(event, NUMBER) if event.get("event") == "epoch" else TYPES
    for name, value in event.items():
        if name in kinds and name != "event" and not isinstance(value, kinds[name]):
            return name
    return ""
