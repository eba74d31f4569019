"""The engine's source, build and cache, against the real source releases."""

import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import zipfile

from byteps_gc import env
from byteps_gc.engine import build, compile, fixups, source
from byteps_gc.errors import EngineError
from byteps_gc.toolchain import Compiler, locked
import pytest


@pytest.mark.parametrize("release", source.RELEASES, ids=[release.name for release in source.RELEASES])
def test_a_folder_of_sources_is_complete_and_unchanged(tmp_path, release):
    for other in source.RELEASES:
        if other != release:
            shutil.copy(str(env.cache_folder() / "engine" / other.file), str(tmp_path))
    with pytest.raises(EngineError) as missing:
        source.fetch(tmp_path / "cache", tmp_path)
    assert str(missing.value) == (
        f"file {tmp_path / release.file} ({release.contents}, sha256 {release.sha256}) does not exist"
    )
    (tmp_path / release.file).write_bytes(b"something else")
    with pytest.raises(EngineError, match=f"has sha256 .*, but {release.file} has {release.sha256}"):
        source.fetch(tmp_path / "cache", tmp_path)


def test_a_connection_is_encrypted_and_needs_the_servers_key(tmp_path):
    """With the very objects that are linked into the engine's libraries."""
    tree = source.unpack(source.fetch(env.cache_folder() / "engine"), tmp_path)
    fixups.apply(tree, fixups.select())
    work = compile.Build(tree, env.cache_folder() / "engine" / "objects", os.cpu_count(), lambda line: None)
    objects = [*work.libzmq(compile.HOST), work.libsodium()]
    program = Path(__file__).parent / "programs" / "curve.cc"
    work.run("g++", str(program), f"-I{source.LIBZMQ}/include", *map(str, objects), "-lpthread", "-lrt", "-o", "curve")
    found = subprocess.run([str(tree / "curve")], stdout=subprocess.PIPE, text=True, timeout=60, check=True).stdout
    assert found.splitlines() == [
        "libzmq 4.3.4, curve 1, ipc 1",
        "the right key: received",
        "another key: refused",
        "no key: refused",
    ]


def test_the_wheel_has_the_licenses():
    with zipfile.ZipFile(str(build.build())) as wheel:
        texts = {
            "/".join(name.split("/")[-2:]): wheel.read(name).decode()
            for name in wheel.namelist()
            if "licenses/" in name
        }
    assert sorted(texts) == [
        "BytePS-0.2.5.post15/LICENSE",
        "libsodium-1.0.20/LICENSE",
        "libzmq-4.3.4/COPYING",
        "libzmq-4.3.4/COPYING.LESSER",
    ]
    assert "SPECIAL EXCEPTION" in texts["libzmq-4.3.4/COPYING.LESSER"] and "ISC" in texts["libsodium-1.0.20/LICENSE"]


def test_the_key_depends_on_what_goes_in(monkeypatch):
    keys = {
        build.key(compile.HOST, fixups.select()),
        build.key(compile.HOST, fixups.select(["server"])),
        build.key(compile.Device("cuda"), fixups.select()),
    }
    assert len(keys) == 3
    assert build.key(compile.HOST, fixups.select()) in keys
    monkeypatch.setattr(build, "find_mxnet", lambda: None)
    assert build.key(compile.HOST, fixups.select()) not in keys


def test_without_mxnet_the_wheel_has_all_but_the_shim(monkeypatch, commands, tmp_path):
    with zipfile.ZipFile(str(build.build())) as wheel:
        complete = set(wheel.namelist())
    monkeypatch.setattr(build, "find_mxnet", lambda: None)
    with zipfile.ZipFile(str(build.build())) as wheel:
        assert "byteps/core/c_lib.so" in wheel.namelist()
        missing = complete.difference(wheel.namelist())
        wheel.extractall(str(tmp_path))
    shim = {"byteps/mxnet/" + name for name in ("__init__.py", "compression.py", "ops.py", "c_lib.so")}
    assert shim == {name for name in missing if "dist-info" not in name}
    code = (
        "import sys; sys.modules['mxnet'] = None; import ctypes, byteps.common; from byteps_gc import native; "
        f"core = ctypes.CDLL({str(tmp_path / 'byteps/core/c_lib.so')!r}, ctypes.RTLD_GLOBAL); "
        "native.register('worker'); print(core.byteps_init, byteps.common.__file__)"
    )
    result = commands.run(sys.executable, "-c", code, PYTHONPATH=str(tmp_path))
    assert result.status == 0 and str(tmp_path) in result.output, result.output


def test_cuda_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EngineError, match="has no include/cuda_runtime.h"):
        compile.cuda(tmp_path, tmp_path)
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "cuda_runtime.h").touch()
    with pytest.raises(EngineError, match=r"has no lib/libcudart.so or lib64/libcudart.so"):
        compile.cuda(tmp_path, tmp_path)


def test_the_build_command_finds_the_wheel_and_says_only_its_path(commands):
    result = commands.python("-m", "byteps_gc", "engine", "build", "--engine-only")
    assert result.status == 0
    wheel = Path(result.output.strip())
    assert wheel.is_file() and wheel.name.startswith("byteps-0.2.5.post15+gc.host.")
    result = commands.python("-m", "byteps_gc", "engine", "build", "--cuda-home", "/nowhere")
    assert (result.status, result.output) == (2, "byteps_gc: --cuda-home and --nccl-home must be given together\n")


def test_a_compile_error_names_the_line_of_the_source(tmp_path):
    """Although what is compiled is preprocessed text."""
    (tmp_path / "broken.cc").write_text("#include <cstddef>\n\nint x = y;\n")
    objects = tmp_path / "objects"
    with pytest.raises(EngineError, match=r"^g\+\+ failed with status 1: broken\.cc:3:9: error: "):
        Compiler(tmp_path, objects, 1, lambda source: None).compile_all(("broken.cc",), ("-std=c++17",))
    assert not list(objects.iterdir())


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_half_wheel(commands, tmp_path, sig):
    """The cache has the sources already; the build is ended while it compiles."""
    cache = tmp_path / "cache"
    (cache / "engine").mkdir(parents=True)
    for release in source.RELEASES:
        shutil.copy(str(env.cache_folder() / "engine" / release.file), str(cache / "engine"))
    child = commands.start(sys.executable, "-m", "byteps_gc", "engine", "build", BYTEPS_GC_CACHE=str(cache))
    assert "compiling" in child.stdout.readline()
    while not any("/cc1" in one.words for one in commands.alive()):
        assert child.poll() is None
    os.kill(child.pid, sig)
    child.communicate(timeout=30)
    assert child.returncode != 0
    assert commands.gone() == []
    assert not list(cache.rglob("*.whl"))
    if sig != signal.SIGKILL:
        assert not list((cache / "engine").glob("build-*"))
    else:
        with locked(cache / "engine"):
            assert not list((cache / "engine").glob("build-*"))
