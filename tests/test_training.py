"""Every compressor trains on a real cluster, and momentum means the same on both sides of the threshold."""

import json

import pytest

from conftest import PROGRAMS

pytestmark = pytest.mark.cluster

EF = {"ef": "vanilla", "momentum": "nesterov"}
ROWS = {
    "baseline": {},
    "onebit": {"compressor": "onebit", "scaling": True, **EF},
    "onebit without scaling": {"compressor": "onebit"},
    "topk": {"compressor": "topk", "k": 0.001},
    "topk with EF": {"compressor": "topk", "k": 0.01, **EF},
    "randomk": {"compressor": "randomk", "k": 0.2, "seed": 1},
    "randomk with EF": {"compressor": "randomk", "k": 0.02, **EF},
    "dithering": {"compressor": "dithering", "k": 2, "normalize": "l2"},
    "dithering natural": {"compressor": "dithering", "k": 4, "partition": "natural", "normalize": "max"},
    "topk with fp16": {"compressor": "topk", "k": 0.01, "fp16": True},
    "fp16": {"fp16": True},
    "topk of more than there is": {"compressor": "topk", "k": 10**6},
}


def train(commands, params, steps=50, rates=(), threshold=2000, workers=2, **env):
    """Train the small net; returns the workers' results in order of rank."""
    words = [str(rate) for rate in rates]
    env.setdefault("BYTEPS_PARTITION_BYTES", "4096")
    result = commands.launch(
        PROGRAMS / "small_net.py",
        steps,
        json.dumps(params),
        *words,
        workers=workers,
        BYTEPS_MIN_COMPRESS_BYTES=str(threshold),
        **env,
    )
    assert result.status == 0, result.output
    lines = [line.split("RESULT ")[1] for line in result.output.splitlines() if "RESULT " in line]
    results = sorted(map(json.loads, lines), key=lambda one: one["rank"])
    assert [one["rank"] for one in results] == list(range(workers))
    return results


@pytest.mark.parametrize("params", ROWS.values(), ids=list(ROWS))
def test_it_trains_and_all_workers_agree(commands, params):
    """50 steps, weights of 25,600 bytes in partitions of 4096, the last of which are small."""
    rates = [0.001] if params == {"compressor": "onebit"} else []  # steps of +-1 times the rate
    results = train(commands, params, rates=rates)
    assert len({one["parameters"] for one in results}) == 1
    for one in results:
        assert one["finite"]
        assert sum(one["losses"][-10:]) < sum(one["losses"][:10])


def test_a_learning_rate_of_zero_is_harmless(commands):
    """A warm-up from 0 and an end at 0, where the released error feedback divides 0 by 0."""
    rates = [0.0, 0.0, 0.02, 0.05, 0.0, 0.05, 0.02, 0.01, 0.0]
    results = train(commands, ROWS["onebit"], steps=2 * len(rates), rates=rates)
    assert all(one["finite"] for one in results)


def same(one, other, near=1e-5):
    """Whether two runs followed one trajectory, but for rounding."""
    assert one["first"] == pytest.approx(other["first"], rel=near, abs=near / 10)
    assert one["norms"] == pytest.approx(other["norms"], rel=near)


def test_momentum_of_what_travels_dense_is_nesterov_momentum(commands):
    """Below the threshold, onebit with momentum and weight decay follows MXNet's NAG."""
    dense = train(commands, ROWS["onebit"], steps=20, rates=[0.002], threshold=10**9)[0]
    same(dense, train(commands, {}, steps=20, rates=[0.002])[0])


@pytest.mark.parametrize("threshold", [0, 2000, 10**9])
@pytest.mark.parametrize("half, near", [(False, 1e-5), (True, 3e-3)])
def test_momentum_in_front_of_the_identity_is_nesterov_momentum(commands, threshold, half, near):
    """Everything compressed, some, nothing: MXNet's NAG, with wd_mult 0 and lr_mult 0.5 for some.

    At one rate: MXNet's momentum holds the rate of each step, that of the paper does not.
    """
    params = {"compressor": "identity", "half": half, "momentum": "nesterov", "fp16": half}
    options = {"steps": 20, "rates": [0.002], "MULTIPLIERS": "1"}
    ours = train(commands, params, threshold=threshold, **options)[0]
    same(ours, train(commands, {}, **options)[0], near)
