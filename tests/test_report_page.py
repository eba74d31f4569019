"""The HTML report as headless Chromium renders it, and the parts it is made of."""

import json

from byteps_gc import report
from byteps_gc.report import configuration, facts, logs, rows, table
import numpy as np
import pytest

import browser
from small_records import TOPK, write

INJECTED = '<script>document.title="x"</script><img src=x onerror="alert(1)"> & "quoted" \x1b[31mred\x1b[0m'
LOG = [f"[06:12:{number:02d}] line {number}" for number in range(40)]


@pytest.fixture
def run(tmp_path):
    """A run of two jobs with logs, one of which looks like HTML."""
    folder = tmp_path / "run"
    flags = {"--seed": 0, "--lr": 0.1, "--k": None, "--onebit-scaling": False}
    write(folder / "baseline" / "baseline.jsonl", {}, flags=flags)
    write(folder / "topk" / "topk.jsonl", TOPK, epochs=1, pace=7.0, gain=0.05, flags={**flags, "--k": 0.001})
    warning = "[06:12:41] /a/b.py:3: UserWarning: <b>bold</b>"
    (folder / "baseline" / "worker-0.log").write_text("\n".join([*LOG, warning, warning, INJECTED]))
    (folder / "baseline" / "scheduler.log").write_text("")
    (folder / "topk" / "server-0.log").write_bytes(b"\xff\x00 not UTF-8\n")
    return folder


def page(folder):
    """Write the report of a folder; returns its path."""
    report.present(rows.find([folder]), folder)
    return folder / report.PAGE


def points(figure):
    """The points of a plot: its text, x, y."""
    groups = [one for one in figure.iter("g") if one.get("class") == "point" and one.find("use") is not None]
    return [
        (one.find("title").text, float(one.find("use").get("x")), float(one.find("use").get("y"))) for one in groups
    ]


def test_the_table_of_the_page_is_the_guides(commands, run):
    root = browser.opened(commands, page(run))
    assert browser.text(root.find("head/title")) == "net on images, 2 workers"
    shown = browser.rows(next(browser.inside(root, "results").iter("table")))
    assert shown == [table.cells(row) for row in rows.group(rows.find([run]))]
    assert [row[0] for row in shown] == ["baseline", "topk(k=0.001)"]


def test_every_point_shows_its_values_where_it_is_drawn(commands, run):
    root = browser.opened(commands, page(run))
    expected = [
        ("baseline, seed 0, epoch 1: 50.00% after 10.5 s", 10.5, 1, 50),
        ("baseline, seed 0, epoch 2: 60.00% after 21.0 s", 21.0, 2, 60),
        ("topk(k=0.001), seed 0, epoch 1: 55.00% after 7.0 s", 7.0, 1, 55),
    ]
    for name, column in (("accuracy_over_time", 1), ("accuracy_over_epochs", 2)):
        drawn = points(browser.inside(root, name))
        assert [one[0] for one in drawn] == [one[0] for one in expected]
        for at, values in ((1, [one[column] for one in expected]), (2, [one[3] for one in expected])):
            scale, offset = np.polyfit(values, [one[at] for one in drawn], 1)
            assert scale * np.array(values) + offset == pytest.approx([one[at] for one in drawn], abs=0.01)
            assert (scale > 0) == (at == 1)


def test_every_bar_shows_its_value(commands, run):
    root = browser.opened(commands, page(run))
    texts = {name: [one.text for one in browser.inside(root, name).iter("title")] for name in ("step_time", "sent")}
    values = [(0.2, 0.15), (0.2, 0.1)]
    names = ("baseline", "topk(k=0.001)")
    assert sorted(texts["step_time"]) == sorted(
        [
            *(f"{name}: compute {one:.3f} s" for name, (one, _) in zip(names, values)),
            *(f"{name}: exchange and update {two:.3f} s" for name, (_, two) in zip(names, values)),
            *(
                f"{name}: compute {one:.3f} s, {name}: exchange and update {two:.3f} s"
                for name, (one, two) in zip(names, values)
            ),
        ]
    )
    assert sorted(texts["sent"]) == sorted(2 * [f"{name}: sends 4.500 MB/step" for name in names])


def test_ids_are_unique_and_every_reference_has_its_target(commands, run):
    root = browser.opened(commands, page(run))
    ids = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    links = [one.get("href")[1:] for one in root.iter("use")]
    links += [one.get("clip-path")[len("url(#") : -1] for one in root.iter() if one.get("clip-path")]
    assert links and set(links) <= set(ids)


def test_the_page_loads_nothing_and_logs_stay_text(commands, run):
    root = browser.opened(commands, page(run))  # nothing on the console: no script, no blocked request
    assert browser.loaded(root) == []
    assert not list(root.iter("script")) and not list(root.iter("img"))
    shown = {browser.text(one.find("summary")): one for one in browser.inside(root, "logs").iter("details")}
    lines = browser.text(shown["worker-0.log"].find("pre")).split("\n")
    assert lines[-1] == INJECTED.replace("\x1b[31m", "").replace("\x1b[0m", "")
    assert lines[0] == LOG[23] and len(lines) == logs.LINES
    assert browser.text(shown["scheduler.log"].find("pre")) == "(empty)"
    assert browser.text(shown["server-0.log"].find("pre")) == "\ufffd not UTF-8"
    assert {"run/baseline: 2 logs", "run/topk: 1 log"} <= set(shown)
    (warning,) = browser.rows(next(browser.inside(root, "warnings").iter("table")))
    assert warning == ["/a/b.py:3: UserWarning: <b>bold</b>", "2"]


def test_configuration_environment_and_epochs_are_shown(commands, run):
    common = {
        "configuration": {
            "hosts": 2,
            "namespaces": True,
            "rate": "100mbit",
            "jobs": {"baseline": [], "topk": ["--k", "0.001"]},
        }
    }
    (run / configuration.NAME).write_text(json.dumps(common))
    root = browser.opened(commands, page(run))
    shown = {}
    for part in ("configuration", "environment"):
        for values in browser.inside(root, part).iter("dl"):
            texts = [browser.text(one) for one in values]
            shown.update(zip(texts[::2], texts[1::2]))
    assert shown["Model"] == "net" and shown["Workers"] == "2" and shown["Seeds"] == "0"
    assert shown["--lr"] == "0.1" and shown["--k"] == "0.001 (topk(k=0.001))" and "--onebit-scaling" not in shown
    assert "2 compressors, 2 runs, 2 simulated hosts with 100mbit links, started " in browser.text(
        root.find(".//header")
    )
    assert shown["hosts"] == "2" and shown["jobs topk"] == "--k 0.001"
    assert shown["numpy"] == np.__version__ and shown["Host"] and shown["Operating system"]
    first = next(browser.inside(root, "epochs").iter("table"))
    heads = [browser.text(one) for one in first.find("thead").iter("th")]
    row = dict(zip(heads, browser.rows(first)[1]))
    assert (row["Epoch"], row["MB/step"], row["Exchange (s)"], row["Time (s)"]) == ("2", "4.500", "0.2000", "21.00")
    assert "Skipped steps" not in heads


def test_the_page_is_not_blank(commands, run):
    seen = browser.picture(commands, page(run))
    assert seen.shape[:2] == (1500, 1200)
    colours = {tuple(one) for one in (255 * seen[::3, ::3, :3]).astype(int).reshape(-1, 3)}
    assert len(colours) > 50
    darker = (seen[:, :, :3].min(axis=2) < 0.9).mean()
    assert 0.02 < darker < 0.5


def test_skipped_steps_are_counted(tmp_path):
    file = tmp_path / "job" / "job.jsonl"
    write(file, {})
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        if line["event"] == "epoch":
            line["skipped_steps"] = 2 * line["epoch"]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = page(tmp_path).read_text(encoding="utf-8")
    assert "2 steps skipped because a gradient was not finite." in text and "Skipped steps" in text


def test_records_without_an_environment_have_a_page(tmp_path):
    file = tmp_path / "job.jsonl"
    write(file, TOPK)
    start, *others = file.read_text().splitlines()
    start = {name: value for name, value in json.loads(start).items() if name != "environment"}
    file.write_text("\n".join([json.dumps(start), *others]))
    assert "do not contain their environment" in page(tmp_path).read_text(encoding="utf-8")
    about = {"machine": {"processor": "a processor", "cores": 4, "cores_used": [0, 1]}, "python": "3.8.1"}
    (tmp_path / configuration.NAME).write_text(json.dumps(about))
    text = page(tmp_path).read_text(encoding="utf-8")
    assert "<dd>a processor</dd>" in text and "<dt>CPUs used</dt><dd>2</dd>" in text


def test_rows_that_differ_are_named():
    named = [("baseline", {"a": 1, "b": 0, "c": None}), ("onebit", {"a": 1, "b": 4}), ("topk", {"a": 1, "b": 4})]
    assert facts.merge(named) == {"a": "1", "b": "0 (baseline); 4 (onebit, topk)"}
