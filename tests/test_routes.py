"""What gradients are multiplied by on their way, and how workers' parameters are matched: no cluster is needed."""

import random

from byteps_gc.core.routes import Route, Scaling, canonical, in_order, relative, routes
import pytest


class Worker:
    """One process: its scale and batch size, and its gradient of one number."""

    def __init__(self, rng):
        self.scale, self.batch = rng.choice([1.0, 0.125, 65536.0]), rng.randint(1, 100)
        self.gradient = rng.uniform(-1, 1)

    @property
    def rescale(self):
        return self.scale / self.batch


def total(workers, factors, local):
    """The sum over the workers as it arrives: a compressor multiplies the sum of ``local`` processes."""
    assert len({(one.compressor, one.after) for one in factors}) == 1 or local == 1
    return (
        sum(worker.gradient * one.before * one.compressor for worker, one in zip(workers, factors)) * factors[0].after
    )


@pytest.mark.parametrize("averages", [False, True])
@pytest.mark.parametrize("local", [1, 2])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_step_applies_the_mean_of_what_each_worker_would_apply(encoded, local, averages):
    rng = random.Random(1)
    for _ in range(100):
        workers = [Worker(rng) for _ in range(2 * local)]
        scalings = [Scaling(len(workers), local, averages and not encoded) for _ in workers]
        for scaling in scalings:
            scaling.agree(workers[0].rescale, workers[0].batch)
        factors = [one.step(encoded, worker.rescale) for one, worker in zip(scalings, workers)]
        assert len({one.optimizer() for one in scalings}) == 1
        applied = total(workers, factors, local) * scalings[0].optimizer()
        assert applied == pytest.approx(sum(one.gradient * one.rescale for one in workers) / len(workers))


@pytest.mark.parametrize("local", [1, 2])
@pytest.mark.parametrize("encoded", [False, True])
def test_an_allreduce_brings_the_mean(encoded, local):
    """Whether or not a step or an update has been before, and whatever the loss scale is by then."""
    rng = random.Random(2)
    for number in range(100):
        workers = [Worker(rng) for _ in range(2 * local)]
        scaling = Scaling(len(workers), local)
        if number % 2:
            scaling.agree(workers[0].rescale, workers[0].batch)
        factors = [scaling.allreduce(encoded, workers[1].scale)] * len(workers)
        mean = sum(one.gradient for one in workers) / len(workers)
        assert total(workers, factors, local) == pytest.approx(mean)


def test_compressors_see_one_unit():
    """What a compressor keeps of a step and of an allreduce with the same loss scale and batch size fits together."""
    scaling = Scaling(2)
    scaling.agree(1.0 / 8, 8)
    assert scaling.step(True, 1.0 / 8).compressor == scaling.allreduce(True, 1.0).compressor == 0.5
    assert scaling.step(True, 0.5 / 8).compressor == scaling.allreduce(True, 0.5).compressor == 0.25


def test_nothing_is_multiplied_before_the_exchange_where_workers_agree():
    for scale, batch in ((1.0, 32), (0.1, 7), (1 / 65536, 3)):
        scaling = Scaling(4, averages=True)
        scaling.agree(scale / batch, batch)
        factors = scaling.step(False, scale / batch)
        assert (factors.before, factors.compressor, factors.after) == (1.0, 1.0, 1.0)
        assert scaling.optimizer() == scale / batch / 4


def test_a_rescale_of_zero_divides_nothing_by_zero():
    scaling = Scaling(2)
    scaling.agree(0.0, 8)
    assert scaling.step(False, 0.0).before == 0.0
    assert scaling.allreduce(True, 0.0).after == 1.0


class Steps:
    """Replaces a native tensor: records the arguments of its exchanges."""

    def __init__(self):
        self.begun = []

    def step(self, rate, skipped, reset, factor):
        self.begun.append((rate, skipped, reset, factor))


def test_a_route_takes_back_and_starts_over_once():
    route = Route(0, "parameter_0", "gradient_0", tensor=Steps())
    route.begin(0.1, 0.5)
    route.skipped = True
    route.begin(0.1, 0.5)
    route.reset = True
    route.begin(0.2, 0.5)
    route.begin(0.2, 0.5)
    flags = [(skipped, reset) for _, skipped, reset, _ in route.tensor.begun]
    assert flags == [(False, False), (True, False), (False, True), (False, False)]
    assert Route(0, "parameter_0", "gradient_0").outcome() == (True, "")


def test_tensors_of_several_trainers_have_names_of_their_own():
    names = [one.gradient for scope in ("", "trainer_1.") for one in routes(scope, 2)]
    assert names == ["gradient_0", "gradient_1", "trainer_1.gradient_0", "trainer_1.gradient_1"]


def layers(first, prefix=""):
    return [f"{prefix}dense{first + place}_{kind}" for place in range(3) for kind in ("weight", "bias")]


def test_names_are_sorted_as_layers_were_made():
    assert in_order(sorted(layers(8))) == [
        "dense8_bias", "dense8_weight", "dense9_bias", "dense9_weight", "dense10_bias", "dense10_weight"
    ]  # fmt: skip


def test_counters_do_not_tell_nets_apart_but_their_order_does():
    """Sorted as texts, dense10_ comes before dense9_: one worker's first layer is then another's second."""
    assert canonical(layers(0)) == canonical(layers(8)) == canonical(layers(99))
    assert canonical(sorted(layers(0))) != canonical(sorted(layers(9)))
    assert canonical(["net0_conv1_weight", "net0_conv3_weight"]) == canonical(
        ["net7_conv2_weight", "net7_conv4_weight"]
    )
    assert canonical(["a_weight"]) != canonical(["b_weight"])
    assert canonical(["weight1"]) != canonical(["weight2"])


def test_another_prefix_is_the_same_net():
    assert relative(layers(0)) == relative(layers(3, prefix="model2_"))
    assert relative(["a_weight", "a_bias"]) != relative(["a_weight", "a_gamma"])
    assert relative(["weight"]) == [""]
    assert relative([]) == []
