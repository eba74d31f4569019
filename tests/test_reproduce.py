"""reproduce.sh: every job with every seed, a table of them, and what it does when it is started again."""

import json
from pathlib import Path
import re
import signal
import sys
import time

from byteps_gc.cluster.experiment import Experiment
from byteps_gc.reproduce.series import Series, conclude
import pytest

from conftest import ROOT
from small_records import TOPK, write

SCRIPT = ROOT / "scripts" / "reproduce.sh"
RESULTS = ROOT / "scripts" / "results.sh"
FLAGS = "--dataset synthetic --train-samples 128 --val-samples 64 --num-epochs 1 --warmup-epochs 0 --lr 0.01".split()
FLAGS += ["--model", "cifar_resnet20_v1"]
NAMES = {"BYTEPS_MIN_COMPRESS_BYTES": "16384", "BYTEPS_GC_PYTHON": sys.executable}


@pytest.mark.slow
@pytest.mark.cluster
def test_it_resumes_where_it_was_interrupted(commands, tmp_path):
    words = [SCRIPT, "cifar100", "topk", "--seeds", "2", "--out", "out", "--", *FLAGS]
    child = commands.start(*words, **NAMES)
    out = tmp_path / "out"
    while not (out / "seed-1" / "topk" / "topk.jsonl").exists():
        assert child.poll() is None, child.communicate()[0]
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    output, _ = child.communicate(timeout=30)
    assert child.returncode == 143 and "1 of 2: topk, seed 0; 0 s elapsed\n" in output
    assert commands.gone() == []

    result = commands.run(*words, **NAMES)
    assert result.status == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "1 of 2: topk, seed 0: already finished"
    assert lines[1].startswith("2 of 2: topk, seed 1; 0 s elapsed, about ") and lines[1].endswith(" s left")
    table = (out / "table.md").read_text().splitlines()[2:]
    assert [(row.split("|")[1].strip(), row.split("|")[7].strip()) for row in table] == [("topk(k=0.001)", "2")]
    (topk,) = json.loads((out / "table.json").read_text())
    configuration = json.loads((out / "configuration.json").read_text())
    assert configuration["configuration"]["min_compress_bytes"] == int(NAMES["BYTEPS_MIN_COMPRESS_BYTES"])
    assert not any(value.startswith("/") for value in configuration["environment"].values())
    assert topk["seeds"] == [0, 1] and topk["finished"] and topk["exchange_seconds_per_step"] > 0
    assert (out / "step_time.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "1 compressor, 2 runs" in page and "<summary>out/seed-1/topk: 5 logs</summary>" in page
    for seed in ("seed-0", "seed-1"):
        assert (out / seed / "topk" / "topk.jsonl").is_file()

    result = commands.run(*words, **NAMES)
    assert result.status == 0 and result.output.count("already finished") == 2, result.output
    result = commands.run(*words, "--wd", "0.1", **NAMES)
    assert result.status == 2 and len(result.output.splitlines()) == 1
    assert (
        f"byteps_gc: {out} holds runs with flags [" in result.output
        and "choose another folder with --out" in result.output
    )


def test_jobs_with_float16_are_in_the_table(tmp_path):
    """They are not in the experiment's file; a name that ends in -fp16 defines them."""
    file = ROOT / "example" / "mxnet" / "gradient_compression" / "cifar100.ini"
    jobs = {"topk": TOPK, "baseline-fp16": {"fp16": True}, "baseline": {}}
    series = Series(file, list(jobs), [0], tmp_path, [])
    for job, compression in jobs.items():
        write(series.record(0, job), compression)
    conclude(series)
    table = (tmp_path / "table.md").read_text().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in table] == ["baseline", "baseline, fp16", "topk(k=0.001)"]


def test_all_jobs_run_with_a_seed_before_the_next_seed(tmp_path):
    series = Series(tmp_path / "mine.ini", ["baseline", "topk"], [0, 1], tmp_path, [])
    assert series.tasks() == [(0, "baseline"), (0, "topk"), (1, "baseline"), (1, "topk")]


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "reproduce: name an experiment: cifar100 resnet50_v2 vgg16\n"),
        (["--seeds", "2"], "reproduce: name an experiment: cifar100 resnet50_v2 vgg16\n"),
        (["cifar1000"], "byteps_gc: unknown experiment 'cifar1000' in "),
        (["cifar100", "onebits"], "byteps_gc: unknown job 'onebits'; known: baseline, onebit"),
        (["cifar100", "topk", "--", "--typo"], "byteps_gc: job topk: "),
        (["cifar100", "--seeds", "0"], "byteps_gc: --seeds 0 is not 1 or more\n"),
        (["cifar100", "--rate", "1gbit"], "byteps_gc: --rate needs --hosts: it limits the links of simulated hosts\n"),
        (["cifar100", "--hosts", "2", "--rate", "fast"], "byteps_gc: rate 'fast' is not a bandwidth such as"),
    ],
)
def test_a_mistake_is_one_line(commands, tmp_path, words, message):
    result = commands.run(SCRIPT, *words, **NAMES)
    assert result.status == 2 and result.output.startswith(message), result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_tables_of_training_have_float16_and_the_recommended_flags(commands, tmp_path):
    """Of each table, the script starts jobs that exist; accuracies are those of all jobs that the documents name."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$BYTEPS_MIN_COMPRESS_BYTES" "$@" > "$COMMAND"\n')
    python.chmod(0o755)
    page = (ROOT / "docs" / "compression.md").read_text().split("## Flags\n")[1].split("\n## ")[0]
    recommended = {job: line for line in page.splitlines() for job in re.findall(r"`([a-z0-9-]+)` \|$", line)}
    assert {"topk-ef", "int8-ef"} < {*recommended}
    for table, threshold in {"2-hosts-100mbit": "65536", "accuracy": "65536", "convergence": "16384"}.items():
        result = commands.run(RESULTS, "out", table, BYTEPS_GC_PYTHON=str(python), COMMAND=str(tmp_path / table))
        assert result.status == 0, result.output
        least, *words = (tmp_path / table).read_text().splitlines()
        assert least == threshold and words[:3] == ["-m", "byteps_gc", "reproduce"]
        assert words[words.index("--out") + 1] == str(tmp_path / "out" / table)
        experiment = Experiment.read(Path(words[3]))
        jobs = experiment.select([words[4]])
        assert {"baseline-fp16", *experiment.default, *recommended} <= {*jobs}
    for job, line in recommended.items():
        assert {*" ".join(re.findall("`(--[^`]+)`", line)).split()} < {*experiment.job_flags(job)}


@pytest.mark.parametrize("sig, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_what_results_runs_ends_with_it(commands, tmp_path, sig, status):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $2 begins\nexec {sys.executable} -c 'import signal; signal.pause()'\n")
    python.chmod(0o755)
    child = commands.start(RESULTS, "out", "compressors", BYTEPS_GC_PYTHON=str(python))
    assert child.stdout.readline() == "byteps_gc begins\n"
    child.send_signal(sig)
    child.communicate(timeout=30)
    assert child.returncode == status
    assert commands.gone() == []


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "results: usage: ./scripts/results.sh FOLDER [TABLE...]; tables: 2-hosts-100mbit "),
        (["results", "peers", "3-hosts"], "results: unknown table 3-hosts; known: 2-hosts-100mbit "),
    ],
)
def test_a_mistake_in_the_arguments_of_results_is_one_line(commands, tmp_path, words, message):
    result = commands.run(RESULTS, *words, **NAMES)
    assert result.status == 2 and result.output.startswith(message), result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
