"""Training programs that ordinary users write, each held against one process: gluon_programs.py NAME...

Each NAME is a function below. It prints "PASSED NAME" on every worker, or fails. tests/oracle.py draws more of the kind
at random; here is what that does not draw: long runs, NumPy arrays, several trainers, and arrays under one name.
"""

import os
import sys
import tempfile

import byteps_gc.mxnet as bps
import mxnet as mx
from mxnet import autograd, gluon, npx
import numpy as np

INSIDE = {"compressor": "identity", "momentum": "nesterov"}
EVERYTHING = {"compressor": "topk", "k": 10**6, "ef": "vanilla", "momentum": "nesterov"}  # k: all elements
NESTEROV = {"learning_rate": 0.05, "momentum": 0.9, "wd": 1e-3}


def build():
    mx.random.seed(7)
    net = gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(gluon.nn.Dense(64, in_units=100, activation="tanh"))
        net.add(gluon.nn.Dense(10, in_units=64), gluon.nn.Dense(10, in_units=64))
    net.initialize(mx.init.Xavier())
    return net


def loss_of(net, head, rank, step, size):
    rng = np.random.RandomState(1000 * step + rank)
    labels = rng.randint(0, 10, size)
    data = mx.nd.array(np.random.RandomState(0).randn(10, 100)[labels] + rng.randn(size, 100))
    return gluon.loss.SoftmaxCrossEntropyLoss()(net[head](net[0](data)), mx.nd.array(labels))


def values(net):
    return [param.data().asnumpy() for _, param in sorted(net.collect_params().items())]


def backward(net, head, rank, step, size):
    with autograd.record():
        loss = loss_of(net, head, rank, step, size)
    loss.backward()


class Nesterov:
    """One process that applies d = g + wd x; M <- mu (M + d); x <- x - lr (d + M) to what is used."""

    def __init__(self, net):
        self.net = net
        self.momentum = {name: 0.0 for name in net.collect_params()}

    def step(self, head, step, sizes):
        used = {**self.net[0].collect_params(), **self.net[head].collect_params()}
        total = dict.fromkeys(used, 0.0)
        for rank, size in enumerate(sizes):
            backward(self.net, head, rank, step, size)
            for name, param in used.items():
                total[name] = total[name] + param.grad().asnumpy().astype("float64") / size
        for name, param in used.items():
            x = param.data().asnumpy().astype("float64")
            decayed = total[name] / len(sizes) + NESTEROV["wd"] * x
            self.momentum[name] = NESTEROV["momentum"] * (self.momentum[name] + decayed)
            param.set_data(mx.nd.array(x - NESTEROV["learning_rate"] * (decayed + self.momentum[name])))


def near(net, other, share=1e-5):
    for one, wanted in zip(values(net), values(other)):
        assert np.abs(one - wanted).max() <= share * np.abs(wanted).max(), np.abs(one - wanted).max()


def stale_for_long():
    """A head that is used at the beginning and at the end only, with batches that differ between workers."""
    for params in ({}, INSIDE, EVERYTHING):
        net, reference = build(), Nesterov(build())
        optimizer = "sgd" if params else "nag"
        trainer = bps.DistributedTrainer(net.collect_params(), optimizer, NESTEROV, compression_params=params)
        for step in range(50):
            head = 2 if step < 2 or step >= 48 else 1
            sizes = [16 if (step + rank) % 3 else 5 for rank in range(bps.size())]
            backward(net, head, bps.rank(), step, sizes[bps.rank()])
            trainer.step(sizes[bps.rank()], ignore_stale_grad=True)
            reference.step(head, step, sizes)
        near(net, reference.net, 1e-3)
        trainer.check_parameters()
        assert trainer.skipped_steps == 0


def numpy_arrays():
    """npx.set_np() with every compressor; the baseline and the lossless ones are as one process; states come back."""
    npx.set_np()
    every = ({"compressor": "onebit", "scaling": True}, {"compressor": "topk", "k": 0.1})
    every += ({"compressor": "randomk", "k": 0.1}, {"compressor": "dithering", "k": 2, "bucket": 512})
    lossy = [{**params, "ef": "vanilla", "momentum": "nesterov"} for params in every]
    exact = [None, {"fp16": True}, INSIDE, EVERYTHING]
    for params in exact + lossy:
        net, other = numpy_net(), numpy_net()
        inside = params is not None and "momentum" in params
        trainer = bps.DistributedTrainer(
            net.collect_params(), "sgd" if inside else "nag", NESTEROV, compression_params=params
        )
        reference = gluon.Trainer(other.collect_params(), "nag", NESTEROV, kvstore=None)
        for step in range(6):
            numpy_backward(net, bps.rank(), step)
            trainer.step(16)
            gradients = []
            for rank in range(bps.size()):
                numpy_backward(other, rank, step)
                gradients.append([param.grad().asnumpy() for param in other.collect_params().values()])
            for param, *parts in zip(other.collect_params().values(), *gradients):
                param.grad()[:] = mx.np.array(sum(parts) / bps.size() / 16)
            reference.step(1)
        trainer.check_parameters()
        if params not in lossy:
            near(net, other, 2e-2 if params and "fp16" in params else 1e-4)
        with tempfile.TemporaryDirectory() as folder:
            trainer.save_states(os.path.join(folder, "states"))
            trainer.load_states(os.path.join(folder, "states"))
    npx.reset_np()


def numpy_net():
    mx.random.seed(7)
    net = gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(gluon.nn.Dense(64, in_units=100, activation="tanh"), gluon.nn.Dense(10, in_units=64))
    net.initialize(mx.init.Xavier())
    net.hybridize()
    return net


def numpy_backward(net, rank, step):
    rng = np.random.RandomState(1000 * step + rank)
    with autograd.record():
        loss = (net(mx.np.array(rng.randn(16, 100), dtype="float32")) ** 2).mean(axis=1)
    loss.backward()


def half_precision():
    """A net of float16 with float32 copies of its weights, a scaled loss, and batches that differ between workers."""
    options = {"learning_rate": 0.05, "momentum": 0.9, "multi_precision": True, "rescale_grad": 1 / 128}
    for params in ({}, {"fp16": True}, INSIDE, EVERYTHING):
        net, other = half_net(), half_net()
        trainer = bps.DistributedTrainer(
            net.collect_params(), "sgd" if "momentum" in params else "nag", options, compression_params=params
        )
        reference = gluon.Trainer(other.collect_params(), "nag", options, kvstore=None)
        for step in range(6):
            sizes = [16 if (step + rank) % 3 else 5 for rank in range(bps.size())]
            half_backward(net, bps.rank(), step, sizes[bps.rank()])
            trainer.step(sizes[bps.rank()])
            totals = {}
            for rank, size in enumerate(sizes):
                half_backward(other, rank, step, size)
                for name, param in other.collect_params().items():
                    part = param.grad().astype("float32") / size / len(sizes)
                    totals[name] = part + totals.get(name, 0)
            for name, param in other.collect_params().items():
                param.grad()[:] = totals[name].astype("float16")
            reference.step(1)
        near(net, other, 1e-2)
        trainer.check_parameters()


def half_net():
    """Elementwise products: a CPU has no dense layer of float16."""
    net = gluon.nn.Block(prefix="net_")
    for name, width in (("bias", 10), ("weight", 1500)):
        net.params.get(name, shape=width, dtype="float16", init=mx.init.Uniform(1))
    mx.random.seed(7)
    net.initialize()
    return net


def half_backward(net, rank, step, size):
    rng = np.random.RandomState(1000 * step + rank)
    loss = 0
    for param in net.collect_params().values():
        data = mx.nd.array(rng.randn(size, *param.shape), dtype="float16")
        with autograd.record():
            loss = loss + (data * param.data() ** 2).sum(axis=1) * 128
    loss.backward()


def several_trainers():
    """Two trainers in turn, one of them skips: what one does to its compressors is not done to the other's."""
    alone, paired, other = build(), build(), build()
    one, two = (bps.DistributedTrainer(net.collect_params(), "sgd", NESTEROV, compression_params=EVERYTHING)
                for net in (alone, paired))  # fmt: skip
    third = bps.DistributedTrainer(
        other.collect_params(), "sgd", dict(NESTEROV, learning_rate=0.01), compression_params=EVERYTHING
    )
    for step in range(6):
        for net, trainer in ((alone, one), (paired, two)):
            backward(net, 1, bps.rank(), step, 16)
            if trainer is two:
                backward(other, 1, bps.rank(), step, 4)
                if bps.rank() == 1 and step % 2:
                    other[0].weight.grad()[:] = float("nan")
                third.step(4, ignore_stale_grad=True)
            trainer.step(16, ignore_stale_grad=True)
    assert (one.skipped_steps, two.skipped_steps, third.skipped_steps) == (0, 0, 3)
    near(alone, paired)  # sums of three are rounded in the order of arrival


def one_name():
    """Many arrays under one name without reading in between, and a metric of every batch."""
    for size, count in ((10, 6), (2_000_000, 3)):
        for _ in range(10):
            arrays = [mx.nd.full(size, 10.0 * place + bps.rank()) for place in range(count)]
            for array in arrays:
                bps.push_pull(array, name=f"loss of {size}", is_average=False)
            ranks = sum(range(bps.size()))
            wanted = [10.0 * place * bps.size() + ranks for place in range(count)]
            assert [float(array[0].asscalar()) for array in arrays] == wanted
            assert [float(array[-1].asscalar()) for array in arrays] == wanted


def equal_names():
    """Two nets whose parameters have equal names, in one trainer."""
    nets = [build(), build()]
    params = [param for net in nets for param in net.collect_params().values()]
    trainer = bps.DistributedTrainer(params, "sgd", {"learning_rate": 0.1})
    reference = [Nesterov(build()) for _ in nets]
    trainer.set_learning_rate(NESTEROV["learning_rate"])
    trainer.optimizer.wd = NESTEROV["wd"]
    for one in reference:
        one.step(1, 0, [16] * bps.size())
    for net in nets:
        backward(net, 1, bps.rank(), 0, 16)
    trainer.step(16, ignore_stale_grad=True)
    for net, one in zip(nets, reference):
        moved = [(a - b) for a, b in zip(values(net), values(build()))]
        wanted = [(a - b) / (1 + NESTEROV["momentum"]) for a, b in zip(values(one.net), values(build()))]
        assert all(np.allclose(a, b, atol=1e-6) for a, b in zip(moved, wanted))


def in_another_order():
    """The first worker has made more layers before, so that its names, as texts, sort in another order."""
    for _ in range(9 if bps.rank() == 0 else 8):
        gluon.nn.Dense(1)
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(100, in_units=100), gluon.nn.Dense(100, in_units=100))
    net.initialize()
    trainer = bps.DistributedTrainer(net.collect_params(), "sgd", {"learning_rate": 0.1})
    with autograd.record():
        loss = (net(mx.nd.ones((4, 100)) * (1 + bps.rank())) ** 2).sum()
    loss.backward()
    gradients = [layer.weight.grad().asnumpy() for layer in net]
    total = [mx.nd.array(one) for one in gradients]
    before = [layer.weight.data().asnumpy() for layer in net]
    trainer.broadcast_parameters()
    shared = [layer.weight.data().asnumpy() for layer in net]
    assert bps.rank() != 0 or all((a == b).all() for a, b in zip(before, shared))
    for one in total:
        bps.push_pull(one)
    trainer.step(4)
    for layer, one, mean in zip(net, shared, total):
        assert np.allclose(layer.weight.data().asnumpy(), one - 0.1 / 4 * mean.asnumpy(), rtol=1e-5, atol=1e-6)


def states_in_place():
    """Rolled back, saved again, and in a new trainer: everything goes as it went the first time."""
    options = {"sgd": NESTEROV, "nag": NESTEROV, "adam": {}, "lamb": {}, "nadam": {}, "ftml": {}, "lbsgd": {}}
    options["rmsprop"] = {"centered": True}
    for optimizer, given in options.items():
        rolled_back(optimizer, given, None)
    rolled_back("sgd", NESTEROV, INSIDE)  # dense: below the threshold
    rolled_back("sgd", dict(NESTEROV, lr_scheduler=mx.lr_scheduler.FactorScheduler(3, 0.5, base_lr=0.05)), None)


def rolled_back(optimizer, options, params):
    os.environ.pop("BYTEPS_MIN_COMPRESS_BYTES", None)

    def make(net):
        return bps.DistributedTrainer(net.collect_params(), optimizer, dict(options), compression_params=params)

    def train(net, trainer, steps):
        for step in steps:
            backward(net, 1, bps.rank(), step, 10)
            trainer.step(10, ignore_stale_grad=True)

    net = build()
    trainer = make(net)
    train(net, trainer, range(4))
    with tempfile.TemporaryDirectory() as folder:
        parameters, first, again = (os.path.join(folder, name) for name in ("parameters", "first", "again"))
        net.save_parameters(parameters)
        trainer.save_states(first)
        train(net, trainer, range(4, 8))
        wanted = values(net)
        net.load_parameters(parameters)
        trainer.load_states(first)
        train(net, trainer, range(4, 8))
        assert all((a == b).all() for a, b in zip(values(net), wanted)), (optimizer, "rolled back")
        if "lr_scheduler" in options:  # the first trainer has advanced the object
            options = dict(options, lr_scheduler=mx.lr_scheduler.FactorScheduler(3, 0.5, base_lr=0.9))
        other = build()
        other.load_parameters(parameters)
        trainer = make(other)
        trainer.load_states(first)
        trainer.save_states(again)
        saved, loaded = mx.nd.load(first), mx.nd.load(again)
        assert sorted(saved) == sorted(loaded)
        assert all((saved[name] == loaded[name]).asnumpy().all() for name in saved), (optimizer, "saved again")
        train(other, trainer, range(4, 8))
        assert all((a == b).all() for a, b in zip(values(other), wanted)), (optimizer, "in a new trainer")


def main():
    bps.init()
    for name in sys.argv[1:]:
        globals()[name]()
        mx.nd.waitall()
        print(f"PASSED {name}", flush=True)


if __name__ == "__main__":
    main()
