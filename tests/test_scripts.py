"""The shell scripts and the training script, run as the guide runs them, on tiny sizes."""

import contextlib
import json
import os
from pathlib import Path
import re
import shlex
import shutil
import signal
import sys
import time

from byteps_gc.cluster import secret
from byteps_gc.cluster.supervisor import PEER_LOST, free_port, listens
import pytest

from conftest import EXAMPLE, ROOT, SET_UP, TRAIN

pytestmark = pytest.mark.cluster

RUN = EXAMPLE / "run.sh"
TINY = "--dataset synthetic --train-samples 128 --val-samples 64 --num-epochs 1 --warmup-epochs 0 --lr 0.01".split()
SMALL_MODEL = ["--model", "cifar_resnet20_v1"]  # 1.1 MB: with a low threshold, its larger tensors are compressed
LOW = {"BYTEPS_MIN_COMPRESS_BYTES": "16384", "BYTEPS_GC_PYTHON": sys.executable}


def events(file, kind):
    return [event for event in map(json.loads, Path(file).read_text().splitlines()) if event["event"] == kind]


def test_run_runs_the_jobs_one_after_the_other(commands, tmp_path):
    """Without a job, all of them: see test_imagenet.py."""
    jobs = ("baseline", "topk")
    result = commands.run(RUN, *jobs, "--", *TINY, *SMALL_MODEL, **LOW, BYTEPS_GC_RUN_DIR="out")
    assert result.status == 0, result.output
    out = tmp_path / "out"
    rows = (out / "table.md").read_text().splitlines()[2:]
    names = [row.split("|")[1].strip() for row in rows]
    assert names == ["baseline", "topk(k=0.001)"]
    assert (out / "accuracy_over_time.png").read_bytes().startswith(b"\x89PNG")
    for job in jobs:
        logs = sorted(file.name for file in (out / job).glob("*.log"))
        assert logs == ["scheduler.log", "server-0.log", "server-1.log", "worker-0.log", "worker-1.log"]
        assert (out / job / "params" / "best.params").is_file()
        assert "[Epoch 0] train=" in (out / job / job).read_text()
        assert "effective learning rate 0.02 (0.01 x 2 hosts)" in (out / job / "worker-0.log").read_text()
    sent = {job: events(out / job / f"{job}.jsonl", "epoch")[0]["sent_mb_per_step"] for job in jobs}
    assert sent["topk"] < sent["baseline"] / 1.5


@pytest.mark.slow
def test_the_guides_model_with_onebit_and_fp16(commands, tmp_path):
    """resnet18_v2 with every flag of the guide, from a copy of the scripts in another folder."""
    copy = tmp_path / "elsewhere"
    shutil.copytree(str(EXAMPLE), str(copy))
    flags = [*TINY, "--val-samples", "32"]
    result = commands.run(copy / "run.sh", "onebit baseline-fp16", "--", *flags, BYTEPS_GC_PYTHON=sys.executable)
    assert result.status == 0, result.output
    (out,) = (tmp_path / "runs").iterdir()
    onebit = events(out / "onebit" / "onebit.jsonl", "epoch")[0]["sent_mb_per_step"]
    half = events(out / "baseline-fp16" / "baseline-fp16.jsonl", "epoch")[0]["sent_mb_per_step"]
    assert 4.5 < onebit < 5.2  # 0.32 MB of signs, and the tensors below the guide's threshold
    assert 22 < half < 23.5  # half of 44.7 MB


@pytest.mark.parametrize(
    "words, message",
    [
        (
            ["onebits"],
            "unknown job 'onebits'; known: baseline, onebit, topk, randomk, dithering, topk-ef, ",
        ),
        (["onebit", "--", "--data-dir", "/nowhere"], "no CIFAR100 in /nowhere: expected train.bin"),
        (["topk", "--", "--k", "-1"], "k=-1 is neither a fraction"),
        (["onebit", "--", "--batch-size", "0"], "--batch-size 0 is not 1 or more"),
        (["onebit", "--", "--typo"], "unrecognized arguments: --typo"),
        (["onebit", "--", "--resume-from", "nothing"], "no checkpoint nothing: the file nothing.params is missing"),
    ],
)
def test_a_mistake_is_one_line_before_anything_starts(commands, tmp_path, words, message):
    result = commands.run(RUN, *words, BYTEPS_GC_PYTHON=sys.executable)
    assert result.status == 2
    assert result.output.startswith("byteps_gc: ") and message in result.output
    assert len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_does_not_exist_is_one_line(commands):
    result = commands.run(RUN, "onebit", "--", *TINY, "--model", "resnet19", BYTEPS_GC_PYTHON=sys.executable)
    assert result.status == 1
    assert "train_cifar100_byteps_gc.py: --model resnet19: " in result.output
    assert "Traceback" not in result.output


def test_run_may_be_a_link(commands, tmp_path):
    """As in the home folder of a cluster's hosts."""
    (tmp_path / "run.sh").symlink_to(RUN)
    result = commands.run("./run.sh", "onebits", BYTEPS_GC_PYTHON=sys.executable)
    assert result.status == 2 and result.output.startswith("byteps_gc: unknown job 'onebits'")


def test_the_roles_by_hand(commands, tmp_path):
    """scheduler.sh, server.sh and worker.sh, each started by itself as on a cluster's hosts."""
    port = free_port()
    file = secret.make(tmp_path / secret.NAME)
    names = dict(LOW, BYTEPS_GC_PORT=str(port), BYTEPS_GC_SECRET_FILE=str(file))
    result = commands.run(EXAMPLE / "server.sh", BYTEPS_GC_PYTHON=sys.executable)
    assert (result.status, "needs BYTEPS_GC_PORT" in result.output) == (2, True)
    roles = [commands.start(EXAMPLE / "scheduler.sh", **names)]
    while not listens("127.0.0.1", port):
        assert roles[0].poll() is None
        time.sleep(0.1)
    roles += [commands.start(EXAMPLE / "server.sh", **names) for _ in range(2)]
    for number in range(2):
        words = ["topk", "--", *TINY, *SMALL_MODEL, "--mode", "hybrib"]
        roles.append(commands.start(EXAMPLE / "worker.sh", *words, BYTEPS_GC_LOCAL_WORKER=str(number), **names))
    for role in reversed(roles):
        output, _ = role.communicate(timeout=120)
        assert role.returncode == 0, output
        assert role in roles[:3] or "--mode hybrib is read as hybrid" in output
    assert (tmp_path / "topk.jsonl").is_file()
    result = commands.run(EXAMPLE / "worker.sh", **names)
    assert result.output == "byteps_gc: worker.sh takes one job: ./worker.sh onebit [-- TRAINING FLAGS]\n"


def shown(output):
    """The role, variables and command of each part of what --print shows."""
    parts = re.split(r"^# ", output, flags=re.MULTILINE)[1:]
    for part in parts:
        head, *lines = part.replace("\\\n", "").splitlines()
        words = shlex.split(lines[0])
        assert words[0] == "env"
        variables = dict(word.split("=", 1) for word in words[1:] if re.match(r"[A-Z_]+=", word))
        yield head.split(":")[0], variables, words[1 + len(variables) :]


def test_print_shows_each_roles_environment_and_command(commands, tmp_path):
    """As the guide has them; nothing is started or written, and what is printed is what would run."""
    python = {"BYTEPS_GC_PYTHON": sys.executable}
    result = commands.run(RUN, "--print", "onebit", "--", "--lr", "0.5", **python, BYTEPS_GC_WORKERS_PER_HOST="1")
    assert result.status == 0, result.output
    roles = list(shown(result.output))
    assert [name for name, _, _ in roles] == ["scheduler", "server-0", "server-1", "worker-0"]
    for name, variables, command in roles:
        assert variables["DMLC_ROLE"] == name.split("-")[0]
        assert (variables["DMLC_NUM_WORKER"], variables["DMLC_NUM_SERVER"]) == ("1", "2")
        assert variables["BYTEPS_LOG_LEVEL"] == "WARNING" and variables["OMP_WAIT_POLICY"] == "PASSIVE"
        assert command[:5] == [sys.executable, "-m", "byteps_gc", "role", "--"]
    _, variables, command = roles[-1]
    guides = {"THREADPOOL_SIZE": "16", "PARTITION_BYTES": "4096000", "MIN_COMPRESS_BYTES": "1024000", "NUMA_ON": "1"}
    assert {name: variables[f"BYTEPS_{name}"] for name in guides} == guides
    assert command[6].endswith("train_cifar100_byteps_gc.py") and command[-2:] == ["--lr", "0.5"]
    assert list(tmp_path.iterdir()) == []
    result = commands.run(RUN, "--print", "baseline", **python)
    assert list(shown(result.output))[-1][1]["BYTEPS_THREADPOOL_SIZE"] == "0"
    result = commands.run(RUN, "--print", "mine", "--job", "mine=--compressor topk --k 0.5", **python)
    assert "--compressor topk --k 0.5" in " ".join(list(shown(result.output))[-1][2])
    result = commands.run(RUN, "--print", "onebits", **python)
    assert (result.status, result.output[:33]) == (2, "byteps_gc: unknown job 'onebits';")


def test_a_job_of_ones_own_writes_for_tensorboard(commands, tmp_path):
    job = ["--job", "mine=--compressor topk --k 0.5", "mine"]
    flags = [*TINY, *SMALL_MODEL, "--tensorboard", "tb", "--mode", "imperative"]
    result = commands.run(RUN, *job, "--", *flags, **LOW, BYTEPS_GC_RUN_DIR="out")
    assert result.status == 0, result.output
    (epoch,) = events(tmp_path / "out" / "mine" / "mine.jsonl", "epoch")
    assert epoch["skipped_steps"] == 0
    (file,) = (tmp_path / "tb" / "mine-seed-0").iterdir()
    assert b"accuracy/validation" in file.read_bytes()


MINIMAL = EXAMPLE / "train_minimal.py"


@pytest.mark.slow
def test_the_minimal_example_trains(commands):
    """As its docstring says, with Gluon's DataLoader in the main process and in others."""
    text = MINIMAL.read_text()
    assert [f"line {number} of 4" in text for number in range(1, 6)] == [True] * 4 + [False]
    found = []
    for words in ([], ["--compress", "-j", "0", "--num-epochs", 1]):
        result = commands.launch(MINIMAL, "--samples", 640, "--num-epochs", 2, *words)
        assert result.status == 0, result.output
        lines = re.findall(r"worker-[01] \| \[Epoch (\d)\] train=(0\.\d+) val=(0\.\d+) time=", result.output)
        found.append(sorted(lines))
    plain, compressed = found
    assert [epoch for epoch, _, _ in plain] == ["0", "0", "1", "1"]
    assert all(float(train) > 0.35 for epoch, train, _ in plain if epoch == "1"), plain
    assert [epoch for epoch, _, _ in compressed] == ["0", "0"] and compressed != plain[:2]


def test_without_its_four_lines_the_minimal_example_is_gluons(commands, tmp_path):
    text = MINIMAL.read_text()
    plain = (
        ("import byteps_gc.mxnet as bps", "import byteps_gc.mxnet  # gives numpy.bool back to MXNet;"),
        ("    bps.init()", "    #"),
        ("    train_set = train_set.shard(bps.size(), bps.rank())", "    #"),
        (
            'bps.DistributedTrainer(net.collect_params(), "nag", optimizer_params, compression_params=compression)',
            'gluon.Trainer(net.collect_params(), "nag", optimizer_params)',
        ),
    )
    for ours, gluons in plain:
        assert text.count(ours) == 1
        text = text.replace(ours, gluons)
    (tmp_path / "plain.py").write_text(text)
    result = commands.python("plain.py", "--samples", 320, "--num-epochs", 1)
    assert result.status == 0 and "[Epoch 0] train=" in result.output, result.output


def train(commands, name, *flags, epochs):
    """The training script on two workers; its epoch events."""
    words = [*TINY, *SMALL_MODEL, "--num-epochs", epochs, "--save-period", 1, "--logging-file", name, *flags]
    result = commands.launch(TRAIN, *words, "--save-dir", f"{name}-params", **LOW)
    assert result.status == 0, result.output
    return events(commands.folder / f"{name}.jsonl", "epoch"), result.output


@pytest.mark.slow
def test_a_resumed_run_continues_where_the_first_one_ended(commands):
    """Parameters, momentum, learning rate and data order: the third epoch is the same, resumed or not."""
    schedule = ["--lr-decay-epoch", "2"]
    whole, _ = train(commands, "whole", *schedule, epochs=3)
    resumed, _ = train(commands, "resumed", *schedule, "--resume-from", "whole-params/epoch-2.params", epochs=3)
    assert [event["epoch"] for event in resumed] == [2]
    assert resumed[0]["learning_rate"] == pytest.approx(whole[2]["learning_rate"])
    assert resumed[0]["loss"] == pytest.approx(whole[2]["loss"], rel=1e-5)


def trains(process):
    """Whether a process shares memory with a server: a worker does from its first exchange on."""
    with contextlib.suppress(OSError):
        return TRAIN.name in process.words and "/memfd:byteps_gc" in Path(f"/proc/{process.pid}/maps").read_text()


STAGES = {
    "set-up": lambda process: "setup_environment.py" in process.words,
    "start": lambda process: " byteps_gc role " in process.words,
    "training": trains,
}


@pytest.mark.parametrize(
    "stage, sig",
    [*((stage, signal.SIGTERM) for stage in STAGES), ("start", signal.SIGKILL), ("training", signal.SIGKILL)],
)
def test_killing_the_demo_leaves_nothing(commands, stage, sig):
    """In the set-up, while the roles start, and while they train."""
    flags = ["--", "--num-epochs", "50"]
    child = commands.start(ROOT / "scripts" / "demo.sh", "onebit", *flags, **SET_UP)
    while not any(STAGES[stage](process) for process in commands.alive()):
        assert child.poll() is None, child.communicate()[0]
        time.sleep(0.05)
    child.send_signal(sig)
    child.communicate(timeout=30)
    assert child.returncode not in (0, None)
    assert commands.gone() == []
    assert not [file for file in Path("/dev/shm").iterdir() if file.name.startswith("byteps_gc")]


@pytest.mark.parametrize(
    "victim, sig",
    [
        ("worker-1", signal.SIGKILL),
        ("worker-1", signal.SIGSTOP),
        ("scheduler", signal.SIGKILL),
    ],
)
def test_a_process_that_dies_ends_the_run(commands, victim, sig):
    flags = ["--", *TINY, *SMALL_MODEL, "--num-epochs", "500"]
    child = commands.start(RUN, "onebit", *flags, **LOW, BYTEPS_GC_DEATH_TIMEOUT="3", BYTEPS_GC_RUN_DIR="out")
    while not list((commands.folder / "out" / "onebit" / "params").glob("epoch-*.json")):
        assert child.poll() is None, child.communicate()[0]
        time.sleep(0.1)
    os.kill(commands.role(victim).pid, sig)
    output, _ = child.communicate(timeout=30)
    how = " was killed by SIGKILL" if sig == signal.SIGKILL else " on 127.0.0.1 has been silent for 3 s"
    assert child.returncode == (PEER_LOST if sig == signal.SIGSTOP else 137)
    assert output.count(f"byteps_gc: job onebit: {victim}{how}") == 1, output
    assert commands.gone() == []


@pytest.mark.slow
def test_a_second_run_at_a_fixed_port_ends_the_first(commands, tmp_path):
    """On a cluster, run.sh ends what an earlier run of the same address left, and nobody else's processes."""
    port = free_port()
    names = dict(LOW, BYTEPS_GC_PORT=str(port))
    first = commands.start(RUN, "baseline", "--", *TINY, *SMALL_MODEL, "--num-epochs", "500", **names)
    while "baseline: epoch 1/" not in first.stdout.readline():
        assert first.poll() is None
    second = commands.run(RUN, "topk", "--", *TINY, *SMALL_MODEL, **names, BYTEPS_GC_RUN_DIR="second")
    assert second.status == 0, second.output
    assert f"stopping the processes that run {first.pid} left on this host" in second.output
    first.communicate(timeout=30)
    assert first.returncode == 143
