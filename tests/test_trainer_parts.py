"""What the trainer is made of, without a cluster: comparisons, momentum around the exchange, the file of states."""

from byteps_gc.compressors.settings import Settings
from byteps_gc.core import agreement
from byteps_gc.errors import CompressionError, ExchangeError
from byteps_gc.mxnet import momentum, optimizers, state_file, trainer_states
import mxnet as mx
import numpy as np
import pytest

SETTINGS = ["settings", {"compression": {}}]
WEIGHT = ["dense#_weight 0", [10, 4], "float32", "grad_req=write", "dense8_weight"]


def other(**changes):
    fields = dict(zip(("canonical", "shape", "dtype", "more", "name"), WEIGHT), **changes)
    return list(fields.values())


@pytest.mark.parametrize("same", [{}, {"name": "dense0_weight"}, {"shape": [10, 0]}, {"shape": None}])
def test_descriptions_that_agree(same):
    assert agreement.difference(range(3), [[SETTINGS, WEIGHT], [SETTINGS, other(**same)], [SETTINGS, WEIGHT]]) is None


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"shape": [4, 10]}, "dense8_weight (4, 10) float32 grad_req=write on worker 1"),
        ({"shape": [40]}, "dense8_weight (40,) float32"),
        ({"dtype": "float16"}, "float16"),
        ({"more": "grad_req=null"}, "grad_req=null"),
        ({"canonical": "dense#_weight 1", "name": "dense9_weight"}, "dense9_weight"),
    ],
)
def test_descriptions_that_differ(changes, words):
    found = agreement.difference(range(3), [[SETTINGS, WEIGHT], [SETTINGS, other(**changes)], [SETTINGS, WEIGHT]])
    assert found.startswith(
        "parameter 0 is not the same on all workers: dense8_weight (10, 4) float32 grad_req=write on"
    )
    assert "on workers 0, 2; " in found and words in found


def test_settings_and_numbers_that_differ():
    found = agreement.difference(range(2), [[SETTINGS], [["settings", {"compression": {"k": 1}}]]])
    assert found == (
        'the workers\' trainers have different settings: {"compression": {}} on worker 0;'
        ' {"compression": {"k": 1}} on worker 1'
    )
    found = agreement.difference(range(2), [[SETTINGS, WEIGHT], [SETTINGS]])
    assert found == "the workers' trainers have different numbers of parameters: 1 on worker 0; 0 on worker 1"


def descend(encoded, rescales, dtype="float64", decays=(0.1,) * 6):
    """The gradients that the optimizer gets, multiplied as it multiplies them, and the same by the definition."""
    rng = np.random.RandomState(0)
    weight, mu = rng.randn(7), 0.9
    one, kept = momentum.Momentum(mu), np.zeros(7)
    for rescale, decay in zip(rescales, decays):
        gradient = rng.randn(7)
        kept = mu * (kept + decay * weight + (0 if encoded else rescale * gradient))
        array = mx.nd.array(gradient, dtype=dtype)
        one.apply(array, mx.nd.array(weight, dtype=dtype), encoded, decay, rescale)
        yield array.asnumpy() * rescale, rescale * gradient + kept


RESCALES = [[1.0] * 6, [1 / 32] * 6, [1, 1 / 3, 2.0, 1 / 65536, 1.0, 1 / 7]]


@pytest.mark.parametrize("dtype, near", [("float64", 1e-12), ("float32", 1e-5), ("float16", 1e-2)])
@pytest.mark.parametrize("encoded", [False, True])
def test_momentum_is_in_the_unit_of_what_the_optimizer_applies(encoded, dtype, near):
    """A float16 gradient has no room for the momentum that a rescale of 1 / 65536 belongs to."""
    for rescales in RESCALES[:2] if dtype == "float16" else RESCALES:
        assert_momentum(rescales, encoded, dtype, near)


def assert_momentum(rescales, encoded, dtype, near):
    for found, wanted in descend(encoded, rescales, dtype):
        assert np.allclose(found, wanted, rtol=near, atol=near)


def test_momentum_of_weight_decay_fades_when_there_is_none_any_more():
    for found, wanted in descend(True, [0.5] * 6, decays=(0.1, 0.1, 0, 0, 0, 0)):
        assert np.allclose(found, wanted)
    assert momentum.Momentum(0.9).state is None


class Schedule:
    """A scheduler with a state, which holds another one."""

    def __init__(self, rate, inner=None):
        self.rate, self.seen, self.inner = rate, [], [inner] if inner else []

    def __call__(self, updates):
        return self.rate


def test_values_come_back_from_a_file(tmp_path):
    schedule = Schedule(0.5, Schedule(0.25))
    schedule.seen = [1, 2]
    value = {
        0: (mx.nd.arange(6).reshape((2, 3)), None, [mx.nd.ones(1, dtype="float16")]),
        "rate": 0.1, "text": "a", 3: {"inner": (True, float("inf"))}, "numbers": np.arange(3), "np": np.float32(0.5),
        "schedule": schedule,
    }  # fmt: skip
    writer = state_file.Writer()
    tree = writer.encode(value, "value")
    state_file.write(str(tmp_path / "file"), {"tree": tree}, writer.arrays)
    header, arrays = state_file.read(str(tmp_path / "file"))
    (place,) = [one for key, one in header["tree"]["dict"] if key == "schedule"]
    now = Schedule(9.0, Schedule(9.0))
    state_file.check_objects(place, now, "schedule")
    reader = state_file.Reader(arrays, mx.cpu())
    assert reader.decode(place, now) is now
    assert (now.rate, now.seen, now.inner[0].rate) == (0.5, [1, 2], 0.25)
    header["tree"]["dict"] = [pair for pair in header["tree"]["dict"] if pair[0] != "schedule"]
    found = reader.decode(header["tree"])
    assert (found[0][0] == value[0][0]).asnumpy().all() and found[0][0].shape == (2, 3)
    assert found[0][1] is None and found[0][2][0].dtype == np.float16
    assert (found["rate"], found["text"], found[3]) == (0.1, "a", value[3])
    assert found["numbers"].tolist() == [0, 1, 2] and found["np"] == 0.5


def test_what_cannot_be_saved_is_named():
    with pytest.raises(ExchangeError, match="save_states cannot save lock, a set"):
        state_file.Writer().encode({1}, "lock")


@pytest.mark.parametrize("now, words", [(None, "has none"), (print, "has builtin_function_or_method")])
def test_another_scheduler_is_rejected(now, words):
    tree = state_file.Writer().encode(Schedule(1.0), "lr_scheduler")
    with pytest.raises(ExchangeError, match=f"the saved states have lr_scheduler Schedule, but this trainer {words}"):
        state_file.check_objects(tree, now, "lr_scheduler")
    with pytest.raises(ExchangeError, match="the saved states have no lr_scheduler, but this trainer has Schedule"):
        state_file.check_objects(None, Schedule(1.0), "lr_scheduler")


def test_an_optimizers_own_attributes_are_all_saved_or_known():
    """A new attribute of MXNet's optimizers is either saved or deliberately left to the trainer."""
    for name in ("sgd", "nag", "adam", "nadam", "lbsgd", "lars", "lamb", "ftml", "rmsprop", "dcasgd", "signum"):
        optimizer = mx.optimizer.create(name)
        for attribute, value in vars(optimizer).items():
            if attribute not in trainer_states.APART:
                state_file.Writer().encode(value, attribute)
    assert "m_schedule" not in trainer_states.APART and "lr" not in trainer_states.APART


def test_the_momentum_that_moves():
    inside = Settings.from_params({"compressor": "onebit", "momentum": "nesterov"})
    params = {"momentum": 0.9, "wd": 0.1}
    optimizer, mu = optimizers.make("SGD", params, inside)
    assert (type(optimizer).__name__, optimizer.momentum, optimizer.wd, mu) == ("SGD", 0.0, 0.1, 0.9)
    assert params == {"momentum": 0.9, "wd": 0.1}
    assert optimizers.make("nag", params, Settings())[1] == 0.0
    for name in ("signum", "lars", "adam"):
        with pytest.raises(CompressionError, match="sgd or nag"):
            optimizers.make(name, params, inside)


def test_only_mxnets_own_optimizers_take_sums():
    class Own(mx.optimizer.SGD):
        pass

    wide, narrow = (mx.gluon.Parameter("p", shape=1, dtype=dtype) for dtype in ("float32", "float16"))
    assert optimizers.takes_mean(mx.optimizer.SGD(), [wide])
    assert not optimizers.takes_mean(mx.optimizer.SGD(), [wide, narrow])
    assert not optimizers.takes_mean(Own(), [wide])
