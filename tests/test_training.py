"""Every compressor trains on a real cluster, and momentum means the same on both sides of the threshold."""

import json

import pytest

from conftest import PROGRAMS, commands_in

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("training")]

EF = {"ef": "vanilla", "momentum": "nesterov"}
ONEBIT = {"compressor": "onebit", "scaling": True, **EF}
ROWS = {
    "baseline": {},
    "onebit": {"params": ONEBIT},
    "onebit without scaling": {"params": {"compressor": "onebit"}, "rates": [0.001]},  # steps of +-1 times the rate
    "topk": {"params": {"compressor": "topk", "k": 0.001}},
    "topk with EF": {"params": {"compressor": "topk", "k": 0.01, **EF}},
    "randomk": {"params": {"compressor": "randomk", "k": 0.2, "seed": 1}},
    "randomk with EF": {"params": {"compressor": "randomk", "k": 0.02, **EF}},
    "dithering": {"params": {"compressor": "dithering", "k": 2, "normalize": "l2"}},
    "dithering natural": {
        "params": {"compressor": "dithering", "k": 4, "partition": "natural", "normalize": "max"},
    },
    "int8": {"params": {"compressor": "int8"}},
    "int8 with EF": {"params": {"compressor": "int8", "rounding": "stochastic", "bucket": 100, **EF}},
    "topk with fp16": {"params": {"compressor": "topk", "k": 0.01, "fp16": True}},
    "fp16": {"params": {"fp16": True}},
    "topk of more than there is": {"params": {"compressor": "topk", "k": 10**6}},
}


def train(commands, *trainings, steps=50, threshold=2000, workers=2, **env):
    """Train small nets one after the other on one cluster; the workers' results of each, in order of rank."""
    env.setdefault("BYTEPS_PARTITION_BYTES", "4096")
    result = commands.launch(
        PROGRAMS / "small_net.py",
        steps,
        *map(json.dumps, trainings),
        workers=workers,
        BYTEPS_MIN_COMPRESS_BYTES=str(threshold),
        **env,
    )
    return results_of(result, len(trainings), workers)


def results_of(result, count, workers=2):
    """The workers' results of each of ``count`` trainings or fits that a launch has printed, in order of rank."""
    assert result.status == 0, result.output
    lines = [line.split("RESULT ")[1] for line in result.output.splitlines() if "RESULT " in line]
    of_rank = [[one for one in map(json.loads, lines) if one["rank"] == rank] for rank in range(workers)]
    assert [len(results) for results in of_rank] == [count] * workers
    return [list(results) for results in zip(*of_rank)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The workers' results of every row, from one cluster."""
    with commands_in(tmp_path_factory.mktemp("rows")) as runner:
        yield dict(zip(ROWS, train(runner, *ROWS.values())))


@pytest.mark.parametrize("row", ROWS)
def test_it_trains_and_all_workers_agree(trained, row):
    """50 steps, weights of 25,600 bytes in partitions of 4096, the last of which are small."""
    assert len({one["parameters"] for one in trained[row]}) == 1
    for one in trained[row]:
        assert one["finite"]
        assert sum(one["losses"][-10:]) < sum(one["losses"][:10])


def test_a_learning_rate_of_zero_is_harmless(commands):
    """A warm-up from 0 and an end at 0, where the released error feedback divides 0 by 0."""
    rates = [0.0, 0.0, 0.02, 0.05, 0.0, 0.05, 0.02, 0.01, 0.0]
    (results,) = train(commands, {"params": ONEBIT, "rates": rates}, steps=2 * len(rates))
    assert all(one["finite"] for one in results)


def test_gradients_are_sent_during_backward(commands):
    """Backward waits halfway for what has its gradients already: nothing that is done to them may wait for its end."""
    rows = ("baseline", [4, 4]), ("baseline", [4, 5]), ("onebit", [4, 5]), ("fp16", [4, 4])
    trainings = [json.dumps([ROWS[row].get("params", {}), sizes]) for row, sizes in rows]
    result = commands.launch(PROGRAMS / "overlap.py", *trainings, BYTEPS_GC_SLOT_BYTES="1000000000")
    assert result.status == 0, result.output
    assert result.output.count("were sent before backward was over") == 2 * len(rows), result.output


def same(one, other, near=1e-5):
    """Whether two runs followed one trajectory, but for rounding."""
    assert one["first"] == pytest.approx(other["first"], rel=near, abs=near / 10)
    assert one["norms"] == pytest.approx(other["norms"], rel=near)


@pytest.mark.parametrize("threshold", [0, 2000, 10**9])
def test_momentum_in_front_of_the_identity_is_nesterov_momentum(commands, threshold):
    """Everything compressed, some, nothing: MXNet's NAG, with wd_mult 0 and lr_mult 0.5 for some.

    Onebit, too, where nothing is compressed.

    At one rate: MXNet's momentum holds the rate of each step, that of the paper does not.
    """
    halves = [{"compressor": "identity", "half": half, "momentum": "nesterov", "fp16": half} for half in (False, True)]
    alike = [ONEBIT] if threshold == 10**9 else []
    trainings = [{"params": params, "rates": [0.002], "multipliers": True} for params in ({}, *halves, *alike)]
    plain, whole, half, *onebit = (results[0] for results in train(commands, *trainings, steps=20, threshold=threshold))
    same(whole, plain)
    same(half, plain, near=3e-3)
    for dense in onebit:
        same(dense, plain)
