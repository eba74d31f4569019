"""A failed run resumes from its last checkpoint, as if it had never been interrupted."""

import errno
import json
import logging
import os
from pathlib import Path
import shutil
import signal
import struct
import subprocess
import sys
import time
from types import SimpleNamespace

from byteps_gc.checkpoint_files import file_hashes
from byteps_gc.cluster.run_folder import RunFolder, Task
from byteps_gc.compressors.settings import Settings
from byteps_gc.errors import SettingsError, UserError
from byteps_gc.report import record
from byteps_gc.training import checkpoint, resume
import numpy as np
import pytest

from conftest import EXAMPLE, TRAIN, commands_in

pytestmark = pytest.mark.xdist_group("resume")

RUN = EXAMPLE / "run.sh"
EPOCHS = 4
FLAGS = "--dataset fashion-mnist --train-samples 128 --val-samples 50 --warmup-epochs 0 --lr 0.01".split()
FLAGS += ["--num-epochs", str(EPOCHS), "--lr-decay-epoch", "2,3", "--model", "cifar_resnet20_v1"]
NAMES = {"BYTEPS_MIN_COMPRESS_BYTES": "16384", "BYTEPS_GC_PYTHON": sys.executable}
SAME = ("epoch", "loss", "accuracy", "train_accuracy", "learning_rate")


def epochs(folder, job):
    return record.read(folder / job / f"{job}.jsonl").epochs


def parameters(folder):
    """What the last checkpoint of a run of the baseline holds: by name, the bytes."""
    import mxnet as mx  # not above: what is started to be killed imports this module

    saved = mx.nd.load(str(folder / "baseline" / "params" / f"epoch-{EPOCHS}.params"))
    return {name: array.asnumpy().tobytes() for name, array in saved.items()}


def run(commands, *words, flags=FLAGS, folder="out", **names):
    return commands.run(RUN, *words, "--", *flags, **{**NAMES, "BYTEPS_GC_RUN_DIR": str(folder), **names})


def kill_after_an_epoch(commands, role, *words, job):
    """Start jobs, and kill a role's process once an epoch's checkpoint is whole; all of the run's, for None."""
    child = commands.start(RUN, *words, "--", *FLAGS, **NAMES, BYTEPS_GC_RUN_DIR="out")
    while not (commands.folder / "out" / job / "params" / "epoch-1.json").exists():
        assert child.poll() is None, child.communicate()[0]
        time.sleep(0.01)
    os.kill(commands.role(role).pid if role else child.pid, signal.SIGKILL)
    output, _ = child.communicate(timeout=120)
    assert child.returncode != 0
    assert commands.gone() == []
    done = len(epochs(commands.folder / "out", job))
    assert 1 <= done < EPOCHS, "it was too late to kill it"
    return output


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run of the baseline that nothing interrupts."""
    with commands_in(tmp_path_factory.mktemp("whole")) as runner:
        result = run(runner, "baseline")
        assert result.status == 0, result.output
        return runner.folder / "out"


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("role", ["worker-0", None])
def test_a_resumed_run_is_the_run(commands, whole, role):
    """A worker or all are killed; then every number and parameter is that of the whole run."""
    kill_after_an_epoch(commands, role, "baseline", job="baseline")
    result = run(commands, "baseline", "--resume")
    assert result.status == 0, result.output
    out = commands.folder / "out"
    assert f"baseline: continues from {out}/baseline/params/epoch-" in result.output
    ours, theirs = epochs(out, "baseline"), epochs(whole, "baseline")
    assert [[one[name] for name in SAME] for one in ours] == [[one[name] for name in SAME] for one in theirs]
    assert parameters(out) == parameters(whole)
    seconds = [one["seconds"] for one in ours]
    assert seconds == sorted(seconds)
    assert len((out / "table.md").read_text().splitlines()) == 3  # one row
    log = (out / "baseline" / "baseline").read_text()
    assert log.count("[Epoch 0] train=") == log.count(f"[Epoch {EPOCHS - 1}] train=") == 1
    assert f" of {EPOCHS} epochs: [Epoch " in log and "from zero" not in log
    left = sorted(file.name for file in (out / "baseline" / "params").glob("*"))
    assert left == [f"{name}{suffix}" for name in ("best", f"epoch-{EPOCHS}") for suffix in sorted(checkpoint.SUFFIXES)]


@pytest.mark.slow
@pytest.mark.cluster
def test_jobs_that_are_finished_begun_or_new(commands, whole):
    """The first is skipped, the second is resumed, and one that has not begun starts."""
    out = commands.folder / "out"
    shutil.copytree(str(whole), str(out))
    jobs = ["--resume", "baseline onebit"]
    kill_after_an_epoch(commands, "server-1", *jobs, job="onebit")
    result = run(commands, *jobs)
    assert result.status == 0, result.output
    lines = result.output.splitlines()
    assert lines[:2] == [f"run folder: {out}", "baseline: finished, nothing to do"]
    assert lines[2].startswith(f"onebit: continues from {out}/onebit/params/epoch-")
    assert [one["epoch"] for one in epochs(out, "onebit")] == list(range(EPOCHS))
    assert [row.split("|")[1].strip() for row in (out / "table.md").read_text().splitlines()[2:]] == [
        "baseline",
        "dist-EF-SGDM",
    ]
    lost = "the compressors' residuals of error feedback (workers and servers), momentum\n"
    assert (out / "onebit" / "onebit").read_text().count(f"not in the checkpoint, so reset to zero: {lost}") == 1


@pytest.mark.cluster
def test_nothing_is_left_to_do(commands, whole):
    shutil.copytree(str(whole), str(commands.folder / "out"))
    before = (commands.folder / "out" / "baseline" / "worker-0.log").stat().st_mtime_ns
    result = run(commands, "baseline", "--resume")
    assert result.status == 0 and "baseline: finished, nothing to do" in result.output
    assert (commands.folder / "out" / "baseline" / "worker-0.log").stat().st_mtime_ns == before


@pytest.mark.cluster
def test_a_run_that_was_killed_after_its_last_checkpoint(commands, whole):
    shutil.copytree(str(whole), str(commands.folder / "out"))
    file = commands.folder / "out" / "baseline" / "baseline.jsonl"
    file.write_text(file.read_text().replace('{"event": "end"}\n', ""))
    result = run(commands, "baseline", "--resume")
    assert result.status == 0, result.output
    assert record.read(file).finished and len(epochs(commands.folder / "out", "baseline")) == EPOCHS


@pytest.mark.cluster
def test_another_run_is_refused(commands, whole):
    """In one line, before anything starts, whether the job is finished or not."""
    flags = "--batch-size 16 --num-epochs 5 --lr 0.1 --model cifar_resnet56_v1 --compressor topk --k 0.1".split()
    names = {"BYTEPS_GC_WORKERS_PER_HOST": "3", "BYTEPS_MIN_COMPRESS_BYTES": "1"}
    result = run(commands, "baseline", "--resume", flags=[*FLAGS, *flags], folder=whole, **names)
    assert (result.status, len(result.output.splitlines())) == (2, 1), result.output
    head, differences = result.output.strip().split("settings: the run was started with ")
    assert head == "byteps_gc: job baseline: train_cifar100_byteps_gc.py: cannot resume with other "
    assert set(differences.split(", ")) == {
        "--batch-size 32 (now 16)",
        f"--num-epochs {EPOCHS} (now 5)",
        "--lr 0.01 (now 0.1)",
        "--model cifar_resnet20_v1 (now cifar_resnet56_v1)",
        "--compressor not given (now topk)",
        "--k not given (now 0.1)",
        "workers 2 (now 3)",
        "min_compress_bytes 16384 (now 1)",
    }


def test_there_is_nothing_to_resume(commands, tmp_path):
    for names in ({"folder": ""}, {"folder": "nowhere"}):
        result = run(commands, "onebit", "--resume", **names)
        assert (result.status, len(result.output.splitlines())) == (2, 1), result.output
        assert result.output.startswith("byteps_gc: nothing to resume: ")
    assert list(tmp_path.iterdir()) == []


def write_record(folder, job, end=False):
    """A job's record of two epochs, and the third under way."""
    (folder / job).mkdir(parents=True)
    recorder = record.Recorder(folder / job / f"{job}.jsonl")
    recorder.write("start", epochs=4, first_epoch=0)
    for epoch in range(2):
        recorder.progress(epoch=epoch, batch=1, batches=2)
        recorder.write("epoch", epoch=epoch, seconds=10.0 * (epoch + 1))
    recorder.progress(epoch=2, batch=1, batches=2)
    if end:
        recorder.write("end")
    return recorder.path


def test_the_newest_run_with_an_unfinished_job_is_resumed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BYTEPS_GC_RUN_DIR", raising=False)
    runs = tmp_path / "runs"
    write_record(runs / "cifar100-20260101-000000", "onebit")
    write_record(runs / "cifar100-20260102-000000", "onebit")
    write_record(runs / "cifar100-20260103-000000", "onebit", end=True)
    write_record(runs / "cifar100-20260104-000000", "topk")
    write_record(runs / "cifar100-4-hosts-20260105-000000", "onebit")
    write_record(runs / "vgg16-20260106-000000", "onebit")
    assert RunFolder.to_resume("cifar100", ["onebit"]).path == runs / "cifar100-20260102-000000"
    assert RunFolder.to_resume("cifar100", ["onebit", "topk"]).path == runs / "cifar100-20260104-000000"
    assert RunFolder.to_follow("cifar100", ["onebit"]).path == runs / "cifar100-20260103-000000"
    with pytest.raises(SettingsError, match="no run .*/runs/cifar100-TIME holds an unfinished job of baseline; "):
        RunFolder.to_resume("cifar100", ["baseline"])
    monkeypatch.setenv("BYTEPS_GC_RUN_DIR", "runs/cifar100-20260103-000000")
    folder = RunFolder.to_resume("cifar100", ["onebit"])
    assert folder.path == runs / "cifar100-20260103-000000"
    assert folder.unfinished(["onebit", "topk"]) == [Task("topk")]


def test_a_run_that_is_active_elsewhere_is_rejected(tmp_path):
    folder = RunFolder(tmp_path)
    with folder.locked(["onebit"], resume=False):
        with pytest.raises(UserError, match=f"another run is active in {tmp_path}/onebit"):
            with folder.locked(["onebit"], resume=True):
                pass
    with folder.locked(["onebit"], resume=True):
        pass
    with pytest.raises(UserError, match="onebit already exists"):
        with folder.locked(["onebit"], resume=False):
            pass


def test_a_record_is_continued(tmp_path):
    """From the second of three epochs: the later ones are dropped, the seconds and the start are not."""
    file = write_record(tmp_path, "onebit", end=True)
    with open(file, "a") as stream:
        stream.write('{"event": "epo')
    recorder = record.Recorder(file)
    assert record.read(file).finished  # it is not touched yet
    recorder.resume(first_epoch=1)
    assert recorder.seconds == 10.0
    recorder.write("epoch", epoch=1, seconds=21.0)
    events = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(one["event"], one.get("seconds")) for one in events] == [
        ("start", None), ("epoch", 10.0), ("resume", None), ("epoch", 21.0)
    ]  # fmt: skip
    assert record.read(file).done() == 0.5
    recorder.write("end")
    assert record.read(file).finished and [path.name for path in file.parent.iterdir()] == ["onebit.jsonl"]


def test_what_is_not_carried_over():
    assert resume.not_carried_over(Settings.from_params({})) == ""
    assert resume.not_carried_over(Settings.from_params({"compressor": "onebit"})) == ""
    encoded = {"compressor": "dithering", "k": 16, "ef": "vanilla", "reply": "encoded"}
    text = resume.not_carried_over(Settings.from_params(encoded))
    assert text.startswith("residuals of error feedback (workers and servers), count of steps")
    params = {"compressor": "randomk", "k": 0.5, "ef": "vanilla", "momentum": "nesterov"}
    text = resume.not_carried_over(Settings.from_params(params))
    assert text == "residuals of error feedback (workers), momentum, count of steps, which random numbers depend on"


class Written:
    """Replaces a net and its trainer: what is saved contains the epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def save_parameters(self, name):
        Path(name).write_text(str(self.epoch))

    save_states = save_parameters


def save(folder, epoch, accuracy, best=0.0, period=10):
    """What the training loop saves after an epoch, which is epoch 0 or a later one."""
    one = Written(epoch)
    progress = {"epoch": epoch, "accuracy": accuracy, "best": max(accuracy, best)}
    checkpoint.save(folder / f"epoch-{epoch + 1}", one, one, progress)
    if accuracy > best:
        checkpoint.copy(folder / f"epoch-{epoch + 1}", folder / "best")
    checkpoint.prune(folder, epoch + 1, period)


# For each line of its input, a folder and how many steps are left, it forks a process that saves and dies;
# imported once, because importing takes longer than all the rest.
SAVE_AND_DIE = f"""
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_resume
def save_and_die(folder, left):
    def watch(event, arguments):
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.rmdir"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
    sys.addaudithook(watch)
    test_resume.save(Path(folder), 1, 0.6, best=0.5)
for line in iter(sys.stdin.readline, ""):
    folder, left = line.split()
    child = os.fork()
    if child == 0:
        save_and_die(folder, int(left))
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def whole_ones(folder):
    """The epochs of the checkpoints that are there by name; each is of one epoch."""
    found = {}
    for file in folder.glob("*.json"):
        epoch = json.loads(file.read_text())["epoch"]
        assert {file.with_suffix(suffix).read_text() for suffix in (".params", ".states")} == {str(epoch)}
        found[file.stem] = epoch
    return found


def test_a_save_that_is_killed_at_any_step_leaves_whole_checkpoints(tmp_path):
    """The older one stays until the newer one is whole; none is a mixture; and the next save clears up."""
    steps, states = 0, []
    pipe = subprocess.PIPE
    saver = subprocess.Popen([sys.executable, "-c", SAVE_AND_DIE], stdin=pipe, stdout=pipe, text=True)
    while True:
        folder = tmp_path / str(steps)
        save(folder, 0, 0.5)
        print(folder, steps, file=saver.stdin, flush=True)
        status = int(saver.stdout.readline())
        assert status in (0, signal.SIGKILL)
        found = whole_ones(folder)
        assert checkpoint.newest(folder).name == ("epoch-2" if "epoch-2" in found else "epoch-1")
        assert found.get("best", 0) == 0 or found["epoch-2"] == 1
        states.append(tuple(sorted(found.items())))
        save(folder, 1, 0.6, best=0.5)
        assert whole_ones(folder) == {"best": 1, "epoch-2": 1} and len(list(folder.iterdir())) == 6
        if status == 0:
            break
        steps += 1
    saver.communicate()
    assert steps > 20
    assert len(set(states)) >= 5  # the old ones, then both epochs, without best, with the new best, and the new alone


def test_the_period_s_checkpoints_stay(tmp_path):
    for epoch in range(7):
        save(tmp_path, epoch, 0.5, best=0.4 if epoch == 0 else 0.5, period=3)
    assert whole_ones(tmp_path) == {"best": 0, "epoch-3": 2, "epoch-6": 5, "epoch-7": 6}


def test_the_best_is_completed(tmp_path):
    """When a run was killed between an epoch's checkpoint and the copy of it that is the best."""
    save(tmp_path, 0, 0.5)
    save(tmp_path, 1, 0.6, best=0.7)
    opt = SimpleNamespace(save_dir=str(tmp_path), resume_from=str(tmp_path / "epoch-2"))
    resume.complete_best(opt, checkpoint.progress_of(tmp_path / "epoch-2"))
    assert whole_ones(tmp_path)["best"] == 0  # the best was another one
    save(tmp_path, 1, 0.6, best=0.6)
    resume.complete_best(opt, checkpoint.progress_of(tmp_path / "epoch-2"))
    assert whole_ones(tmp_path)["best"] == 1


def refusal(stem):
    """The one line with which a checkpoint is refused."""
    with pytest.raises(UserError) as error:
        checkpoint.check(str(stem))
    (line,) = str(error.value).splitlines()
    return line


@pytest.mark.parametrize("suffix", checkpoint.SUFFIXES)
def test_any_changed_byte_of_a_checkpoint_is_noticed(tmp_path, suffix):
    """In each of its files, at each place of the .json and at random ones of the others, and any other length."""
    content, rng = Written("0123456789" * 5000), np.random.RandomState(0)
    checkpoint.save(tmp_path / "epoch-1", content, content, {"epoch": 0, "accuracy": 1 / 3, "best": 0.5})
    assert checkpoint.check(str(tmp_path / "epoch-1.params")) == tmp_path / "epoch-1"
    assert checkpoint.progress_of(tmp_path / "epoch-1")["accuracy"] == 1 / 3
    file = tmp_path / f"epoch-1{suffix}"
    whole = file.read_bytes()
    places = range(len(whole)) if suffix == ".json" else [0, len(whole) - 1, *rng.randint(0, len(whole), 300)]
    for place in places:
        for change in (1 << rng.randint(8), rng.randint(1, 256)):
            damaged = bytearray(whole)
            damaged[place] ^= change
            file.write_bytes(damaged)
            line = refusal(tmp_path / "epoch-1")
            assert line.startswith((f"{file} is damaged: its SHA-256 differs from ", f"{file} holds no SHA-256: "))
    for content in (b"", whole[:-1], whole + b" ", whole + whole):
        file.write_bytes(content)
        assert refusal(tmp_path / "epoch-1").startswith(f"{file} is damaged: ")
        if suffix == ".json":
            assert checkpoint.progress_of(tmp_path / "epoch-1") == {}
    file.write_bytes(whole)
    checkpoint.check(str(tmp_path / "epoch-1"))


@pytest.mark.parametrize(
    "text",
    ["[]", "1", "null", '"x"', "{", "[" * 100000, '{"sha256": 1}', '{"sha256": {}}', '{"sha256": {".json": ""}}'],
)
def test_a_progress_file_of_something_else_is_refused(tmp_path, text):
    save(tmp_path, 0, 0.5)
    (tmp_path / "epoch-1.json").write_text(text)
    assert refusal(tmp_path / "epoch-1").startswith(f"{tmp_path}/epoch-1.json is damaged: its SHA-256 differs from ")


def test_checkpoints_without_hashes(tmp_path):
    """Those of older versions are refused; parameters of others, without a .json, are not."""
    save(tmp_path, 0, 0.5)
    progress = tmp_path / "epoch-1.json"
    progress.write_text('{"epoch": 0, "accuracy": 0.5, "best": 0.5}\n')
    assert refusal(tmp_path / "epoch-1") == (
        f"{progress} holds no SHA-256: it is damaged, or was written by an older version of byteps_gc;"
        f" remove {progress} to continue from an earlier checkpoint with --resume, or name another one"
    )
    progress.unlink()
    parameters = tmp_path / "epoch-1.params"
    with pytest.raises(
        UserError, match="^.*epoch-1.params is damaged, or is not a file of MXNet's arrays: it ends 23 "
    ):
        file_hashes.FileChecker().check(parameters, ".params")
    parameters.write_bytes(struct.pack("<4Q", 0x112, 0, 0, 0))
    file_hashes.FileChecker().check(parameters, ".params")
    (tmp_path / "epoch-1.states").write_bytes(b"")
    with pytest.raises(UserError, match="epoch-1.states is damaged: it is empty; "):
        file_hashes.FileChecker().check(tmp_path / "epoch-1.states", ".states")


@pytest.mark.parametrize("suffix", checkpoint.SUFFIXES)
def test_a_damaged_newest_checkpoint_is_not_skipped(tmp_path, suffix):
    """It is named; once its .json is removed, the one before is the newest."""
    for epoch in range(2):
        save(tmp_path, epoch, 0.5, best=0.5, period=1)
    file = tmp_path / f"epoch-2{suffix}"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert refusal(checkpoint.newest(tmp_path)).startswith(f"{file} is damaged: ")
    advice = f"remove {tmp_path}/epoch-2.json to continue from an earlier checkpoint with --resume, or name another one"
    if suffix != ".json":
        file.unlink()
        line = f"no checkpoint {tmp_path}/epoch-2: the file {file} is missing; {advice}"
        assert refusal(checkpoint.newest(tmp_path)) == line
    (tmp_path / "epoch-2.json").unlink()
    assert checkpoint.check(str(checkpoint.newest(tmp_path))) == tmp_path / "epoch-1"


def test_a_check_reads_the_progress_file_once(tmp_path, monkeypatch):
    save(tmp_path, 0, 0.5)
    read, original = [], file_hashes.read_bytes
    monkeypatch.setattr(file_hashes, "read_bytes", lambda file: (read.append(file.name), original(file))[1])
    checkpoint.check(str(tmp_path / "epoch-1"))
    assert read == ["epoch-1.json"]


@pytest.mark.parametrize("step", ["open", "fsync", "mkdtemp", "rename"])
def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch, step):
    save(tmp_path, 0, 0.5)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fail(*_, **__):
        raise full

    target = {"open": (file_hashes, "open"), "fsync": (os, "fsync"), "mkdtemp": (checkpoint.tempfile, "mkdtemp")}
    owner, name = target.get(step, (Path, "replace"))

    def open_to_read(file, mode, **more):
        return fail() if "w" in mode else open(file, mode, **more)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, open_to_read if step == "open" else fail, raising=False)
        with pytest.raises(UserError) as error:
            save(tmp_path, 1, 0.5, best=0.5)
    assert str(error.value) == f"cannot write checkpoint {tmp_path}/epoch-2: No space left on device"
    assert checkpoint.check(str(tmp_path / "epoch-1")) and checkpoint.newest(tmp_path) == tmp_path / "epoch-1"
    assert list(tmp_path.glob(".saving-*")) == []


# the body runs with a file system of its own at the folder "small", which vanishes with it
MOUNTED = 'mkdir small && mount -t tmpfs -o size="$1" tmpfs small && shift && {}'
IN_SMALL = ("unshare", "--map-root-user", "--mount", "sh", "-c")
SAVE_TWICE = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import test_resume
from byteps_gc.errors import UserError
for epoch in range(2):
    try:
        test_resume.save(Path("small"), epoch, 0.5, best=0.5)
    except UserError as error:
        print(error)
"""


def test_a_read_only_folder_is_one_line(commands):
    body = MOUNTED.format('mount -o remount,ro small && exec "$@"')
    result = commands.run(*IN_SMALL, body, "sh", "1m", sys.executable, "-c", SAVE_TWICE)
    lines = [f"cannot write checkpoint small/epoch-{epoch}: Read-only file system" for epoch in (1, 2)]
    assert (result.status, result.output.splitlines()) == (0, lines)


def test_a_full_disk_under_log_and_record_is_one_line():
    """Instead of a trace of the module logging for every line that is lost."""
    from byteps_gc.training import session

    log = logging.Logger("test")
    log.addHandler(session.LogFile("/dev/full"))
    with pytest.raises(UserError, match="^cannot write the log /dev/full: No space left on device$"):
        log.info("lost")
    with pytest.raises(UserError, match="^cannot write the run's record /dev/full: No space left on device$"):
        record.Recorder(Path("/dev/full")).write("end")


@pytest.mark.cluster
def test_a_full_disk_ends_the_job_with_one_line(commands, tmp_path):
    """At the second checkpoint; the first is whole, and nothing else is left."""
    body = MOUNTED.format('"$@"; status=$?; cp -a small kept; exit $status')
    launch = [sys.executable, "-m", "byteps_gc", "launch", "--workers", "2", "--servers", "1", "--", sys.executable]
    words = [*launch, TRAIN, *FLAGS, "--save-dir", "small"]
    result = commands.run(*IN_SMALL, body, "sh", "3m", *words, BYTEPS_MIN_COMPRESS_BYTES="16384")
    assert result.status == 1 and "Traceback" not in result.output, result.output
    assert f"{TRAIN.name}: cannot write checkpoint small/epoch-2: No space left on device" in result.output
    assert commands.gone() == []
    assert checkpoint.newest(tmp_path / "kept") == tmp_path / "kept" / "epoch-1"
    assert checkpoint.check(str(tmp_path / "kept" / "epoch-1")) and list((tmp_path / "kept").glob(".saving-*")) == []


@pytest.mark.cluster
@pytest.mark.parametrize("suffix", checkpoint.SUFFIXES)
def test_a_run_with_a_damaged_checkpoint_is_not_resumed(commands, whole, suffix):
    out = commands.folder / "out"
    shutil.copytree(str(whole), str(out))
    file = out / "baseline" / "baseline.jsonl"
    file.write_text(file.read_text().replace('{"event": "end"}\n', ""))
    file = out / "baseline" / "params" / f"epoch-{EPOCHS}{suffix}"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 16
    file.write_bytes(damaged)
    result = run(commands, "baseline", "--resume")
    assert (result.status, len(result.output.splitlines())) == (2, 1), result.output
    assert f": {file} is damaged: its SHA-256 differs from " in result.output


LOADS = """
import pathlib, sys
import byteps_gc.mxnet as bps
from byteps_gc.errors import UserError
from byteps_gc.training import checkpoint
import mxnet as mx
bps.init()
net = mx.gluon.nn.Dense(3, in_units=4)
net.initialize()
trainer = bps.DistributedTrainer(net.collect_params(), "sgd", {"momentum": 0.9})
with mx.autograd.record():
    loss = net(mx.nd.ones((2, 4))).sum()
loss.backward()
trainer.step(2)
folder = pathlib.Path("saved")
checkpoint.save(folder / "a", net, trainer, {"epoch": 3, "best": 0.5})
files = {suffix: folder / f"a{suffix}" for suffix in checkpoint.SUFFIXES}
whole = {suffix: file.read_bytes() for suffix, file in files.items()}
def load(names=checkpoint.SUFFIXES, **damage):
    for suffix, file in files.items():
        file.unlink() if file.exists() else None
        content = damage.get(suffix[1:], whole[suffix])
        if content is not None:
            file.write_bytes(content)
    bps.shutdown()  # what is exchanged again may have another length
    bps.init()
    try:
        print(checkpoint.load({suffix: files[suffix] for suffix in names}, net, trainer, mx.cpu()))
    except UserError as error:
        print(error)
flipped = {suffix[1:]: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:] for suffix, content in whole.items()}
load()
for name in ("params", "states", "json"):
    load(**{name: flipped[name]})
load([".params"], json=None, states=None)
load([".params"], json=b'{"epoch": 3}', states=None)
load([".params", ".states"], json=None)
load([".params", ".states"], json=None, states=b"")
load([".params", ".states"], json=None, states=whole[".states"][:-20])
load([".params"], json=None, params=whole[".params"][:-20])
"""


def test_what_rank_0_loads_is_checked(commands):
    """Each file against NAME.json; parameters and states without one are loaded, unless they are no such files."""
    result = commands.python("-c", LOADS)
    advice = "remove saved/a.json to continue from an earlier checkpoint with --resume, or name another one"
    lines = result.output.splitlines()
    assert result.status == 0 and len(lines) == 10, result.output
    progress = str({"epoch": 3, "best": 0.5})
    assert lines[0] == progress
    for line, name in zip(lines[1:3], ("params", "states")):
        assert line == f"saved/a.{name} is damaged: its SHA-256 differs from the one in a.json; {advice}"
    assert lines[3] == f"saved/a.json is damaged: its SHA-256 differs from the one that it holds; {advice}"
    assert lines[4] == lines[6] == "{}"
    assert lines[5].startswith("saved/a.json holds no SHA-256: ")
    assert lines[7] == f"saved/a.states is damaged: it is empty; {advice}"
    assert "was not written by DistributedTrainer.save_states of this version" in lines[8]
    assert lines[9].startswith("saved/a.params is damaged, or is not a file of MXNet's arrays: it ends ")
