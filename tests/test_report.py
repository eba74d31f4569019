"""Records, rows, the guide's table, and the plots."""

import csv
import json

from byteps_gc import report
from byteps_gc.cli import main
from byteps_gc.errors import UserError
from byteps_gc.report import record, rows, table
from byteps_gc.report.progress import Progress
import pytest

from small_records import TOPK, write

LABELS = [
    ({}, "baseline"),
    ({"compressor": "onebit", "scaling": True, "ef": "vanilla", "momentum": "nesterov"}, "dist-EF-SGDM"),
    ({"compressor": "onebit", "scaling": True}, "onebit"),
    ({"compressor": "topk", "k": 0.001}, "topk(k=0.001)"),
    ({"compressor": "randomk", "k": 0.001, "seed": 0}, "randomk(k=0.001)"),
    ({"compressor": "dithering", "k": 2, "reply": "lossless"}, "dithering(k=2)"),
    ({"compressor": "dithering", "k": 2, "reply": "encoded"}, "dithering(k=2, encoded reply)"),
    ({"compressor": "dithering", "k": 1, "rounding": "nearest"}, "dithering(k=1, nearest)"),
    ({"compressor": "topk", "k": 0.001, "fp16": True}, "topk(k=0.001), fp16"),
    ({"compressor": "topk", "k": 0.001, "ef": "vanilla", "momentum": "nesterov"}, "topk(k=0.001) + EF + momentum"),
]


@pytest.mark.parametrize("compression, label", LABELS, ids=[label for _, label in LABELS])
def test_rows_are_named_as_in_the_guide(compression, label):
    assert rows.label(compression) == label


def test_the_tables_and_the_plots(tmp_path):
    """Speedup is to the last epoch that both have."""
    write(tmp_path / "a" / "baseline.jsonl", {})
    write(tmp_path / "a" / "topk.jsonl", TOPK, epochs=1, end=False, pace=7.0)
    report.write(rows.group(rows.find([tmp_path])), tmp_path)
    assert (tmp_path / "table.md").read_text().splitlines() == [
        "| Compressor | Val Accu | Time(s) | Speedup | MB/step | Seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        "| baseline | 60.00% | 21.00 | 1.00 | 4.500 | 1 |",
        "| topk(k=0.001) (unfinished) | 50.00% | 7.00 | 1.50 | 4.500 | 1 |",
    ]
    for name in ("accuracy_over_time", "accuracy_over_epochs", "step_time", "sent"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        text = (tmp_path / f"{name}.svg").read_text()
        assert "<svg" in text
    (first, second) = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    assert (first["compressor"], first["accuracy"], second["speedup"]) == ("baseline", "0.6", "1.5")
    whole, part = json.loads((tmp_path / "table.json").read_text())
    assert whole["exchange_seconds_per_step"] == pytest.approx(0.15) and whole["compute_seconds_per_step"] == 0.2
    assert [len(epochs) for epochs in part["epochs"]] == [1] and not part["finished"]


def test_a_row_is_the_mean_over_seeds(tmp_path):
    for seed, gain in enumerate((0.0, 0.02)):
        flags = {"--seed": seed, "--lr": 0.1}
        write(tmp_path / f"{seed}" / "baseline.jsonl", {}, flags=flags)
        write(tmp_path / f"{seed}" / "topk.jsonl", TOPK, gain=gain, pace=5.25 * (1 + seed), flags=flags)
    row = table.markdown(rows.group(rows.find([tmp_path]))).splitlines()[3]
    spreads = "61.00% (60.00 to 62.00) | 15.75 (10.50 to 21.00) | 1.50 (1.00 to 2.00)"
    assert row == f"| topk(k=0.001) | {spreads} | 4.500 | 2 |"


def test_long_runs_are_compared_at_their_ends(tmp_path):
    """Seed by seed, in the table and in a plot."""
    for seed, gain in enumerate((-0.45, -0.5)):
        flags = {"--seed": seed, "--lr": 0.1}
        write(tmp_path / f"{seed}" / "baseline.jsonl", {}, epochs=10, gain=-0.5, flags=flags)
        write(tmp_path / f"{seed}" / "topk.jsonl", TOPK, epochs=10, gain=gain, flags=flags)
    found = rows.group(rows.find([tmp_path]))
    report.write(found, tmp_path)
    head, _, baseline, topk = (tmp_path / "table.md").read_text().splitlines()
    assert head.startswith("| Compressor | Val Accu | Points vs. baseline | Time(s) |")
    assert baseline.startswith("| baseline | 90.00% |  | ")
    assert topk.startswith("| topk(k=0.001) | 92.50% (90.00 to 95.00) | +2.50 (+0.00 to +5.00) | ")
    assert (tmp_path / "final_accuracy.png").is_file()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "topk(k=0.001), seed 0: 95.00%" in page and "Final accuracy" in page


def test_bytes_of_replies_have_a_column(tmp_path):
    """Where records have them: older ones do not."""
    write(tmp_path / "baseline.jsonl", {})
    write(tmp_path / "topk.jsonl", TOPK, received=5.25)
    head, _, baseline, topk = table.markdown(rows.group(rows.find([tmp_path]))).splitlines()
    assert head.endswith(" | MB/step | MB received/step | Seeds |")
    assert baseline.endswith(" | 4.500 |  | 1 |") and topk.endswith(" | 4.500 | 5.250 | 1 |")


def test_rows_are_in_the_order_of_the_configuration(tmp_path):
    """Not of the files' times, which a clone does not keep."""
    write(tmp_path / "seed-0" / "a" / "a.jsonl", TOPK)
    write(tmp_path / "seed-0" / "b" / "b.jsonl", {})
    assert [row.name for row in rows.group(rows.find([tmp_path]))] == ["topk(k=0.001)", "baseline"]
    (tmp_path / "configuration.json").write_text(json.dumps({"configuration": {"jobs": {"b": [], "a": []}}}))
    assert [row.name for row in rows.group(rows.find([tmp_path]))] == ["baseline", "topk(k=0.001)"]


def test_the_time_to_a_target(tmp_path):
    """Not that of a run that has not reached it."""
    for seed, gain in enumerate((0.0, 0.02)):
        write(tmp_path / f"{seed}" / "topk.jsonl", TOPK, gain=gain, flags={"--seed": seed}, target={"accuracy": 0.61})
        write(tmp_path / f"{seed}" / "onebit.jsonl", {"compressor": "onebit"}, flags={}, target={"accuracy": 0.61})
    found = rows.group(rows.find([tmp_path]))
    assert table.titles(found)[4] == "Time to 61%(s)"
    assert [table.cells(row)[4] for row in found] == ["21.0, 1 of 2 runs", "not reached"]
    assert [row.values()["seconds_to_target"] for row in found] == [[None, 21.0], [None, None]]


def test_another_target(tmp_path, capsys):
    """The copy that is kept has it too."""
    write(tmp_path / "runs" / "topk.jsonl", TOPK)
    assert main(["report", str(tmp_path / "runs"), "--target", "accuracy=0.6", "--out", str(tmp_path / "kept")]) == 0
    assert main(["report", str(tmp_path / "kept"), "--out", str(tmp_path / "again")]) == 0
    table_of = [(tmp_path / name / "table.md").read_text() for name in ("kept", "again")]
    assert "| Time to 60%(s) |" in table_of[0] and "| 21.0 |" in table_of[0] and table_of[0] == table_of[1]
    capsys.readouterr()
    for text, message in {
        "loss=1": "target loss=1: the record of topk has no validation loss",
        "80": "target '80' is not accuracy=NUMBER or loss=NUMBER, such as accuracy=0.85",
    }.items():
        assert main(["report", str(tmp_path / "runs"), "--target", text]) == 2
        assert capsys.readouterr().err == f"byteps_gc: {message}\n"


def test_evaluations_of_loss_between_epochs(tmp_path):
    """Each with its step; without the bytes sent, as on one host."""
    recorder = record.Recorder(tmp_path / "none.jsonl")
    common = dict(model="net", dataset="text", workers=2, flags={}, min_compress_bytes=1, partition_bytes=1)
    recorder.write("start", compression={}, epochs=2, target={"loss": 2.5}, **common)
    for number, loss in enumerate((3.0, 2.5)):
        recorder.write(
            "epoch", epoch=number, step=30 * (number + 1), seconds=4.0 + number, accuracy=0.3, loss=loss, val_loss=loss,
            samples_per_second=8.0, sent_mb_per_step=None,
        )  # fmt: skip
    recorder.write("end")
    found = rows.group(rows.find([tmp_path]))
    report.write(found, tmp_path)
    assert (tmp_path / "table.md").read_text().splitlines() == [
        "| Compressor | Val Accu | Val Loss | Time(s) | Speedup | Time to loss 2.5(s) | MB/step | Seeds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| baseline | 30.00% | 2.500 | 5.00 | 1.00 | 5.0 |  | 1 |",
    ]
    assert (tmp_path / "loss_over_time.png").is_file() and not (tmp_path / "sent.png").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "step 60: 2.500 after 5.0 s" in page and "Validation loss over time" in page
    shown = Progress()
    shown.job("none")
    shown.update(found[0].runs[0])


def test_without_a_baseline_there_is_no_speedup(tmp_path):
    write(tmp_path / "topk.jsonl", TOPK)
    assert "| 21.00 |  | 4.500 |" in table.markdown(rows.group(rows.find([tmp_path])))


@pytest.mark.parametrize(
    "compression, start, message",
    [
        (TOPK, dict(workers=4), r"baseline has workers 2, topk\(k=0.001\) has 4"),
        (TOPK, dict(model="other"), r"baseline has model net, topk\(k=0.001\) has other"),
        ({}, dict(flags={"--seed": 1, "--lr": 0.2}), "baseline has --lr 0.1, baseline has 0.2"),
        ({}, dict(train_samples=9), "baseline has train_samples None, baseline has 9"),
    ],
)
def test_runs_of_different_experiments_are_refused(tmp_path, compression, start, message):
    write(tmp_path / "one.jsonl", {})
    write(tmp_path / "other.jsonl", compression, **start)
    with pytest.raises(UserError, match=message):
        rows.group([record.read(tmp_path / "one.jsonl"), record.read(tmp_path / "other.jsonl")])


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


@pytest.mark.parametrize(
    "text, message",
    [
        (b"\x93\xff\x00" * 99, "no record of a run in {}"),
        (b'[1]\n"start"\n{"event": []}\n', "no record of a run in {}"),
        (b'{"event": "start", "epochs": "two"}\n', "{}/a.jsonl line 1 is not of a run's record: epochs is two"),
        (
            b'{"event": "start", "epochs": 2}\n{"event": "epoch", "loss": []}',
            "{}/a.jsonl line 2 is not of a run's record: ",
        ),
        (
            b'{"event": "start", "epochs": 2, "model": "net"}\n{"event": "epoch", "seconds": 1}',
            "{}/a.jsonl is not the record of a run: it lacks dataset, workers, compression, epoch, accuracy",
        ),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, capsys, text, message):
    (tmp_path / "a.jsonl").write_bytes(text)
    assert main(["report", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("byteps_gc: " + message.format(tmp_path)) and len(err.splitlines()) == 1


def test_a_report_that_cannot_be_written_is_one_line(tmp_path, capsys):
    write(tmp_path / "job.jsonl", {})
    (tmp_path / "file").touch()
    for words, message in (
        (["--out", tmp_path / "file"], f"cannot access {tmp_path}/file: {tmp_path}/file is a file, not a folder\n"),
        (["--html", tmp_path], f"cannot access {tmp_path}: Is a directory\n"),
        (["--out", "/proc/nothing"], "cannot access /proc/nothing: No such file or directory\n"),
    ):
        assert main(["report", str(tmp_path), *map(str, words)]) == 1
        assert capsys.readouterr().err == f"byteps_gc: {message}"
    (tmp_path / "configuration.json").write_text("[]")
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"byteps_gc: {tmp_path}/configuration.json is damaged, or was not written by reproduce.sh\n"
    )


def test_the_report_command(commands, tmp_path):
    write(tmp_path / "job.jsonl", {})
    result = commands.python("-m", "byteps_gc", "report", tmp_path, "--out", tmp_path / "out")
    assert result.status == 0 and "baseline" in result.output and (tmp_path / "out" / "table.md").is_file()
    assert (tmp_path / "out" / "report.html").is_file()
    result = commands.python("-m", "byteps_gc", "report", tmp_path, "--html", tmp_path / "pages" / "a.html")
    assert result.status == 0 and result.output.endswith(f"report: {tmp_path / 'pages' / 'a.html'}\n")
    assert "<h1>net on images, 2 workers</h1>" in (tmp_path / "pages" / "a.html").read_text(encoding="utf-8")
    result = commands.python("-m", "byteps_gc", "report", tmp_path / "nothing")
    assert result.status == 2 and result.output.startswith("byteps_gc: no record of a run in")
    write(tmp_path / "other.jsonl", TOPK, workers=4)
    result = commands.python("-m", "byteps_gc", "report", tmp_path)
    assert result.status == 2 and len(result.output.splitlines()) == 1
    assert result.output.startswith("byteps_gc: cannot compare runs of different experiments: ")
