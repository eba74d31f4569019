"""scripts/setup.sh where it cannot do what it would like to."""

import json
import os
import re
import sys

from byteps_gc.engine import wheel_file
import debian_packages
import pytest
import setup_environment

from conftest import ROOT, SET_UP, THIS_PYTHON


def test_without_root_the_missing_packages_are_named(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(debian_packages.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit) as stop:
        debian_packages.install(["g++", "make"])
    assert stop.value.code == 2
    message = "setup: missing Debian packages; install them with: sudo apt-get install g++ make\n"
    assert capsys.readouterr().err == message


def test_an_unknown_package_is_refused(capsys):
    with pytest.raises(SystemExit):
        debian_packages.install(["gpp"])
    assert "--with gpp is not one of g++, make" in capsys.readouterr().err


def test_what_is_there_is_not_installed_again(monkeypatch):
    monkeypatch.setattr(debian_packages, "run", lambda *command, **options: pytest.fail(f"ran {command}"))
    debian_packages.install(["g++", "make", "dataset-fashion-mnist"])


def test_a_python_that_does_not_run_is_one_line(commands):
    result = commands.run(ROOT / "scripts" / "setup.sh", BYTEPS_GC_BASE_PYTHON="/no/python")
    assert result.status == 2
    assert result.output == "setup: BYTEPS_GC_BASE_PYTHON=/no/python does not run, or lacks ssl, venv or zlib\n"


def test_a_python_without_torch_is_one_line(commands, tmp_path):
    options = {"BYTEPS_GC_BASE_PYTHON": str(THIS_PYTHON), "BYTEPS_GC_VENV": str(tmp_path / "venv")}
    result = commands.run(ROOT / "scripts" / "setup.sh", "--torch-python", "/bin/false", **options)
    assert result.status == 2
    assert result.output == "setup: --torch-python /bin/false cannot import torch: no output\n"
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 2.0.1+cpu\necho /packages\n")
    old.chmod(0o755)
    result = commands.run(ROOT / "scripts" / "setup.sh", "--torch-python", old, **options)
    line = f"setup: --torch-python {old} has PyTorch 2.0.1+cpu; byteps_gc.torch needs 2.1 or newer\n"
    assert (result.status, result.output) == (2, line)
    result = commands.run(ROOT / "scripts" / "setup.sh", "--torch", "--cpu", **options)
    assert (result.status, result.output) == (2, "setup: --torch cannot be combined with --cpu, --cuda or --wheels\n")


def wheel_of_engine(folder, **built):
    """Write a wheel that has only the description of its build."""
    about = json.dumps({"mxnet": "mxnet==1.9.1", "glibc": "glibc 2.17", **built})
    return wheel_file.write(folder, "byteps", "1+gc.host.0", "", {"byteps/gc_build.json": about.encode()})


def test_setup_and_package_need_the_same_pytorch():
    """The package cannot be asked before it is set up, nor without PyTorch."""
    oldest = re.search(r'^OLDEST = "(.+)"$', (ROOT / "byteps_gc" / "torch" / "version.py").read_text(), re.MULTILINE)
    assert [int(part) for part in oldest[1].split(".")] == setup_environment.OLDEST_TORCH


def test_wheels_that_do_not_fit_are_one_line(tmp_path, capsys):
    def refused(message):
        with pytest.raises(SystemExit) as stop:
            setup_environment.Wheels(tmp_path, "cpu")
        assert (stop.value.code, capsys.readouterr().err) == (2, f"setup: {message}\n")

    hint = "instead of one; build the wheels with python -m byteps_gc engine build --out FOLDER"
    refused(f"{tmp_path} has 0 files byteps_gc-*.whl {hint}")
    wheel_file.write(tmp_path, "byteps_gc", "1", "", {})
    refused(f"{tmp_path} has 0 files byteps-*+gc.host.*.whl {hint}")
    engine = wheel_of_engine(tmp_path)
    assert setup_environment.Wheels(tmp_path, "cpu").engine == engine
    wheel_of_engine(tmp_path, mxnet=None)
    refused(f"{engine} was built without MXNet; build it where MXNet is installed")
    wheel_of_engine(tmp_path, glibc="glibc 9.1")
    here = os.confstr("CS_GNU_LIBC_VERSION")
    refused(f"the wheels need glibc 9.1 or newer, but this host has {here}; build them on a host with {here}")


def test_setting_up_again_is_cheap_and_runs_a_command(commands):
    words = ["--", "python", "-c", "import sys; print(sys.prefix)"]
    result = commands.run(ROOT / "scripts" / "setup.sh", *words, **SET_UP)
    assert result.status == 0, result.output
    assert result.output.splitlines()[-1] == sys.prefix
    assert "making" not in result.output and "installing" not in result.output
