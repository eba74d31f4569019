"""The model of a step: its formula, its inputs, and its errors."""

import json
import math

from byteps_gc import cli as command_line
from byteps_gc.bench import step_check, step_model
from byteps_gc.bench.links import HEADERS
from byteps_gc.bench.step_check import Limited, Measured
from byteps_gc.bench.step_model import Kernels
import pytest

SECONDS = {"compute_seconds": 0.3, "exchange_seconds": 0.1, "accuracy": 0.5, "seconds": 10.0, "sent_mb_per_step": 40.0}
START = dict.fromkeys(("train_samples", "val_samples", "min_compress_bytes"), 0)
START.update(model="net", dataset="images", partition_bytes=10**6)


def folder(place, hosts=2, rate="", step=0.3):
    """What reproduce.sh leaves of one run without compression."""
    place.mkdir()
    (place / "configuration.json").write_text(json.dumps({"configuration": {"hosts": hosts, "rate": rate}}))
    start = {"event": "start", **START, "workers": hosts, "batch_size": 8, "epochs": 1, "flags": {}, "compression": {}}
    epoch = {"event": "epoch", "epoch": 0, **SECONDS, "samples_per_second": 8 * hosts / step}
    (place / "baseline.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (start, epoch, {"event": "end"})))
    return place


def test_what_is_exchanged_while_backward_computes_costs_nothing():
    assert step_model.step(0.3, 0.19, 0.19) == pytest.approx(0.3)
    assert step_model.step(0.3, 0.5, 0.4) == pytest.approx(0.1 + 0.5)
    assert step_model.step(0.3, 0.4, 0.5) == pytest.approx(0.1 + 0.5)


def test_a_host_sends_what_goes_to_others_and_its_server_s_answers():
    seconds = 8 * 12.5e6 / 100e6 * HEADERS
    assert step_model.network(12.5e6, hosts=2, bits=100e6) == pytest.approx(seconds)
    assert step_model.network(12.5e6, hosts=4, bits=100e6) == pytest.approx(1.5 * seconds)
    assert step_model.network(12.5e6, hosts=4, bits=math.inf) == 0
    assert step_model.network(12.5e6, hosts=4, bits=100e6, share=0.5) == pytest.approx((3 * 0.5 + 0.5) * seconds)


def test_parts_go_to_the_server_that_has_the_fewest_bytes():
    parts = [(0, 4), (1, 4), (0, 2), (1, 3), (0, 2), (1, 1)]
    assert [*step_model.placement([10, 3, 2, 1], servers=2, partition=4)] == parts
    vgg16 = step_model.model_gradients.MODELS["vgg16"]
    assert step_model.most(vgg16, 2, 4096000) == pytest.approx(1 / 2, abs=4096000 / vgg16.bytes)
    assert step_model.most(vgg16, 64, 10**9) > step_model.most(vgg16, 64, 10**5) == pytest.approx(1 / 64, rel=0.02)


def test_runs_are_compared_with_predictions(tmp_path, capsys):
    """40 MB at 100 Mbit are 3.2 s and their headers, after forward; a fast link costs nothing."""
    places = [
        folder(tmp_path / "free", step=0.45),
        folder(tmp_path / "slow", rate="100mbit", step=4),
        folder(tmp_path / "fast", rate="100gbit", step=0.45),
    ]
    check, fast = step_check.check([one for place in places for one in step_check.measured(place)])
    network = 3.2 * HEADERS
    assert check.run == Measured(
        "baseline", 2, "100mbit", 0.3, 40e6, pytest.approx(4), "net", 2, 10**6, check.run.folder
    )
    assert check.efficiency == 1 and 0.1 + network < check.predicted < 0.45 + network
    assert fast.predicted == pytest.approx(0.45, rel=0.01) and fast.ratio == pytest.approx(1, rel=0.01)
    assert command_line.main(["bench", "predict", *map(str, places)]) == 0
    shown = capsys.readouterr().out.split()
    row = ["40.00", "1.00", f"{check.predicted:.3f}", "4.000", f"{check.ratio:.2f}"]
    assert shown[-16:-8] == ["baseline", "2", "100mbit", *row]


def pair(name="baseline", hosts=2, rate="100mbit", step=9.0):
    """A run with a bandwidth limit and the one without, on a machine that became slower by a tenth."""
    return Limited(
        Measured(name, hosts, rate, 0.33, 40e6, step, partition=10**6),
        Measured(name, hosts, "", 0.3, 40e6, 0.4, partition=10**6),
        slower=1.1,
    )


def test_with_its_own_efficiency_a_step_takes_what_was_measured():
    one = pair()
    assert one.step(one.efficiency) == pytest.approx(9, rel=0.01)
    assert one.step(2 * one.efficiency) < 6
    assert math.isnan(pair(step=0.45).efficiency)  # the processors take 0.44 s
    assert math.isnan(pair("topk(k=0.001)").efficiency)


def test_a_run_gets_the_efficiency_of_others():
    """Of the same dtype and bandwidth first, then of the same bandwidth, then of any; a compressed run of all alike."""
    one, same, narrow, fast = pair(), pair(hosts=4, step=12), pair("baseline, fp16", step=8), pair(rate="1gbit", step=2)
    runs = [one, same, narrow, fast, pair("topk(k=0.001)")]
    expected = [step_check.expected_efficiency(run, runs) for run in runs]
    alike = (one.efficiency + same.efficiency + narrow.efficiency) / 3
    assert expected[:2] == [same.efficiency, one.efficiency]
    assert expected[2:] == pytest.approx([(one.efficiency + same.efficiency) / 2, alike, alike])
    assert step_check.expected_efficiency(one, [one]) == 1


def test_the_machine_s_speed_is_that_of_the_median_row():
    names = ("baseline", "onebit", "topk")
    free = [Measured(name, 2, "", 0.2, 1e6, 0.3) for name in names]
    slow = [Measured(name, 2, "1gbit", compute, 1e6, 0.3) for name, compute in zip(names, (0.1, 0.22, 0.24))]
    assert [one.slower for one in step_check.limited(free + slow)] == [pytest.approx(1.1)] * 3


def kernels_file(place, codecs=step_model.CODECS):
    """What bench compressors writes: 10 GB/s, and one bit for an element."""
    ops = ("compress", "compress+ef+momentum", "decompress", "decompress+add")
    rows = [
        {"codec": codec, "op": op, "gbps": 10.0, "memcpy_gbps": 8.0, "bits_per_element": 1.0}
        for codec in codecs
        for op in ops
    ]
    place.write_text(json.dumps(rows))
    return place


def test_the_work_of_a_host():
    """8 GB on 4 cores at 1 GB/s: compressed by the worker, an eighth again by the server, decompressed, added up."""
    assert Kernels(1, 1, 1, 1).work(8e9, hosts=8, cores=4, share=1 / 8) == pytest.approx(8 / 4 * (1 + 1 / 8 + 1 + 1))


def test_clusters_are_predicted(tmp_path, capsys):
    file = kernels_file(tmp_path / "compressors.json")
    found = {
        (one.hosts, one.rate, one.codec): one
        for one in step_model.predict({"vgg16": 0.2}, *step_model.kernels(file), cores=16, partition=4096000)
    }
    assert len(found) == 2 * 3 * 6
    dense = found[8, "10gbit", "none"]
    vgg16 = step_model.model_gradients.MODELS["vgg16"]
    share = step_model.most(vgg16, 8, 4096000)
    assert dense.speedup == 1
    assert dense.step == pytest.approx(0.2 / 3 + 8 * HEADERS * vgg16.bytes * (7 * share + 1 - share) / 10e9)
    onebit = found[8, "10gbit", "onebit scaling"]
    assert onebit.step == pytest.approx(0.2) and onebit.speedup == pytest.approx(dense.step / 0.2)
    assert found[64, "10gbit", "none"].step > dense.step > found[8, "100gbit", "none"].step
    words = ["bench", "predict", "--compute", "vgg16=0.2", "--compressors", str(file)]
    assert command_line.main([*words, "--markdown", str(tmp_path / "out.md")]) == 0
    assert "64 x 8" in capsys.readouterr().out
    _, _, first, *others = (tmp_path / "out.md").read_text().splitlines()
    assert first.startswith(f"| vgg16 | 8 x 8 | 10gbit | {dense.step:.3f} | {onebit.speedup:.2f} | ")
    assert len(others) == 2 * 3 - 1


@pytest.mark.parametrize(
    "words, reason",
    [
        (["{}/nothing"], "nothing is not a folder of reproduce.sh or report --out: configuration.json is missing"),
        (["{}/free"], "in these folders has runs both with and without a bandwidth limit"),
        ([], "nothing to predict; give folders of reproduce.sh, or --compute with --compressors"),
        (["{}/free", "--partition-bytes", "0"], "--cores and --partition-bytes must be at least 1"),
        (["--compute", "vgg16=0.2"], "--compute and --compressors need each other"),
        (["--compute", "vgg=1"], "invalid --compute vgg=1: expected MODEL=SECONDS with MODEL one of resnet18_v2, "),
        (["--compute", "vgg16=fast"], "invalid --compute vgg16=fast: expected MODEL=SECONDS"),
        (
            ["--compute", "vgg16=1", "--compressors", "{}/few.json"],
            "few.json: expected a file that bench compressors --json",
        ),
        (
            ["--compute", "vgg16=1", "--compressors", "{}/nothing"],
            "nothing: expected a file that bench compressors --json",
        ),
    ],
)
def test_a_mistake_is_one_line(capsys, tmp_path, words, reason):
    folder(tmp_path / "free")
    kernels_file(tmp_path / "few.json", codecs=step_model.CODECS[1:])
    assert command_line.main(["bench", "predict", *(word.format(tmp_path) for word in words)]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
