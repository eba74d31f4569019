"""What doctor says here, and what it says where something is missing."""

import venv

from byteps_gc.report import record

from conftest import ROOT


def test_this_machine_is_ready_to_train(commands):
    result = commands.python("-m", "byteps_gc", "doctor")
    assert result.status == 0, result.output
    assert result.output.endswith("ready to train\n")
    assert "device host" in result.output
    assert len(result.output.splitlines()) < 24


def test_without_packages_it_names_them(commands, tmp_path):
    venv.create(str(tmp_path / "empty"), with_pip=False)
    python = tmp_path / "empty" / "bin" / "python"
    result = commands.run(python, "-m", "byteps_gc", "doctor", PYTHONPATH=str(ROOT))
    assert result.status == 1
    assert "not ready to train: see MXNet, gluoncv, BytePS" in result.output
    assert "Traceback" not in result.output


def test_an_engine_without_fixups_is_not_enough(commands, tmp_path):
    package = tmp_path / "byteps"
    package.mkdir()
    (package / "__init__.py").touch()
    result = commands.python("-m", "byteps_gc", "doctor", PYTHONPATH=str(tmp_path))
    assert result.status == 1
    assert "lacks the fix-ups" in result.output and "not ready to train: see BytePS" in result.output


def test_a_missing_package_is_one_line(commands, tmp_path):
    venv.create(str(tmp_path / "empty"), with_pip=False)
    python = tmp_path / "empty" / "bin" / "python"
    recorder = record.Recorder(tmp_path / "baseline.jsonl")
    recorder.write("start", model="net", dataset="images", workers=2, compression={}, epochs=1, first_epoch=0)
    recorder.write("epoch", epoch=0, accuracy=0.5, seconds=1.0)
    result = commands.run(python, "-m", "byteps_gc", "report", tmp_path, PYTHONPATH=str(ROOT))
    assert result.status == 2
    assert result.output == "byteps_gc: package rich is not installed; run ./scripts/setup.sh\n"
