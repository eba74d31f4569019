"""The ImageNet script, its jobs and its image files, on small images that the tests make."""

import json
from pathlib import Path
import runpy
import shutil
import sys

from byteps_gc import env
from byteps_gc.checkpoint_files import file_hashes
from byteps_gc.data import packing
import mxnet as mx
import numpy as np
import pytest

from conftest import EXAMPLE, PROGRAMS
from small_images import draw

SCRIPT = EXAMPLE / "train_gluon_imagenet_byteps_gc.py"
SMALL = "--model mobilenetv2_0.25 --input-size 64 --batch-size 8 --num-epochs 2 --lr 0.02".split()
LOW = {"BYTEPS_MIN_COMPRESS_BYTES": "16384", "BYTEPS_GC_PYTHON": sys.executable}
ONEBIT = "--compressor onebit --onebit-scaling --ef vanilla --compress-momentum nesterov"
CLASSES, TRAIN, VAL = 8, 8, 3  # images of each class


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with data/ILSVRC2012 as the guide has it, and with the folders that were packed."""
    home = tmp_path_factory.mktemp("home")
    data = home / "data" / "ILSVRC2012"
    for part, count, seed in (("train", TRAIN, 1), ("val", VAL, 2)):
        draw(home / "images" / part, CLASSES, count, seed)
        packing.pack(home / "images" / part, data / part)
    return home


@pytest.fixture
def records(home):
    """The flags that name the packed images."""
    data = home / "data" / "ILSVRC2012"
    return ["--use-rec", "--rec-train", data / "train.rec", "--rec-val", data / "val.rec"]


def events(file, kind):
    return [event for event in map(json.loads, Path(file).read_text().splitlines()) if event["event"] == kind]


def check_run(folder, jobs, batches=4):
    """What a run of jobs left: records, top-5 accuracy and a table; returns the MB that each sent in a step."""
    sent, names = {}, {"baseline": "baseline", "onebit": "dist-EF-SGDM"}
    for job in jobs:
        (start,) = events(folder / job / f"{job}.jsonl", "start")
        assert (start["batches"], start["train_samples"], start["val_samples"]) == (batches, 64, 24)
        epochs = events(folder / job / f"{job}.jsonl", "epoch")
        assert [epoch["epoch"] for epoch in epochs] == [0, 1]
        for epoch in epochs:
            assert 0 <= epoch["accuracy"] <= epoch["top5"] <= 1 and np.isfinite(epoch["loss"])
            assert epoch["top5"] > 0.5  # 5 of 8 classes
            assert (epoch["accuracy"] * 24) % 1 == pytest.approx(0, abs=1e-9)
        assert len(events(folder / job / f"{job}.jsonl", "end")) == 1
        assert " top5=" in (folder / job / job).read_text()
        sent[job] = epochs[0]["sent_mb_per_step"]
    rows = (folder / "table.md").read_text().splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == [names[job] for job in jobs]
    return sent


@pytest.mark.slow
@pytest.mark.cluster
def test_the_guides_jobs_with_their_own_flags(commands, home):
    """run.sh without a job: both of them, with the guide's paths, schedule and compression."""
    names = dict(LOW, HOME=str(home), BYTEPS_GC_CACHE=str(env.cache_folder()), BYTEPS_GC_EXPERIMENT="resnet50_v2")
    result = commands.run(EXAMPLE / "run.sh", "--", *SMALL, "--log-interval", "2", BYTEPS_GC_RUN_DIR="out", **names)
    assert result.status == 0, result.output
    sent = check_run(commands.folder / "out", ("baseline", "onebit"))
    assert sent["onebit"] < sent["baseline"] / 2
    log = (commands.folder / "out" / "baseline" / "baseline").read_text()
    assert "[Epoch 1] step 4 of 4: loss=" in log and "MXNet finds no GPU" in log
    start, end = events(commands.folder / "out" / "onebit" / "onebit.jsonl", "epoch")
    assert 0.04 < start["learning_rate"] < 0.1  # the warm-up falls from 0.1 to 2 x 0.02
    assert end["learning_rate"] == pytest.approx(0.04, abs=0.01)


EVERYTHING = "--label-smoothing --mixup --mixup-off-epoch 1 --no-wd --lr-mode poly --warmup-epochs 0 --wd 0.001"
FOLDERS = """
[experiment]
script = train_gluon_imagenet_byteps_gc.py
flags = {flags} --data-dir ~/images --save-frequency 1

[jobs]
baseline =
"""


@pytest.mark.slow
@pytest.mark.cluster
def test_an_experiment_of_ones_own_and_resuming(commands, home, tmp_path):
    """Folders instead of records, with every flag of the recipe; the second epoch is the same, resumed or not."""
    scripts = tmp_path / "scripts"
    shutil.copytree(str(EXAMPLE), str(scripts))
    flags = " ".join([*SMALL, EVERYTHING])
    (scripts / "mine.ini").write_text(FOLDERS.format(flags=flags))
    names = dict(LOW, HOME=str(home), BYTEPS_GC_CACHE=str(env.cache_folder()))
    result = commands.run(scripts / "run.sh", BYTEPS_GC_RUN_DIR="out", BYTEPS_GC_EXPERIMENT="mine", **names)
    assert result.status == 0, result.output
    check_run(tmp_path / "out", ["baseline"])
    whole = events(tmp_path / "out" / "baseline" / "baseline.jsonl", "epoch")
    stem = tmp_path / "out" / "baseline" / "params" / "epoch-1"
    # --resume-from: see test_scripts.py
    words = ["--resume-params", f"{stem}.params", "--resume-states", f"{stem}.states"]
    words += ["--data-dir", home / "images", "--logging-file", "resumed"]
    result = commands.launch(SCRIPT, *flags.split(), *words, **LOW)
    assert result.status == 0, result.output
    assert "resumed after 1 of 2 epochs: [Epoch 1] is next" in result.output
    (resumed,) = events(tmp_path / "resumed.jsonl", "epoch")
    assert resumed["epoch"] == 1
    assert resumed["learning_rate"] == pytest.approx(whole[1]["learning_rate"])
    assert resumed["loss"] == pytest.approx(whole[1]["loss"], rel=1e-4)
    assert resumed["top5"] == pytest.approx(whole[1]["top5"], abs=0.05)


@pytest.mark.cluster
def test_a_pretrained_model_and_a_teacher(commands, records):
    """From a file in GluonCV's folder of models; the student begins as its teacher, and does not move."""
    words = [*SMALL, *records, "--use-pretrained", "--teacher", "mobilenetv2_0.25", "--hard-weight", "0"]
    words += ["--lr", "0", "--num-epochs", "1"]
    result = commands.launch(PROGRAMS / "pretrained.py", CLASSES, SCRIPT, *words, MXNET_HOME="mxnet", **LOW)
    assert result.status == 0, result.output
    (epoch,) = events(commands.folder / "train_imagenet.log.jsonl", "epoch")
    near_uniform = 20**2 * np.log(CLASSES)  # softened 20 times, any scores are nearly equal
    assert epoch["loss"] == pytest.approx(near_uniform, rel=0.01)


OWN_FOLDER = """
import os, runpy, sys
sys.argv = [*sys.argv[1:], "--data-dir", "images" + os.environ["DMLC_WORKER_ID"]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.cluster
def test_workers_with_different_data_say_so(commands, home, tmp_path):
    """Otherwise one of them would wait for ever for the other's last steps."""
    for worker in range(2):
        shutil.copytree(str(home / "images"), str(tmp_path / f"images{worker}"))
    (tmp_path / "images1" / "train" / "class0" / "1.png").unlink()
    result = commands.launch("-c", OWN_FOLDER, SCRIPT, *SMALL)
    assert result.status == 1 and "Traceback" not in result.output
    assert "the workers have different data: training images is 6" in result.output


def refused(capsys, monkeypatch, *words):
    """The one line with which the script, called with --check, refuses its flags."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    (line,) = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2 and line.startswith(f"{SCRIPT.name}: ")
    return line


@pytest.mark.parametrize(
    "words, message",
    [
        ("--model resnet51", "--model resnet51 is not a model of GluonCV"),
        ("--model ssd_512_resnet50_v1_voc", "is not a classifier that takes these options"),
        ("--model inceptionv3", "--model inceptionv3 does not fit 8 classes and 64 x 64 pixels: "),
        ("--model hrnet_w18_small_v1_c", "not a classifier of 8 classes: its output for one image has shape (1, 1000)"),
        ("--model nasnet_4_1056", "is not a classifier: it has 2 outputs"),
        ("--last-gamma", "unexpected keyword argument 'last_gamma'"),
        ("--use_se", "unexpected keyword argument 'use_se'"),
        ("--use-gn", "does not fit 8 classes"),
        ("--model vgg16 --batch-norm --teacher cifar", "--teacher cifar is not a model of GluonCV"),
        ("--model se_resnet18_v1 --use-pretrained", "Pretrained model for se_resnet18_v1 is not available"),
        ("--dtype float16", "--dtype float16 needs a GPU"),
        ("--dtype float64", "invalid choice: 'float64'"),
        ("--data-dir images", "--data-dir cannot be combined with --use-rec"),
        ("--resume-epoch 1", "need --resume-params"),
        ("--resume-params x --resume-epoch 2", "--resume-epoch 2 is not in [0, --num-epochs 2)"),
        ("--resume-params x", "cannot resume: no file x"),
        ("--crop-ratio 1.5", "--crop-ratio 1.5 is not above 0 and at most 1"),
        ("--temperature 0", "--temperature 0.0 is not above 0"),
        ("--hard-weight 2", "--hard-weight 2.0 is not in [0, 1]"),
        ("--input-size 0", "--input-size 0 is not 1 or more"),
        ("--save-frequency -1", "--save-frequency -1 is not 0 or more"),
        ("--lr 1e39", "--lr 1e+39 is not a finite float32"),
        ("--momentum inf", "--momentum inf is not a finite float32"),
        ("--num-gpus 2", "a process uses one GPU; BYTEPS_GC_GPUS lists them"),
        ("--lr-decay-epoch 3;4", "is not a list of epochs"),
        ("--k 3", "--k needs --compressor"),
        ("--rec-val nowhere.rec", "cannot open record file nowhere.rec: No such file or directory"),
        ("--rec-val-idx nowhere.idx", "cannot read index nowhere.idx: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(capsys, monkeypatch, records, words, message, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DMLC_WORKER_ID", "0")
    assert message in refused(capsys, monkeypatch, *SMALL, *records, *words.split())


def test_files_to_resume_from_are_checked(capsys, monkeypatch, records, tmp_path):
    """Against the .json next to them; without one, they must be files of arrays and not empty."""
    monkeypatch.setenv("DMLC_WORKER_ID", "0")
    file = tmp_path / "a.params"
    words = [*SMALL, *records, "--resume-params", file, "--resume-states", tmp_path / "a.states"]
    file.write_bytes(b"parameters")
    (tmp_path / "a.states").write_bytes(b"")
    assert f"{file} is damaged, or is not a file of MXNet's arrays: " in refused(capsys, monkeypatch, *words)
    mx.nd.save(str(file), {"a": mx.nd.ones(1)})
    assert f"{tmp_path}/a.states is damaged: it is empty; " in refused(capsys, monkeypatch, *words)
    (tmp_path / "a.json").write_text('{"epoch": 0}')
    assert f"{tmp_path}/a.json holds no SHA-256: " in refused(capsys, monkeypatch, *words)
    (tmp_path / "a.json").write_text(file_hashes.rendered({"epoch": 0}, {".params": "0" * 64}))
    assert f"{file} is damaged: its SHA-256 differs from the one in a.json; " in refused(capsys, monkeypatch, *words)


def test_record_flags_need_use_rec(capsys, monkeypatch, records):
    assert "--rec-train needs --use-rec" in refused(capsys, monkeypatch, *SMALL, *records[1:])


@pytest.mark.parametrize("flags", ["--model resnet50_v1b --use-gn --last-gamma --use_se", "--model vgg11 --batch-norm"])
def test_models_with_options(monkeypatch, records, flags):
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *SMALL, *map(str, records), *flags.split()])
    script = runpy.run_path(str(SCRIPT))
    net = script["build"](script["parse_args"]())
    kinds = {type(block).__name__ for block in net.features._children.values()} if "vgg" in flags else set()
    names = " ".join(net.collect_params())
    assert ("batchnorm" in names) != ("--use-gn" in flags) and ("BatchNorm" in kinds) == ("vgg" in flags)


def test_run_sh_refuses_a_truncated_record_file(commands, home, records, tmp_path):
    cut = tmp_path / "cut.rec"
    cut.write_bytes(records[2].read_bytes()[:-1000])
    words = [*SMALL, *records[:1], "--rec-train", cut, "--rec-train-idx", records[2].with_suffix(".idx")]
    names = dict(HOME=str(home), BYTEPS_GC_EXPERIMENT="vgg16", BYTEPS_GC_PYTHON=sys.executable)
    result = commands.run(EXAMPLE / "run.sh", "onebit", "--", *words, **names)
    assert result.status == 2 and len(result.output.splitlines()) == 1
    assert result.output.startswith("byteps_gc: job onebit: ") and f"{cut} is truncated" in result.output
    assert [file.name for file in tmp_path.iterdir()] == ["cut.rec"]
