"""The native compressors in BytePS's registry: what happens when something is wrong, on real clusters."""

import json
import sys

from byteps_gc.bench.stock import engine
from byteps_gc.cluster import roles, secret, supervisor
import pytest
from test_training import EF, ONEBIT, results_of

from conftest import PROGRAMS, commands_in

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("plugin")]

DETERMINISTIC = {
    "onebit": ONEBIT,
    "topk": {"compressor": "topk", "k": 0.05, **EF},
    "identity": {"compressor": "identity", "half": True, **EF},
}


RANDOMK = {"compressor": "randomk", "k": 0.1, "seed": 1, **EF}
POISONS = (None, [5, "nan", 0], [5, "inf", 0], [5, "nan", 1], [5, "-inf", 1])


def launch(commands, *fits, program=(PROGRAMS / "descent.py",), steps=12, threshold=2000, **env):
    env = {"BYTEPS_MIN_COMPRESS_BYTES": str(threshold), "BYTEPS_PARTITION_BYTES": "4096", **env}
    return commands.launch(*program, steps, *map(json.dumps, fits), **env)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory):
    """The workers' results by compressor: without poison, and with it in a dense and in a compressed gradient."""
    params = {**DETERMINISTIC, "randomk": RANDOMK}
    fits = [{"params": one, "poison": poison} for one in params.values() for poison in POISONS]
    with commands_in(tmp_path_factory.mktemp("poisoned")) as runner:
        results = iter(results_of(launch(runner, *fits), len(fits)))
        yield {name: [next(results) for _ in POISONS] for name in params}


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_a_step_that_is_not_finite_changes_nothing(poisoned, name):
    """Worker 1 has a value that is not finite: all skip the step, and no state depends on it."""
    clean, *others = poisoned[name]
    assert [one["skipped"] for one in clean] == [0, 0]
    for results in others:
        assert [one["skipped"] for one in results] == [1, 1]
        assert {one["parameters"] for one in results} == {one["parameters"] for one in clean}


def test_randomk_continues_after_a_skipped_step(poisoned):
    for results in poisoned["randomk"][1:]:
        assert all(one["skipped"] == 1 and one["finite"] for one in results)
        assert len({one["parameters"] for one in results}) == 1


def test_workers_with_different_learning_rates_are_rejected(commands):
    result = launch(commands, {"params": ONEBIT}, OTHER_RATE="0.25")
    assert result.status != 0
    assert "rejected different learning rates: 0.05 and 0.25" in result.output  # by the server
    assert "gradient_1: the server rejected the step: different learning rates: 0.05 and 0.25" in result.output
    assert "Traceback" not in result.output


OTHER_VERSION = """
import os, runpy, sys
import byteps_gc.compressors.options as options, byteps_gc.native.build as build
original = build.build
build.build = lambda isa, flags: original(isa, (*flags, "-O1", "-DBGC_VERSION=2"))
options.VERSION = 2
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_server_of_another_version_says_so(commands):
    result = launch(commands, {"params": ONEBIT}, program=("-c", OTHER_VERSION, PROGRAMS / "descent.py"))
    assert result.status != 0
    assert "server: gradient_1: requested compressors of version 2, but this process has version 1" in result.output
    assert "a frame of a different version: 1, but this process has 2" in result.output


def test_a_server_without_the_compressors_says_so(commands):
    """BytePS's own server, started by hand: it says why and ends, and so do the others."""
    cluster = roles.Cluster(workers=1, servers=1, port=supervisor.free_port())
    file = str(secret.make(commands.folder / secret.NAME))

    def start(role, worker, *words):
        base = commands.environment(BYTEPS_MIN_COMPRESS_BYTES="2000", BYTEPS_GC_SECRET_FILE=file)
        env = roles.environment(cluster, role, worker, address=supervisor.LOOPBACK, base=base)
        return commands.start(sys.executable, *words, **env)

    scheduler = start("scheduler", None, "-m", "byteps_gc", "role")
    server = start("server", None, "-c", "import byteps.server")
    worker = start("worker", 0, PROGRAMS / "descent.py", "3", json.dumps({"params": ONEBIT}))
    output, _ = server.communicate(timeout=60)
    assert server.returncode == 2
    assert (
        "byteps: unknown compressor byteps_gc_compressor_type; start servers with: python -m byteps_gc server" in output
    )
    for survivor in (worker, scheduler):
        output, _ = survivor.communicate(timeout=60)
        assert survivor.returncode == supervisor.PEER_LOST, output
        assert "byteps: server on 127.0.0.1 has died" in output


@pytest.mark.slow
def test_byteps_as_released_trains_the_same(commands, tmp_path):
    """With only the fix-ups that it needs to start: its server adds zeros, our compressors keep the sums.

    The threshold is 0, because stock BytePS can overwrite an uncompressed gradient while it is being sent.
    """
    engine.unpack(tmp_path / "engine")
    several = (ONEBIT, {"compressor": "topk", "k": 0.01}, {"compressor": "dithering", "k": 2, **EF})
    fits = [{"params": params} for params in several]
    released, ours = (
        results_of(launch(commands, *fits, steps=3, threshold=0, **env), len(fits))
        for env in ({"PYTHONPATH": str(tmp_path / "engine")}, {})
    )
    for one, other in zip(released, ours):
        assert {result["parameters"] for result in one} == {result["parameters"] for result in other}
