"""Scalars for TensorBoard, read back from the event files as TensorBoard reads them."""

import json
import struct
import sys

from byteps_gc.errors import UserError
from byteps_gc.report import record
from byteps_gc.report.tensorboard import TensorBoard
import pytest

VALUES = dict(
    accuracy=0.5, top5=0.9, train_accuracy=0.25, loss=1.5, learning_rate=0.1, samples_per_second=100.0,
    sent_mb_per_step=4.5, received_mb_per_step=3.5, compute_seconds=0.25, exchange_seconds=0.125, skipped_steps=2,
)  # fmt: skip
TAGS = {
    "accuracy/validation": 0.5,
    "accuracy/validation_top5": 0.9,
    "accuracy/train": 0.25,
    "loss/train": 1.5,
    "learning_rate": 0.1,
    "throughput/images_per_second": 100.0,
    "communication/sent_mb_per_step": 4.5,
    "communication/received_mb_per_step": 3.5,
    "steps/compute_seconds": 0.25,
    "steps/exchange_seconds": 0.125,
    "steps/skipped": 2,
}


def events(file):
    """The events of a file: each a length, its checksum, the event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content = file.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


def scalars(folder):
    """What TensorBoard shows: tag and step to value; a start hides the scalars from its step on."""
    from tensorboardX.proto.event_pb2 import SessionLog

    found = {}
    for file in sorted(folder.iterdir()):
        for event in events(file):
            if event.session_log.status == SessionLog.START:
                found = {key: values for key, values in found.items() if key[1] < event.step}
            for value in event.summary.value:
                found.setdefault((value.tag, event.step), []).append(value.simple_value)
    return found


def test_every_value_of_an_epoch_is_a_scalar(tmp_path):
    recorder = record.Recorder(tmp_path / "job.jsonl", mirrors=[TensorBoard(tmp_path / "board")])
    recorder.write("start", first_epoch=0)
    recorder.progress(epoch=0, batch=1, batches=2)
    recorder.write("epoch", epoch=0, seconds=1.0, **VALUES)
    found = scalars(tmp_path / "board")  # before the end: a killed run keeps its epochs
    recorder.write("end")
    assert found == scalars(tmp_path / "board") == {(tag, 1): [pytest.approx(value)] for tag, value in TAGS.items()}


def test_values_that_an_epoch_lacks_are_left_out(tmp_path):
    board = TensorBoard(tmp_path)
    board.write("start", first_epoch=0)
    board.write("epoch", epoch=0, loss=float("nan"), compute_seconds=None)
    board.close()
    ((key, (value,)),) = scalars(tmp_path).items()
    assert key == ("loss/train", 1) and value != value


def test_a_resumed_run_replaces_the_epochs_after_its_checkpoint(tmp_path):
    file = tmp_path / "job.jsonl"
    first = record.Recorder(file, mirrors=[TensorBoard(tmp_path / "board")])
    first.write("start", first_epoch=0)
    for epoch in range(3):
        first.write("epoch", epoch=epoch, seconds=1.0, accuracy=0.1, loss=float(epoch))
    second = record.Recorder(file, mirrors=[TensorBoard(tmp_path / "board")])
    second.resume(1)
    for epoch in (1, 2, 3):
        second.write("epoch", epoch=epoch, seconds=1.0, accuracy=0.1, loss=10.0 + epoch)
    second.write("end")
    losses = {step: values for (tag, step), values in scalars(tmp_path / "board").items() if tag == "loss/train"}
    assert losses == {1: [0.0], 2: [11.0], 3: [12.0], 4: [13.0]}
    assert [epoch["loss"] for epoch in record.read(file).epochs] == [0.0, 11.0, 12.0, 13.0]


def test_a_process_without_a_record_mirrors_nothing(tmp_path):
    recorder = record.Recorder(None, mirrors=[TensorBoard(tmp_path / "board")])
    recorder.write("start", first_epoch=0)
    recorder.write("end")
    assert not (tmp_path / "board").exists()


def test_a_missing_writer_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UserError) as raised:
        TensorBoard(tmp_path)
    assert str(raised.value) == '--tensorboard needs tensorboardX: pip install "byteps_gc[tensorboard]"'


def test_a_start_event_records_the_environment(tmp_path, monkeypatch):
    for name, value in dict(DMLC_ROLE="worker", BYTEPS_GC_SECRET="hidden", BYTEPS_X="/a/path", HOME="/root").items():
        monkeypatch.setenv(name, value)
    record.Recorder(tmp_path / "job.jsonl").write("start", first_epoch=0)
    start = json.loads((tmp_path / "job.jsonl").read_text())
    about = start["environment"]
    assert about["variables"]["DMLC_ROLE"] == "worker" and about["python"] and about["packages"]["numpy"]
    assert not {"BYTEPS_GC_SECRET", "BYTEPS_X", "HOME"} & set(about["variables"])
