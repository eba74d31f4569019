"""The examples of PyTorch, by their lines in the README, at a small size, and their experiments on simulated hosts.

Run in the environment of ``./scripts/setup.sh --torch``.
"""

import json
from pathlib import Path
import re
import shlex
import sys

import pytest

from conftest import ROOT

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed here: ./scripts/setup.sh --torch makes its environment"
)

pytestmark = [pytest.mark.cluster, pytest.mark.torch]

FOLDER = ROOT / "example" / "pytorch"
HALF = "bf16" if torch.__version__ >= (2, 3) else "fp16"  # gloo of older versions has no bfloat16
TORCHRUN = Path(sys.prefix, "bin", "torchrun")
SMALL = {
    "train_gpt.py": "--layers 2 --width 32 --heads 2 --context 32 --val-samples 9 --steps 20 --eval-every 10 --lr 0.01",
    "train_cifar_ddp.py": "--dataset synthetic --width 8 --batch-size 16 --val-samples 100 --steps 20 --eval-every 10",
}


def line(script, launcher):
    """Return the README's line that starts a script, without its hook, as words that work here."""
    lines = [text.strip() for text in (ROOT / "README.md").read_text().splitlines() if script in text]
    (text,) = [text for text in lines if launcher in text]
    words = shlex.split(text.partition(" --hook ")[0])
    assert words.pop() == script
    if launcher == "torchrun":
        assert words.pop(0) == "../../.venv-torch/bin/torchrun"
        return [TORCHRUN, "--standalone", *words, FOLDER / script]
    return [*(sys.executable if word == "$python" else word for word in words), FOLDER / script]


def train(commands, script, launcher, *flags):
    """Run a script; return its evaluations."""
    record = commands.folder / f"{launcher}.jsonl"
    result = commands.run(*line(script, launcher), *SMALL[script].split(), *flags, "--record", record)
    assert result.status == 0, result.output
    assert "step 20: " in result.output
    events = [json.loads(text) for text in record.read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "epoch", "epoch", "end"], events
    return events[1:-1]


def losses(evaluations):
    return [(one["step"], one["loss"], one["val_loss"], one["accuracy"]) for one in evaluations]


@pytest.mark.parametrize("script", SMALL)
def test_without_compression_both_launchers_and_hooks_give_the_same_bits(commands, script):
    theirs = train(commands, script, "torchrun", "--hook", "none")
    ours = train(commands, script, "launch", "--hook", "byteps")
    assert losses(theirs) == losses(ours)


@pytest.mark.parametrize(
    "script, launcher, hook",
    [
        ("train_gpt.py", "torchrun", "onebit"),
        ("train_gpt.py", "launch", HALF),
        ("train_cifar_ddp.py", "launch", "topk k=0.1 momentum=nesterov"),
    ],
)
def test_examples_learn(commands, script, launcher, hook):
    first, last = train(commands, script, launcher, "--hook", *hook.split())
    assert last["loss"] < first["loss"] and last["seconds"] > first["seconds"] > 0


MISTAKES = {
    "--hook topkk": "unknown hook 'topkk'; known: none, fp16, bf16, powersgd-RANK, byteps, dithering,",
    "--hook bf16 k=1": "--hook bf16 takes no options, got k=1",
    "--hook topk 3": "option '3' of --hook is not NAME=VALUE, such as k=0.01",
    "--hook topk k=x": "topk: k='x' is not a number",
    "--steps 0": "--steps 0 is not 1 or more",
    "--lr -1": "--lr -1.0 is not above 0 and finite",
    "--stop-at-target": "--stop-at-target needs --target-accuracy or --target-loss",
    "--target-accuracy 80": "--target-accuracy 80.0 is not above 0 and at most 1",
    "--width 10 --heads 3": "--width 10 is not a multiple of --heads 3",
    "--text none.txt": "cannot read none.txt: No such file or directory",
}


def test_mistakes_are_one_line(commands):
    """In one process, which prints what each mistake's process would print."""
    program = f"""
import sys
sys.path.insert(0, {str(FOLDER)!r})
import progress, train_gpt
for words in {list(MISTAKES)!r}:
    sys.argv = ["train_gpt.py", *words.split(), "--check"]
    try:
        progress.run(train_gpt.main)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
"""
    result = commands.python("-c", program)
    assert result.status == 0, result.output
    assert len(result.output.splitlines()) == len(MISTAKES), result.output
    for text, message in zip(result.output.splitlines(), MISTAKES.values()):
        assert text.startswith(f"train_gpt.py: {message}"), text


def test_the_experiments_name_hooks_that_exist(commands):
    """--check of each job, in one process."""
    program = f"""
import pathlib, sys
sys.path.insert(0, {str(FOLDER)!r})
import progress, train_cifar_ddp, train_gpt
from byteps_gc.cluster.experiment import Experiment
for name, module in (("gpt", train_gpt), ("cifar", train_cifar_ddp)):
    experiment = Experiment.read(pathlib.Path({str(FOLDER)!r}, name + ".ini"))
    for job in experiment.jobs:
        if (job, {HALF!r}) == ("bf16", "fp16"):
            continue
        sys.argv = ["script", *experiment.job_flags(job)]
        opt = module.parse_args()
        print(name, job, opt.hook, opt.target)
"""
    result = commands.python("-c", program)
    assert result.status == 0, result.output
    assert all(text.split()[1] == text.split()[2] for text in result.output.splitlines()), result.output
    assert "cifar topk topk {'accuracy': " in result.output and f"gpt {HALF} {HALF} {{'loss': " in result.output


def test_an_experiment_on_simulated_hosts(commands, machine):
    """Its table has the time to the target; a finished job does not run again."""
    words = [sys.executable, "-m", "byteps_gc", "reproduce", FOLDER / "gpt.ini"]
    hosts = ["--hosts", 2, "--rate", "1gbit", "--out", "out"]
    flags = ["--", *SMALL["train_gpt.py"].split(), "--target-loss", "9"]
    result = commands.run(*words, "powersgd-1", *hosts, *flags)
    assert result.status == 0, result.output
    (row,) = json.loads((commands.folder / "out" / "table.json").read_text())
    (run,) = row["epochs"]
    assert row["target"] == {"loss": 9.0} and row["seconds_to_target"] == [run[0]["seconds"]]
    assert row["loss"]["mean"] == run[-1]["val_loss"] and row["sent_mb_per_step"] > 0
    assert "Time to loss 9(s)" in (commands.folder / "out" / "table.md").read_text()
    assert (commands.folder / "out" / "loss_over_time.png").read_bytes().startswith(b"\x89PNG")

    result = commands.run(*words, "powersgd-1", *hosts, *flags)
    assert result.status == 0 and "1 of 1: powersgd-1, seed 0: already finished" in result.output, result.output


def test_an_experiment_of_torchrun_needs_simulated_hosts(commands):
    result = commands.python("-m", "byteps_gc", "run", FOLDER / "gpt.ini", "topk")
    assert result.status == 2 and len(result.output.splitlines()) == 1
    assert re.search("gpt is started by torchrun: add --hosts N to simulate hosts, or start torchrun", result.output)
