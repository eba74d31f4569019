"""A short run of the fuzzing harnesses, the same everywhere, built by g++ with ASan and UBSan (see scripts/fuzz.py)."""

import os
import re
import subprocess

from byteps_gc import env
from byteps_gc.native.build import ISAS
from byteps_gc.toolchain import Compiler, locked
import fuzz
import pytest

from conftest import ROOT

RUNS = 5_000  # scripts/fuzz.py runs for hours
FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", *fuzz.SANITIZERS, *ISAS["portable"])


def build(tree, sources, flags, program):
    """A harness with its own driver; the objects are cached, by one test process for all."""
    jobs = len(os.sched_getaffinity(0))
    compiler = Compiler(tree, env.cache_folder() / "native" / "objects", jobs, lambda source: None)
    with locked(env.cache_folder() / "native" / "fuzz"):
        objects = compiler.compile_all((*map(str, sources), str(fuzz.HARNESS / "replay.cc")), (*FLAGS, *flags))
    compiler.run("g++", *fuzz.SANITIZERS, *map(str, objects), "-o", str(program))
    return program


@pytest.fixture(scope="module")
def replay(tmp_path_factory):
    """The decoders' harness."""
    folder = tmp_path_factory.mktemp("fuzz")
    return build(folder, fuzz.decoder_sources(), fuzz.DECODER_FLAGS, folder / "decode")


@pytest.fixture(scope="module")
def replay_engine(tmp_path_factory):
    """The engine's harness."""
    folder = tmp_path_factory.mktemp("fuzz")
    return build(fuzz.engine_tree(folder), fuzz.engine_sources(), fuzz.ENGINE_FLAGS, folder / "engine")


def run(program, *words):
    """Run the harness; what it prints, and its status."""
    options = dict(os.environ, ASAN_OPTIONS="max_allocation_size_mb=256")
    done = subprocess.run(
        [str(program), *map(str, words)], env=options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    return done.returncode, done.stdout.decode(errors="replace")


@pytest.mark.parametrize("target", fuzz.DECODERS)
def test_no_input_does_harm(replay, target):
    status, output = run(replay, target, "--runs", RUNS, "--seed", 1)
    assert status == 0, output[-3000:]
    refused, accepted = map(int, re.fullmatch(r"(\d+) refused, (\d+) accepted\n", output).groups())
    assert refused + accepted == RUNS
    assert min(refused, accepted) > RUNS / 50  # the harness gets behind the checksum, and does make faults


@pytest.mark.parametrize("target", fuzz.ENGINE)
def test_no_message_does_harm(replay_engine, target):
    status, output = run(replay_engine, target, "--runs", RUNS, "--seed", 1)
    assert status == 0, output[-3000:]
    refused, accepted = map(int, re.fullmatch(r"(\d+) refused, (\d+) accepted\n", output).groups())
    assert min(refused, accepted) > RUNS / 50, output


def test_files_are_replayed(replay, tmp_path):
    (tmp_path / "input").write_bytes(bytes(range(60)))
    status, output = run(replay, "onebit-push", tmp_path / "input", tmp_path / "input")
    assert (status, output) in ((0, "2 refused, 0 accepted\n"), (0, "0 refused, 2 accepted\n"))
    assert run(replay, "onebit-push", tmp_path / "nothing")[0] == 2
    status, output = run(replay, "twobit-push")
    assert status and "unknown target" in output


def test_the_script_needs_clang(commands):
    result = commands.python(ROOT / "scripts" / "fuzz.py", "options", PATH="/nowhere")
    assert (result.status, result.output) == (
        1,
        "fuzz: clang++ is not installed; on Debian or Ubuntu: apt-get install clang\n",
    )
    result = commands.python(ROOT / "scripts" / "fuzz.py", "twobit")
    assert result.status == 2 and "unknown target twobit" in result.output
