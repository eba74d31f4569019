"""The demo: its flags, its last lines, and the network that it simulates, as root and as an ordinary user."""

import importlib.util
import os
import re
import subprocess
import sys

from byteps_gc.cluster import privileges
from byteps_gc.errors import SettingsError
from byteps_gc.report import rows
import pytest

from conftest import ROOT, SET_UP
import small_records

SCRIPT = ROOT / "scripts" / "demo.sh"
TINY = "--model cifar_resnet20_v1 --train-samples 128 --val-samples 50 --num-epochs 1".split()
ORDINARY = ("unshare", "--user", "--map-user=1000", "--map-group=1000")  # no longer root, with the same files


@pytest.fixture(scope="module")
def demo():
    """The demo's module."""
    spec = importlib.util.spec_from_file_location("demo", str(SCRIPT.with_suffix(".py")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "words, message",
    [
        (["--rate", "5"], "rate '5' is not a bandwidth such as 500kbit, 100mbit or 1gbit"),
        (["--hosts", "0"], "cannot simulate 0 hosts; accepted: 1 to 16"),
        (["--hosts", "two"], "argument --hosts: invalid int value: 'two'"),
        (["--rate", "unlimited", "--hosts", "2"], "--hosts cannot be combined with --rate unlimited"),
        (["onebits"], "unknown job 'onebits'; known: baseline, onebit"),
        (["--framework", "jax"], "argument --framework: invalid choice: 'jax'"),
        (["--framework", "torch", "baseline"], "unknown job 'baseline'; known: none, bf16,"),
        (["--job", "x"], "--job 'x' is not NAME=FLAGS"),
    ],
)
def test_a_mistake_is_one_line_before_the_set_up(commands, tmp_path, words, message):
    result = commands.run(SCRIPT, *words, BYTEPS_GC_VENV=str(tmp_path / "venv"))
    assert result.status == 2
    assert result.output.startswith(f"demo: {message}") and len(result.output.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_describes_the_demo(commands, tmp_path):
    result = commands.run(SCRIPT, "--help", BYTEPS_GC_VENV=str(tmp_path / "venv"))
    assert result.status == 0 and list(tmp_path.iterdir()) == []
    assert "slow simulated network" in result.output and "--rate RATE" in result.output


def test_ratios_in_words(demo):
    assert demo.compared(6.42, "faster", "slower") == "6.4 times faster"
    assert demo.compared(0.5, "faster", "slower") == "2.0 times slower"
    assert demo.compared(29.3, "less", "more") == "29 times less"


@pytest.mark.parametrize("gain, below", [(-0.004, ""), (-0.021, ", 2.1 points below the baseline"), (0.1, "")])
def test_what_a_job_lost_is_said(demo, tmp_path, gain, below):
    small_records.write(tmp_path / "baseline.jsonl", {}, pace=31.5)
    small_records.write(tmp_path / "topk.jsonl", small_records.TOPK, gain=gain)
    records = rows.read([tmp_path / "baseline.jsonl", tmp_path / "topk.jsonl"])
    *_, topk = demo.summary(rows.group(records), "on loopback")
    assert topk == (
        f"topk(k=0.001) reached {0.6 + gain:.1%} validation accuracy in 21 s{below}: 3.0 times faster than the"
        " baseline, sending 1.0 times less."
    )


def test_an_ordinary_users_path_is_enough(commands):
    """It has no /usr/sbin, where Debian has tc."""
    code = "from byteps_gc.cluster import privileges; print(privileges.prefix())"
    result = commands.run(*ORDINARY, sys.executable, "-c", code, PATH="/usr/bin:/bin")
    assert (result.status, result.output) == (0, "['unshare', '--user', '--map-root-user', '--']\n")


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.parametrize("user, jobs", [((), "baseline mine"), (ORDINARY, "mine")], ids=["root", "ordinary"])
def test_the_demo_crosses_a_simulated_network(commands, tmp_path, user, jobs):
    """With a job of its own; what the run leaves is the caller's."""
    words = ["--rate", "50mbit", "--job", "mine=--compressor topk --k 0.01 --ef vanilla", jobs, "--", *TINY]
    result = commands.run(*user, SCRIPT, *words, **SET_UP)
    assert result.status == 0, result.output
    assert "demo: simulating 2 hosts with links of 50 Mbit/s\n" in result.output
    *_, baseline, mine, plots, report = result.output.splitlines()
    begin = r" reached \d+\.\d% validation accuracy in \d+ s"
    end = r"MB a step between 2 hosts with links of 50 Mbit/s\.$"
    below = r"(, \d+\.\d points below the baseline)?"
    ratios = rf"{below}: \d+(\.\d)? times (faster|slower) than the baseline, sending \d+(\.\d)? times less\.$"
    if jobs == "mine":
        ratios = rf", sending 0\.\d+ {end}"
    else:
        assert re.match(rf"baseline{begin}, sending 1\.1 {end}", baseline)
    assert re.match(rf"topk\(k=0\.01\) \+ EF{begin}{ratios}", mine)
    (folder,) = (tmp_path / "runs").iterdir()
    assert plots == f"plots: {folder}/accuracy_over_time.png, {folder}/step_time.png"
    assert report == f"report: {folder}/report.html"
    for name in ("accuracy_over_time.png", "step_time.png", "report.html", "host-2/mine/worker-0.log"):
        assert (folder / name).stat().st_size > 0
    assert {file.stat().st_uid for file in folder.rglob("*")} == {os.geteuid()}


@pytest.mark.cluster
def test_without_a_way_to_simulate_hosts_it_says_so(commands, tmp_path):
    """Where namespaces are forbidden and there is no sudo."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "unshare").write_text("#!/bin/sh\necho unshare: Operation not permitted\nexit 1\n")
    (tools / "sudo").write_text("#!/bin/sh\necho sudo: a password is required\nexit 1\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    real = subprocess.check_output(["sh", "-c", "command -v unshare"], text=True).strip()
    words = [real, *ORDINARY[1:], SCRIPT, "baseline", "--", *TINY]
    result = commands.run(*words, PATH=path, **SET_UP)
    assert result.status == 0, result.output
    reasons = "unshare: unshare: Operation not permitted; sudo: sudo: a password is required"
    line = (
        f"demo: training on loopback, because this user cannot simulate a network ({reasons}); sudo ./scripts/demo.sh"
    )
    assert f"{line} can\n" in result.output
    assert "MB a step on loopback, without a bandwidth limit.\n" in result.output


def test_under_sudo_the_engines_variables_stay(monkeypatch):
    monkeypatch.setenv("BYTEPS_MIN_COMPRESS_BYTES", "4096")
    monkeypatch.setenv("SECRET", "1")
    words = privileges.sudo()
    assert words[:3] == ["sudo", "-n", "env"] and "BYTEPS_MIN_COMPRESS_BYTES=4096" in words
    assert not any("SECRET" in word for word in words)


def test_no_way_names_every_reason(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(privileges, "attempt", lambda prefix: f"{prefix[0]} may not")
    monkeypatch.setattr(privileges.shutil, "which", lambda name: None if name == "sudo" else name)
    with pytest.raises(SettingsError, match="^unshare: unshare may not; sudo is not installed$"):
        privileges.prefix()
    monkeypatch.setattr(privileges.shutil, "which", lambda name: name)
    monkeypatch.setattr(privileges, "attempt", lambda prefix: "" if prefix[0] == "sudo" else "no")
    assert privileges.prefix()[:2] == ["sudo", "-n"]


def test_what_root_made_under_sudo_becomes_the_users(monkeypatch, tmp_path):
    if os.geteuid() != 0:
        privileges.give_back(tmp_path)
        return
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "1234")
    privileges.give_back(tmp_path / "folder")
    assert (tmp_path / "folder" / "file").stat().st_uid == 1234
    assert (tmp_path / "folder").stat().st_uid == 1234


def test_this_python_runs_the_checks():
    """Whatever the demo needs before the set-up is in the standard library."""
    code = f"import sys; sys.argv = ['demo.py', '--help']; exec(open({str(SCRIPT.with_suffix('.py'))!r}).read())"
    code = code.replace("exec(", f"__file__ = {str(SCRIPT.with_suffix('.py'))!r}; exec(")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
