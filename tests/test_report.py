"""Records, the guide's table, and the plot."""

import json

from byteps_gc.report import plot, record, table
from byteps_gc.report.progress import Progress
import pytest

LABELS = [
    ({}, "baseline"),
    ({"compressor": "onebit", "scaling": True, "ef": "vanilla", "momentum": "nesterov"}, "dist-EF-SGDM"),
    ({"compressor": "onebit", "scaling": True}, "onebit"),
    ({"compressor": "topk", "k": 0.001}, "topk(k=0.001)"),
    ({"compressor": "randomk", "k": 0.001, "seed": 0}, "randomk(k=0.001)"),
    ({"compressor": "dithering", "k": 2}, "dithering(k=2)"),
    ({"compressor": "topk", "k": 0.001, "fp16": True}, "topk(k=0.001), fp16"),
    ({"compressor": "topk", "k": 0.001, "ef": "vanilla", "momentum": "nesterov"}, "topk(k=0.001) + EF + momentum"),
]


def write(file, compression, epochs=2, end=True):
    recorder = record.Recorder(file)
    recorder.write("start", model="net", dataset="images", workers=2, epochs=2, first_epoch=0, compression=compression)
    for epoch in range(epochs):
        recorder.progress(epoch=epoch, batch=5, batches=10)
        recorder.write(
            "epoch", epoch=epoch, seconds=10.5 * (epoch + 1), accuracy=0.5 + epoch / 10, loss=1.0,
            samples_per_second=100.0, sent_mb_per_step=4.5,
        )  # fmt: skip
    if end:
        recorder.write("end")


@pytest.mark.parametrize("compression, label", LABELS, ids=[label for _, label in LABELS])
def test_rows_are_named_as_in_the_guide(compression, label):
    assert table.label(compression) == label


def test_the_table_and_the_plot(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "baseline.jsonl", {})
    write(tmp_path / "a" / "topk.jsonl", {"compressor": "topk", "k": 0.001}, epochs=1, end=False)
    records = table.find([tmp_path])
    assert table.markdown(records).splitlines() == [
        "| Compressor | Val Accu | Time(s) | MB/step |",
        "| --- | ---: | ---: | ---: |",
        "| baseline | 60.00% | 21.00 | 4.500 |",
        "| topk(k=0.001) (unfinished) | 50.00% | 10.50 | 4.500 |",
    ]
    plot.accuracy(records, tmp_path / "accuracy.png")
    assert (tmp_path / "accuracy.png").read_bytes().startswith(b"\x89PNG")


def test_a_record_is_read_while_it_grows(tmp_path):
    file = tmp_path / "job.jsonl"
    assert record.read(file).done() == 0.0
    write(file, {}, epochs=1, end=False)
    with open(file, "a") as stream:
        stream.write(json.dumps({"event": "progress", "epoch": 1, "batch": 5, "batches": 10}) + "\n")
        stream.write('{"event": "epo')
    assert record.read(file).done() == pytest.approx(0.75)


def test_without_a_terminal_every_epoch_is_a_line(tmp_path, capsys):
    write(tmp_path / "job.jsonl", {})
    with Progress() as progress:
        progress.job("topk")
        progress.update(record.read(tmp_path / "job.jsonl"))
        progress.update(record.read(tmp_path / "job.jsonl"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "topk: started"
    assert lines[1].startswith("topk: epoch 1/2: accuracy 50.00%, loss 1.000") and len(lines) == 3


def test_the_report_command(commands, tmp_path):
    write(tmp_path / "job.jsonl", {})
    result = commands.python("-m", "byteps_gc", "report", tmp_path, "--plot", tmp_path / "plot.png")
    assert result.status == 0 and "baseline" in result.output and (tmp_path / "plot.png").is_file()
    result = commands.python("-m", "byteps_gc", "report", tmp_path / "nothing")
    assert result.status == 2 and result.output.startswith("byteps_gc: no run is recorded in")
