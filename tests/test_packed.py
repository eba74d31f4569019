"""Packed records: the same table as from the records of the runs, and the tables of docs/results."""

import json
import re

from byteps_gc.errors import UserError
from byteps_gc.report import facts, packed, record, rows, table
import pytest

from conftest import ROOT
from small_records import TOPK, write

RESULTS = ROOT / "docs" / "results"
KEPT = sorted(file.parent for file in RESULTS.rglob(packed.NAME))
FP16 = {"fp16": True}


def values(folder):
    return [row.values() for row in rows.group(rows.find([folder]))]


@pytest.fixture
def raw(tmp_path):
    """The folder of an experiment with three jobs and two seeds, one of them unfinished."""
    folder = tmp_path / "raw"
    for seed in (0, 1):
        flags = {"--seed": seed}
        for job, compression in (("topk", TOPK), ("baseline-fp16", FP16), ("baseline", {})):
            file = folder / f"seed-{seed}" / job / f"{job}.jsonl"
            write(file, compression, gain=seed / 100, end=job != "topk", flags=flags)
    (folder / "configuration.json").write_text(json.dumps({"configuration": {"jobs": {"baseline": [], "topk": []}}}))
    return folder


def test_packed_records_give_the_rows_of_the_runs(commands, raw, tmp_path):
    """Also when they are packed again, which gives the same bytes."""
    first, second = tmp_path / "first", tmp_path / "second"
    for source, out in ((raw, first), (first, second)):
        result = commands.python("-m", "byteps_gc", "report", source, "--out", out)
        assert result.status == 0, result.output
    assert [row["compressor"] for row in values(raw)] == ["baseline", "baseline, fp16", "topk(k=0.001)"]
    assert [row["seeds"] for row in values(raw)] == [[0, 1]] * 3
    assert values(raw) == values(first) == values(second)
    for name in ("table.md", "table.csv", "table.json", "configuration.json", packed.NAME):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (raw / "configuration.json").read_text() == (first / "configuration.json").read_text()


def test_all_events_but_progress_are_kept(raw, tmp_path):
    recorder = record.Recorder(raw / "seed-0" / "topk" / "topk.jsonl")
    recorder.resume(1)
    recorder.write("end")
    (one,) = rows.read([recorder.path])
    packed.write([one], tmp_path / packed.NAME)
    (again,) = packed.read(tmp_path / packed.NAME)
    assert [event["event"] for event in again.events] == ["start", "epoch", "resume", "end"]
    assert (again.job, again.start, again.epochs, again.finished) == ("topk", one.start, one.epochs, True)


def test_packed_copies_below_the_runs_are_not_read_again(raw):
    before = values(raw)
    packed.write(rows.find([raw]), raw / packed.NAME)
    assert values(raw) == before


def test_a_later_row_is_added_to_a_kept_folder(raw, tmp_path):
    """Its configuration.json stays."""
    kept, later = tmp_path / "kept", tmp_path / "later"
    write(later / "onebit.jsonl", {"compressor": "onebit"})
    kept.mkdir()
    (kept / "configuration.json").write_text("{}")
    packed.keep(rows.find([raw]), kept, [raw])
    packed.keep(rows.find([kept, later]), kept, [kept, later])
    assert [row["compressor"] for row in values(kept)] == [*[row["compressor"] for row in values(raw)], "onebit"]
    assert (kept / "configuration.json").read_text() == "{}"


def test_an_incomplete_file_is_one_line(raw, tmp_path):
    file = tmp_path / packed.NAME
    packed.write(rows.find([raw]), file)
    whole = file.read_bytes()
    for content in (b"", b"text", whole[:-9], whole[:40]):
        file.write_bytes(content)
        with pytest.raises(UserError, match="records.jsonl.gz: it is incomplete, or report --out did not write it"):
            packed.read(file)


@pytest.mark.parametrize("folder", KEPT, ids=lambda folder: str(folder.relative_to(RESULTS)))
def test_the_tables_of_docs_are_made_again(folder):
    assert table.markdown(rows.group(rows.find([folder]))) == (folder / "table.md").read_text()
    plots = {".png"} if folder.parent == RESULTS else set()
    assert {one.suffix for one in folder.iterdir()} >= {".md", ".json", ".gz", *plots}


def test_the_report_names_the_machine_of_rows_that_were_measured_separately():
    (folder,) = [one for one in KEPT if one == RESULTS / "2-hosts-100mbit"]
    machine, _ = facts.environment(rows.group(rows.find([folder])), [folder])
    assert dict(machine)["Processor"] == "Intel(R) Xeon(R) Processor (other rows); AMD EPYC (baseline, fp16)"
    assert dict(machine)["Commit"] == "5596d0f (other rows); fb18266 (baseline, fp16)"


def test_docs_keep_the_tables_that_they_list():
    listed = re.findall(r"\(([\w/-]+)/table\.md\)", (RESULTS / "README.md").read_text())
    assert sorted(listed) == sorted(folder.relative_to(RESULTS).as_posix() for folder in KEPT)
    assert not [file for folder in KEPT for file in folder.rglob("*.log")]
