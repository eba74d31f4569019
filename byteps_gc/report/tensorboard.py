"""The scalars of a run for TensorBoard, written with the optional package tensorboardX."""

from pathlib import Path
import platform
import time
from typing import Any, Optional

from byteps_gc.errors import UserError

# TensorBoard's name of each value of an epoch event
SCALARS = {
    "loss": "loss/train",
    "train_accuracy": "accuracy/train",
    "accuracy": "accuracy/validation",
    "top5": "accuracy/validation_top5",
    "learning_rate": "learning_rate",
    "samples_per_second": "throughput/images_per_second",
    "sent_mb_per_step": "communication/sent_mb_per_step",
    "received_mb_per_step": "communication/received_mb_per_step",
    "skipped_steps": "steps/skipped",
    "compute_seconds": "steps/compute_seconds",
    "exchange_seconds": "steps/exchange_seconds",
}


def require() -> None:
    """Raise :class:`UserError` if tensorboardX is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError:
        raise UserError('--tensorboard needs tensorboardX: pip install "byteps_gc[tensorboard]"') from None


class TensorBoard:
    """Mirrors the events of a :class:`~byteps_gc.report.record.Recorder` as scalars over epochs, counted from 1.

    Every start and every resume begins an event file. TensorBoard then hides what older files of the folder hold from
    that epoch on, so each run needs a folder of its own. What :meth:`write` got is in the file on return.

    folder: made if it is missing. Raises :class:`UserError` if tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        require()
        self._folder = folder
        self._file: Optional[Any] = None

    def write(self, event: str, **values: Any) -> None:
        """Write the scalars of an epoch event; a start or resume event gives the first epoch."""
        if event in ("start", "resume"):
            self._begin(values["first_epoch"] + 1)
        elif event == "epoch":
            for name, tag in SCALARS.items():
                if values.get(name) is not None:
                    self._add(values["epoch"] + 1, summary={"value": [{"tag": tag, "simple_value": values[name]}]})
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _begin(self, step: int) -> None:
        """Begin a file that replaces all older scalars from ``step`` on."""
        from tensorboardX import RecordWriter

        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.6f}.{platform.node()}"
        self._file = RecordWriter(str(self._folder / name))
        self._add(step, file_version="brain.Event:2")
        self._add(step, session_log={"status": "START"})
        self._file.flush()

    def _add(self, step: int, **fields: Any) -> None:
        """Append one event of TensorBoard's format."""
        from tensorboardX.proto.event_pb2 import Event

        self._file.write(Event(step=step, wall_time=time.time(), **fields).SerializeToString())
