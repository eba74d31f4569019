"""The benchmark of the compressors, and its yardstick: those of stock BytePS, compiled and called."""

import json
import os

from byteps_gc import cli
from byteps_gc.bench import prediction, step, tables
from byteps_gc.bench.kernels import benchmark, contestants
from byteps_gc.bench.stock.compressors import Released
from byteps_gc.compressors import known
import numpy as np
import pytest

ELEMENTS = 4096
# what stock BytePS has, too
STOCK = {
    "onebit scaling",
    "topk k=0.001",
    "topk k=0.1",
    "randomk k=0.001",
    "dithering k=2 linear l2",
    "dithering k=4 natural max",
}


@pytest.fixture
def gradient():
    return np.random.default_rng(1).standard_normal(ELEMENTS, np.float32)


def test_onebit_keeps_signs_and_the_mean(gradient):
    one = Released({"compressor": "onebit", "scaling": True}, ELEMENTS)
    assert one.compress(gradient) == ELEMENTS // 8 + 4
    result = one.decompress()
    assert ((result < 0) == (gradient < 0)).all()
    np.testing.assert_allclose(np.abs(result), np.abs(gradient).mean(), rtol=1e-5)


def test_topk_keeps_the_largest(gradient):
    one = Released({"compressor": "topk", "k": 41}, ELEMENTS)
    assert one.compress(gradient) == 41 * 8
    largest = np.argsort(-np.abs(gradient))[:41]
    wanted = np.zeros_like(gradient)
    wanted[largest] = gradient[largest]
    np.testing.assert_array_equal(one.decompress(), wanted)


def test_randomk_keeps_some(gradient):
    one = Released({"compressor": "randomk", "k": 0.01, "seed": 5}, ELEMENTS)
    one.compress(gradient)
    result = one.decompress()
    assert 30 <= np.count_nonzero(result) <= 40
    assert set(result) <= {*gradient, 0}


@pytest.mark.parametrize("partition, step", [("linear", 1 / 4), ("natural", 1 / 8)])
def test_dithering_rounds_to_levels(gradient, partition, step):
    one = Released({"compressor": "dithering", "k": 4, "partition": partition, "normalize": "max"}, ELEMENTS)
    one.compress(gradient)
    levels = np.abs(one.decompress()) / np.abs(gradient).max() / step
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-5)
    assert {0, 1, 2} <= set(np.round(levels))


def test_wrappers_correct_the_gradient_in_place(gradient, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    one = Released({"compressor": "topk", "k": 41, "ef": "vanilla", "mu": 0.5}, ELEMENTS)
    assert os.getcwd() == str(tmp_path) and not os.listdir(tmp_path)
    first, second = gradient.copy(), gradient.copy()
    one.compress(first)
    np.testing.assert_allclose(first, 1.5 * gradient, rtol=1e-6)
    residual = first - one.decompress()
    one.compress(second)
    np.testing.assert_allclose(second, (1 + 0.5 * 1.5) * gradient + residual, rtol=1e-5, atol=1e-6)


def test_a_server_adds(gradient):
    options = {"compressor": "onebit", "scaling": True}
    worker, server = Released(options, ELEMENTS), Released(options, ELEMENTS, "server")
    worker.compress(gradient)
    out = gradient.copy()
    server.add(worker.payload(), out)
    np.testing.assert_array_equal(out, gradient + worker.decompress())
    with pytest.raises(ValueError, match="add is a server's"):
        worker.add(worker.payload(), out)


def test_what_would_end_the_process_is_refused(gradient):
    for options in ({"compressor": "topk", "k": 3000}, {"compressor": "raw"}):
        with pytest.raises(ValueError, match="would end the process"):
            Released(options, ELEMENTS)
    with pytest.raises(ValueError, match="contiguous array of 4096 float32"):
        Released({"compressor": "onebit"}, ELEMENTS).compress(gradient.astype(np.float64))


def test_loading_leaves_denormal_numbers_alone():
    """A library that is linked with -Ofast would flush them to zero in the whole process."""
    Released({"compressor": "onebit"}, ELEMENTS)
    assert np.float32(1e-40) * np.float32(0.5) > 0


@pytest.mark.parametrize("op", contestants.OPS)
def test_every_codec_is_measured(op):
    assert STOCK < set(contestants.CODECS) and {one.name for one in contestants.CODECS.values()} == set(known())
    data = contestants.Data(partitions=2, elements=8192)
    for codec in contestants.CODECS:
        row = benchmark.measure(codec, op, data, repeats=2)
        assert (row.codec, row.op) == (codec, op)
        assert min(row.gbps, row.memcpy_gbps) > 0
        assert (row.released_gbps is None) == (codec not in STOCK)
        assert 0 < row.bits_per_element < 33
        if contestants.CODECS[codec].name == "int8" or codec.endswith(" encoded"):
            assert row.reply_bits_per_element <= 1.2 * row.bits_per_element
        assert 0 < row.relative_error < 100


def test_the_command_writes_what_it_shows(tmp_path, capsys):
    file = tmp_path / "rows.json"
    before = os.sched_getaffinity(0)
    words = ["--codec", "onebit", "--repeats", "1", "--partitions", "1", "--json", str(file)]
    assert cli.main(["bench", "compressors", *words]) == 0
    assert os.sched_getaffinity(0) == before
    rows = json.loads(file.read_text())
    assert [row["op"] for row in rows] == list(contestants.OPS)
    assert f"{rows[0]['gbps']:.2f}" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.cluster
def test_steps_are_measured_on_clusters(tmp_path, capsys):
    file = tmp_path / "rows.json"
    words = ["--model", "cifar_resnet20_v1", "--batch-size", "4", "--rounds", "1", "--steps", "2", "--servers", "1"]
    assert cli.main(["bench", "step", *words, "--job", "topk", "--json", str(file)]) == 0
    baseline, topk = json.loads(file.read_text())
    assert (baseline["job"], baseline["ratio"], topk["job"]) == ("baseline", 1, "topk")
    assert topk["ratio"] == topk["step_seconds"] / baseline["step_seconds"]
    assert f"{topk['ratio']:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "subject, words, reason",
    [
        ("compressors", ["--codec", "fp8"], "unknown codec fp8; known: onebit scaling, topk k=0.001"),
        ("compressors", ["--repeats", "0"], "--repeats and --partitions must be at least 1"),
        ("step", ["--job", "fp8"], "unknown job fp8; known: baseline, onebit, topk"),
        ("step", ["--batch-size", "0"], "--batch-size must be at least 1"),
        ("step", ["--model", "resnet"], "--model resnet is not a model of GluonCV"),
        ("compressors", ["--json", "/nowhere/out.json"], "cannot write --json /nowhere/out.json: No such file or dir"),
        ("step", ["--json", "/"], "cannot write --json /: Is a directory"),
        ("predict", ["--markdown", "/proc/out.md"], "cannot write --markdown /proc/out.md: No such file or directory"),
    ],
)
def test_a_wrong_flag_is_one_line(capsys, monkeypatch, subject, words, reason):
    for module, begins in ((benchmark, "one_core"), (step, "once"), (prediction, "check")):
        monkeypatch.setattr(module, begins, lambda *arguments: pytest.fail("the benchmark has started"))
    assert cli.main(["bench", subject, *words]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1


def test_a_check_changes_no_file(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("[]")
    tables.require_writable("--json", old)
    tables.require_writable("--json", new)
    tables.require_writable("--json", None)
    assert old.read_text() == "[]" and not new.exists()
