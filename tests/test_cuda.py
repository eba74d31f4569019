"""What a GPU host needs that can be looked at without a GPU."""

import os
import subprocess
import sys

from byteps_gc import cli as command_line
from byteps_gc.engine import nvidia, nvidia_driver
from byteps_gc.errors import EngineError
import check_gpu
import pytest

from conftest import ROOT
from soak import COMPRESSORS


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """NVIDIA's wheels, as far as their files' names go."""
    for name in nvidia.NEEDED:
        folder = tmp_path / "site" / "nvidia" / name.split(".")[0][3:].lower() / "lib"
        folder.mkdir(parents=True)
        (folder / name).write_text(name)
    include = tmp_path / "site" / "nvidia" / "cudart" / "include"
    (include / "crt").mkdir(parents=True)
    (include / "crt" / "host_config.h").touch()
    (include / "cuda_runtime.h").touch()
    (include / "__init__.py").touch()
    (tmp_path / "site" / "nvidia" / "nccl" / "include").mkdir()
    (tmp_path / "site" / "nvidia" / "nccl" / "include" / "nccl.h").touch()
    (tmp_path / "site" / "nvidia" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield tmp_path / "site" / "nvidia"
    sys.modules.pop("nvidia", None)


def test_a_toolkit_is_made_of_the_wheels(wheels, tmp_path):
    home = nvidia.toolkit(tmp_path / "cache")
    assert (home / "include" / "crt" / "host_config.h").is_file()
    assert sorted(file.name for file in (home / "include").iterdir()) == ["crt", "cuda_runtime.h", "nccl.h"]
    assert (home / "lib" / "libcudart.so").read_text() == "libcudart.so.11.0"
    assert (home / "lib" / "libnccl.so").read_text() == "libnccl.so.2"
    assert nvidia.toolkit(tmp_path / "cache") == home
    assert os.listdir(tmp_path / "cache") == [home.name]


def test_libraries_are_linked_next_to_mxnets(wheels, tmp_path):
    folder = tmp_path / "site" / "mxnet"
    folder.mkdir()
    for _ in range(2):  # a second time is harmless
        assert nvidia.expose(folder) == len(nvidia.NEEDED)
    assert {file.name: file.read_text() for file in folder.iterdir()} == {name: name for name in nvidia.NEEDED}
    assert all(not os.path.isabs(os.readlink(file)) for file in folder.iterdir())


def test_a_library_that_is_missing_is_named(wheels):
    (wheels / "cudnn" / "lib" / "libcudnn.so.8").unlink()
    message = "NVIDIA's wheels lack libcudnn.so.8; install them with ./scripts/setup.sh --cuda"
    with pytest.raises(EngineError, match=message):
        nvidia.libraries()


@pytest.mark.parametrize(
    "words, line",
    [
        (["build", "--cuda"], "NVIDIA's wheels are not installed; install them with ./scripts/setup.sh --cuda"),
        (["libraries"], "NVIDIA's wheels are not installed; install them with ./scripts/setup.sh --cuda"),
        (
            ["build", "--cuda", "--cuda-home", "/a", "--nccl-home", "/b"],
            "--cuda (NVIDIA's wheels) cannot be combined with --cuda-home",
        ),
    ],
)
def test_a_build_that_cannot_be_is_one_line(capsys, words, line):
    assert command_line.main(["engine", *words]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert line in said.err


def test_a_missing_driver_is_one_line(monkeypatch):
    nvidia_driver.check()  # MXNet for the CPU needs none
    monkeypatch.setattr(nvidia_driver, "wanted", lambda: True)
    monkeypatch.setattr(nvidia_driver, "LIBRARY", "libno-such-driver.so.1")
    with pytest.raises(EngineError, match=r"the NVIDIA driver \(libno-such-driver.so.1\) is not; install"):
        nvidia_driver.check()
    with pytest.raises(EngineError, match=r"the NVIDIA driver \(libno-such-driver.so.1\) is not installed"):
        nvidia_driver.gpus()


DRIVER = """
#include <cstring>
extern "C" {
int cuInit(unsigned) { return STATUS; }
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int ordinal) { *device = 10 + ordinal; return 0; }
int cuDeviceGetName(char* name, int size, int device) {
  std::strncpy(name, device == 10 ? "NVIDIA A100" : "NVIDIA H100", size);
  return 0;
}
int cuDeviceGetAttribute(int* value, int what, int device) {
  *value = what == 76 ? 0 : what != 75 ? -1 : device == 10 ? 8 : 9;
  return 0;
}
}
"""


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """A driver of two GPUs whose first call returns a status, to replace NVIDIA's."""

    def pretend(status):
        (tmp_path / "driver.cc").write_text(DRIVER)
        library = tmp_path / f"libdriver-{status}.so"
        command = ["g++", "-shared", "-fPIC", f"-DSTATUS={status}", "-o", str(library), str(tmp_path / "driver.cc")]
        subprocess.run(command, check=True)
        monkeypatch.setattr(nvidia_driver, "wanted", lambda: True)
        monkeypatch.setattr(nvidia_driver, "LIBRARY", str(library))

    return pretend


def test_a_gpu_without_kernels_is_one_line(pretended):
    nvidia_driver.check()  # MXNet for the CPU needs none
    pretended(status=0)
    assert list(map(str, nvidia_driver.gpus())) == [
        "NVIDIA A100 (compute capability 8.0)",
        "NVIDIA H100 (compute capability 9.0)",
    ]
    nvidia_driver.check(processes=2, using=False)
    with pytest.raises(EngineError, match="needs one GPU per process, 4 in total, but the NVIDIA driver reports 2 "):
        nvidia_driver.check(processes=4, using=False)
    with pytest.raises(EngineError, match=r"no kernels for NVIDIA H100 \(compute capability 9.0\), only for 5.0"):
        nvidia_driver.check()


def test_a_driver_that_does_not_work_is_one_line(pretended):
    pretended(status=nvidia_driver.NO_DEVICE)
    assert nvidia_driver.gpus() == []
    with pytest.raises(EngineError, match="needs one GPU per process, 1 in total, but the NVIDIA driver reports 0 "):
        nvidia_driver.check(using=False)
    pretended(status=803)
    with pytest.raises(EngineError, match="the NVIDIA driver failed: cuInit returned status 803"):
        nvidia_driver.check()


@pytest.mark.slow
@pytest.mark.cluster
def test_the_check_of_a_gpu_without_one(commands):
    """What check_gpu.py does on a GPU, as far as it goes in host memory."""
    result = commands.python(ROOT / "scripts" / "check_gpu.py", "--host", "--large", "1000000")
    assert result.status == 0, result.output
    lines = [line for line in result.output.splitlines() if "compiling" not in line]
    assert lines[0] == "engine for host, arrays in host memory:"
    assert len(lines) == 1 + len(COMPRESSORS) and all(": equal sums" in line for line in lines[1:])


def test_a_gpu_with_different_sums_is_reported(capsys):
    right = [{"params": {}, "digest": "a", "wrong": 0, "seconds": 1}, {"params": {"fp16": True}, "digest": "b"}]
    right[1].update(wrong=None, seconds=None)
    assert check_gpu.judge({"worker-0": right, "worker-1": right}, right) == []
    other = [dict(right[0], wrong=2), dict(right[1], digest="c")]
    assert check_gpu.judge({"worker-0": right, "worker-1": other}, right) == [
        "{}: 2 sums differ from NumPy's",
        '{"fp16": true}: different sums',
    ]
    assert "DIFFERENT SUMS" in capsys.readouterr().out


def test_each_local_rank_computes_on_its_gpu(commands):
    code = (
        "from byteps_gc.training import session; import mxnet as mx; mx.context.num_gpus = lambda: 2;"
        "print([str(session.device(*what)) for what in ((1, 0), (1, 1), (1, 2), (0, 0))])"
    )
    result = commands.python("-c", code)
    assert result.output == "['gpu(0)', 'gpu(1)', 'cpu(0)', 'cpu(0)']\n"


def test_setting_up_says_what_devices_there_are(commands):
    result = commands.run(ROOT / "scripts" / "setup.sh", "--help")
    assert result.status == 0
    assert "--cpu" in result.output and "--cuda" in result.output
