"""Progress of each job: a bar on a terminal, elsewhere one line per epoch."""

import time
from typing import Optional

from byteps_gc.report.record import Record
from rich import progress as bars
from rich.console import Console

PAUSE = 0.5  # seconds between two reads of a record


class Progress:
    """Shows jobs one after another; a context manager."""

    def __init__(self, console: Optional[Console] = None):
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._bars = bars.Progress(
            bars.TextColumn("{task.description:<14}"),
            bars.BarColumn(),
            bars.TaskProgressColumn(),
            bars.TextColumn("{task.fields[note]}"),
            bars.TimeElapsedColumn(),
            bars.TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self._task: Optional[bars.TaskID] = None
        self._name = ""
        self._epochs = 0
        self._looked = 0.0

    def __enter__(self) -> "Progress":
        self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bars.stop()

    def job(self, name: str, epochs: int = 0) -> None:
        """Begin the next job; the first ``epochs`` epochs of its record are not shown."""
        self._name, self._epochs = name, epochs
        self._task = self._bars.add_task(name, total=1.0, note="starting")
        self._line("started")

    def due(self) -> bool:
        """Whether it is time to read the record again."""
        if time.monotonic() - self._looked < PAUSE:
            return False
        self._looked = time.monotonic()
        return True

    def update(self, record: Record) -> None:
        """Show the current state of the job's record."""
        note = "starting"
        if record.start:
            note = f"epoch {len(record.epochs) + (not record.finished)}/{record.start['epochs']}"
        if record.epochs:
            note += f"  accuracy {record.epochs[-1]['accuracy']:.2%}"
        self._bars.update(self._task, completed=record.done(), note=note)
        for epoch in record.epochs[self._epochs :]:
            place = (
                f"step {epoch['step']}" if "step" in epoch else f"epoch {epoch['epoch'] + 1}/{record.start['epochs']}"
            )
            self._line(
                f"{place}: accuracy {epoch['accuracy']:.2%}, loss {epoch['loss']:.3f},"
                f" {epoch['samples_per_second']:.0f} samples/s, {epoch['sent_mb_per_step'] or 0:.3f} MB/step,"
                f" {epoch['seconds']:.0f} s"
            )
        self._epochs = len(record.epochs)

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(f"{self._name}: {text}")
