"""The two wheels of ``engine build``, and a host without a compiler that is set up from them."""

import base64
import hashlib
from pathlib import Path
import subprocess
import sys
import zipfile

from byteps_gc.native import build as native
import pytest

from conftest import PROGRAMS, ROOT, SET_UP, commands_in
from environments import packages, path_without_compiler


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with both wheels."""
    with commands_in(tmp_path_factory.mktemp("build")) as commands:
        (commands.folder / "wheels").mkdir()
        earlier = commands.folder / "wheels" / "byteps-0.2.5.post15+gc.host.0-py3-none-linux_x86_64.whl"
        earlier.touch()
        result = commands.python("-m", "byteps_gc", "engine", "build")
        assert result.status == 0, result.output
        package, engine = map(Path, result.output.strip().splitlines()[-2:])
        assert package.name.startswith("byteps_gc-") and engine.name.startswith("byteps-0.2.5.post15+gc.host.")
        folder = commands.folder / "wheels"
        assert sorted(folder.iterdir()) == sorted((folder / package.name, folder / engine.name))
    return folder


def test_the_wheels_list_their_files_and_hashes(wheels):
    for file in wheels.iterdir():
        with zipfile.ZipFile(str(file)) as wheel:
            record = next(name for name in wheel.namelist() if name.endswith(".dist-info/RECORD"))
            lines = [line.rsplit(",", 2) for line in wheel.read(record).decode().splitlines()]
            assert sorted(name for name, _, _ in lines) == sorted(wheel.namelist())
            for name, digest, size in lines:
                content = wheel.read(name)
                found = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
                assert name == record or (digest, size) == (f"sha256={found}", str(len(content)))


def test_the_package_has_all_its_files_and_both_native_libraries(wheels):
    with zipfile.ZipFile(str(next(wheels.glob("byteps_gc-*")))) as wheel:
        names = set(wheel.namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "byteps_gc"], cwd=str(ROOT), stdout=subprocess.PIPE, text=True, check=True
    )
    assert names.issuperset(tracked.stdout.splitlines())
    libraries = {f"byteps_gc/native/lib/{native.precompiled_name(isa)}" for isa in ("avx2", "portable")}
    assert libraries == {name for name in names if name.endswith(".so")}


def test_a_library_of_other_sources_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "PRECOMPILED", tmp_path / "lib")
    (tmp_path / "lib").mkdir()
    library = tmp_path / "lib" / native.precompiled_name("portable")
    library.touch()
    assert native.precompiled("portable") == library == native.build("portable")
    compiled = tmp_path / "compiled.so"
    compiled.touch()
    monkeypatch.setattr(native, "compiled", lambda isa, flags: compiled)
    assert native.build("portable", ["-g"]) == compiled
    sources = tmp_path / "src"
    sources.mkdir()
    (sources / "capi.cc").write_text("// another version")
    monkeypatch.setattr(native, "SOURCE", sources)
    assert native.precompiled("portable") is None


@pytest.mark.slow
@pytest.mark.cluster
def test_a_host_without_a_compiler_trains(commands, wheels, tmp_path):
    """MXNet and others are on PYTHONPATH, where pip finds them installed; setuptools works in site-packages only."""
    installed = packages(tmp_path / "packages", without=("byteps", "setuptools", "_distutils", "pkg_resources"))
    host = tmp_path / "host"
    env = dict(
        SET_UP,
        PATH=path_without_compiler(tmp_path / "programs"),
        PYTHONPATH=str(installed),
        BYTEPS_GC_CACHE=str(tmp_path / "cache"),
        BYTEPS_GC_VENV=str(host),
    )
    result = commands.run(ROOT / "scripts" / "setup.sh", "--wheels", wheels, **env)
    assert result.status == 0, result.output
    python = host / "bin" / "python"
    result = commands.run(python, "-m", "byteps_gc", "doctor", **env)
    assert result.output.endswith("ready to train\n"), result.output
    assert "precompiled in the wheel" in result.output and "apt-get install g++ make" in result.output
    training = (PROGRAMS / "small_net.py", 2, '{"params": {"compressor": "topk", "k": 0.1, "ef": "vanilla"}}')
    result = commands.run(python, "-m", "byteps_gc", "launch", "--", python, *training, **env)
    assert (result.status, result.output.count("RESULT")) == (0, 2), result.output
    assert not list((tmp_path / "cache").rglob("*.so"))
    result = commands.run(ROOT / "scripts" / "setup.sh", "--", "python", "-c", "import sys; print(sys.prefix)", **env)
    assert (result.status, result.output) == (0, f"{host}\n")


def test_without_wheel_and_compiler_the_reason_is_one_line(commands, tmp_path):
    env = dict(PATH=path_without_compiler(tmp_path / "programs"), BYTEPS_GC_CACHE=str(tmp_path / "cache"))
    code = "from byteps_gc.native import binding; binding.library()"
    result = commands.run(sys.executable, "-c", code, **env)
    assert result.status == 1 and "g++ is not installed; on Debian or Ubuntu" in result.output.splitlines()[-1]
