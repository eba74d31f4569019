"""The engine's source, fix-ups and cache, against the real source release."""

import os
from pathlib import Path
import shutil
import signal
import sys
import time

from byteps_gc import env
from byteps_gc.engine import build, changes, compile, fixups, source
from byteps_gc.errors import EngineError
from byteps_gc.toolchain import locked
import pytest


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The unpacked source release."""
    tarball = source.fetch(env.cache_folder() / "engine")
    return source.unpack(tarball, tmp_path_factory.mktemp("release"))


@pytest.fixture
def tree(release, tmp_path):
    """A copy of the release that a test may change."""
    return Path(shutil.copytree(str(release), str(tmp_path / "tree")))


def test_every_anchor_is_found_once(tree):
    fixups.apply(tree, changes.FIXUPS)
    for fixup in changes.FIXUPS:
        for edit in fixup.edits:
            assert edit.put in (tree / edit.path).read_text()
        for path, name in fixup.files:
            assert (tree / path).read_bytes() == (fixups.FILES / name).read_bytes()


@pytest.mark.parametrize("fixup", changes.FIXUPS, ids=changes.NAMES)
def test_every_fixup_applies_alone_and_says_why(tree, fixup):
    fixup.apply(tree)
    problem, cure = fixup.reason.split("; the fix-up ")
    assert len(problem) > 40 and cure
    assert not fixup.issue or fixup.issue.startswith("bytedance/byteps#")


def test_an_anchor_that_is_not_there_stops_the_build(tree):
    edit = changes.FIXUPS[0].edits[0]
    edit.apply(tree)
    with pytest.raises(EngineError, match=r"ready_table.cc: found the anchor .* 0 times instead of once"):
        edit.apply(tree)
    file = tree / edit.path
    file.write_text(edit.find + edit.find)
    with pytest.raises(EngineError, match="2 times instead of once"):
        edit.apply(tree)
    file.unlink()
    with pytest.raises(EngineError, match="byteps/common/ready_table.cc does not exist in the source"):
        edit.apply(tree)


def test_an_unknown_fixup_cannot_be_left_out():
    assert "key-hash" not in [one.name for one in changes.select(["key-hash"])]
    with pytest.raises(EngineError, match="unknown fix-up later; known: ready-count"):
        changes.select(["later"])


def test_another_source_is_refused(tmp_path):
    other = tmp_path / source.TARBALL
    other.write_bytes(b"something else")
    with pytest.raises(EngineError, match="has sha256 .*, but byteps-0.2.5.post15.tar.gz has 9d6a3c5b"):
        source.fetch(tmp_path / "cache", other)
    with pytest.raises(EngineError, match="missing.tar.gz does not exist"):
        source.fetch(tmp_path / "cache", tmp_path / "missing.tar.gz")


def test_the_key_depends_on_what_goes_in(tmp_path):
    keys = {
        build.key(compile.HOST, changes.FIXUPS),
        build.key(compile.HOST, changes.FIXUPS[1:]),
        build.key(compile.Device("cuda"), changes.FIXUPS),
    }
    assert len(keys) == 3
    assert build.key(compile.HOST, changes.FIXUPS) in keys


def test_cuda_that_is_not_there_is_named(tmp_path):
    with pytest.raises(EngineError, match="has no include/cuda_runtime.h"):
        compile.cuda(tmp_path, tmp_path)
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "cuda_runtime.h").touch()
    with pytest.raises(EngineError, match=r"has no lib/libcudart.so or lib64/libcudart.so"):
        compile.cuda(tmp_path, tmp_path)


def test_the_build_command_finds_the_wheel_and_says_only_its_path(commands):
    result = commands.python("-m", "byteps_gc", "engine", "build")
    assert result.status == 0
    wheel = Path(result.output.strip())
    assert wheel.is_file() and wheel.name.startswith("byteps-0.2.5.post15+gc.host.")
    result = commands.python("-m", "byteps_gc", "engine", "build", "--cuda-home", "/nowhere")
    assert (result.status, result.output) == (2, "byteps_gc: --cuda-home and --nccl-home must be given together\n")


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_half_wheel(commands, tmp_path, sig):
    """The cache has the release already; the build is ended while it compiles."""
    cache = tmp_path / "cache"
    (cache / "engine").mkdir(parents=True)
    shutil.copy(str(env.cache_folder() / "engine" / source.TARBALL), str(cache / "engine"))
    child = commands.start(sys.executable, "-m", "byteps_gc", "engine", "build", BYTEPS_GC_CACHE=str(cache))
    assert "compiling" in child.stdout.readline()
    time.sleep(1)
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
