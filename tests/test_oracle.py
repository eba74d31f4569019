"""Random training programs on a cluster equal one process of MXNet's own Trainer (see oracle.py).

The programs follow from a fixed seed. scripts/oracle.py runs thousands, from any seed.
"""

import numpy as np
import pytest

from conftest import ROOT
from oracle import HEADS, MOST_WORKERS, cluster_in, machine, run_programs
from oracle_cluster import ClusterFailure
from oracle_reference import Difference, Reference

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("oracle")]

SEED = 1
PROGRAMS = {2: 60, 3: 30}  # by the number of workers
SPEC = {
    "seed": 7,
    "setting": "none",
    "dtype": "float32",
    "scale": None,
    "optimizer": "sgd",
    "rate": 0.05,
    "options": {"momentum": 0.9, "wd": 0.01},
    "scheduler": None,
    "rescale": 1.0,
    "small": False,
    "deferred": False,
    "broadcast": False,
    "grad_req": "write",
    "size": None,
}
UNEVEN = (1, 2, 4)


class OtherMomentum(Reference):
    """1 % less momentum."""

    def make_trainer(self, rate):
        trainer = super().make_trainer(rate)
        trainer.optimizer.momentum *= 0.99
        return trainer


class OtherRate(Reference):
    """0.1 % more learning rate, which the states do not show."""

    def make_trainer(self, rate):
        return super().make_trainer(rate * 1.001)

    def check_bookkeeping(self, mine, state, who):
        """Leave the rates alone."""


class OneBatchSize(Reference):
    """All gradients are divided by the first worker's batch size."""

    def train(self, op):
        parts = {size: size / op["sizes"][0] for size in op["sizes"]}
        self.factors = [parts[size] for size in op["sizes"]]
        super().train(op)

    def contribution(self, op, worker):
        found = super().contribution(op, worker)
        return {name: value * self.factors[worker] for name, value in found.items()}


class StaleUpdate(Reference):
    """A head that no worker has used is updated with its last gradient."""

    def contribution(self, op, worker):
        return super().contribution(dict(op, heads=[HEADS] * MOST_WORKERS), worker)


class Perturbed(Reference):
    """One parameter is changed by 1 % after a step."""

    def train(self, op):
        super().train(op)
        self.net[2].bias.data()[:] *= 1.01


WRONG = [OtherMomentum, OtherRate, OneBatchSize, StaleUpdate, Perturbed]


@pytest.fixture(scope="module", params=PROGRAMS, ids="{} workers".format)
def cluster(request, tmp_path_factory):
    """A cluster that is started at its first operation."""
    with cluster_in(tmp_path_factory.mktemp("oracle"), request.param) as running:
        yield running


def train_a_little(cluster, reference, **spec):
    """Run a program of fixed operations."""
    program = machine(cluster, reference)()
    program.begin(spec=dict(SPEC, **spec))
    program.step(sizes=UNEVEN, passes=1)
    program.step(sizes=UNEVEN, passes=1)
    program.step_of_some_heads(sizes=UNEVEN, heads=((1,),) * MOST_WORKERS, passes=1)
    program.teardown()


def test_programs_equal_one_process(cluster):
    assert run_programs(cluster, PROGRAMS[cluster.workers], SEED) >= PROGRAMS[cluster.workers]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_program_of_fixed_operations_is_equal(cluster, dtype):
    train_a_little(cluster, Reference, dtype=dtype)


@pytest.mark.parametrize(
    "reference, setting",
    [(kind, setting) for setting in ("none", "fp16") for kind in WRONG if (kind, setting) != (OtherRate, "fp16")],
)
def test_a_wrong_reference_is_reported(cluster, reference, setting):
    """But for 0.1 % of the rate with fp16, which is float16's rounding."""
    with pytest.raises(Difference, match="differs from one process by"):
        train_a_little(cluster, reference, setting=setting)


def test_workers_that_differ_are_reported():
    """By one bit of one parameter."""
    reference = Reference(dict(SPEC), 2, None)
    state = dict(reference.state(), skipped=0)
    other = dict(state, parameters={name: value.copy() for name, value in state["parameters"].items()})
    reference.check([state, other])
    other["parameters"]["net_dense1_bias"].view(np.uint8)[0] ^= 1
    with pytest.raises(Difference, match="worker 1 differs from worker 0 in net_dense1_bias"):
        reference.check([state, other])


def test_a_worker_that_fails_is_reported_and_the_next_program_has_another_cluster(cluster):
    op = {"do": "no such operation"}
    cluster.send(op)
    with pytest.raises(ClusterFailure, match="worker 0 failed in no such operation:\nTraceback"):
        cluster.answers(op)
    train_a_little(cluster, Reference)


def test_the_script_runs_programs(commands):
    result = commands.python(ROOT / "scripts" / "oracle.py", "--programs", 5, "--workers", 2, "--seed", 3)
    assert result.status == 0, result.output
    assert result.output.startswith("oracle: 2 workers, seed 3: ") and result.output.endswith(" s: all equal\n")


@pytest.mark.parametrize("flags", [("--programs", "0"), ("--programs", "many"), ("--workers", "4"), ("--steps", "1")])
def test_wrong_flags_are_rejected_in_one_line(commands, flags):
    result = commands.python(ROOT / "scripts" / "oracle.py", *flags)
    assert result.status == 2 and result.output.count("\n") == 1 and flags[0] in result.output, result.output
