"""Trains with another number of batches on each worker and bps.join(), and compares with one process that knows all.

The argument is JSON: trainings, each as a list of the number of batches of each worker in each of two epochs,
compression parameters, and whether compressed values arrive as they were.
"""

import json
import sys
import zlib

import byteps_gc.mxnet as bps
import mxnet as mx
from mxnet import autograd, gluon
import numpy as np

PREFIXES = ("own_", "model_")


class Drawn(mx.init.Initializer):
    """Initial values that depend on the parameter's name only."""

    def _init_weight(self, name, array):
        for prefix in PREFIXES:
            name = name.replace(prefix, "")
        array[:] = np.random.RandomState(zlib.crc32(name.encode())).uniform(-0.5, 0.5, array.shape)

    _init_bias = _init_weight


def build(prefix):
    """A net whose shapes are known after its first batch only."""
    net = gluon.nn.HybridSequential(prefix=prefix)
    with net.name_scope():
        net.add(gluon.nn.Dense(20, activation="tanh"), gluon.nn.Dense(3))
    net.initialize(Drawn())
    return net


def options():
    scheduler = mx.lr_scheduler.FactorScheduler(step=2, factor=0.8, base_lr=0.1)
    return {"learning_rate": 0.1, "momentum": 0.9, "lr_scheduler": scheduler}


def backward(net, epoch, step, worker):
    data = np.random.RandomState([epoch, step, worker]).uniform(-1, 1, (4, 30))
    with autograd.record():
        loss = (net(mx.nd.array(data)) ** 2).sum()
    loss.backward()


def model(epochs):
    """One process: the sum of the workers' gradients, without those that have joined, by the number of all."""
    net = build("model_")
    trainer = gluon.Trainer(net.collect_params(), "sgd", options())
    for epoch, batches in enumerate(epochs):
        for step in range(max(batches)):
            sums = {}
            for worker, own in enumerate(batches):
                if step < own:
                    backward(net, epoch, step, worker)
                    for name, param in net.collect_params().items():
                        sums[name] = sums.get(name, 0) + param.grad().asnumpy()
            for name, param in net.collect_params().items():
                param.grad()[:] = mx.nd.array(sums[name])
            trainer.step(4 * bps.size())
    return net


def train(epochs, compression, exact):
    net = build("own_")
    trainer = bps.DistributedTrainer(net.collect_params(), "sgd", options(), compression_params=compression)
    for epoch, batches in enumerate(epochs):
        for step in range(batches[bps.rank()]):
            backward(net, epoch, step, bps.rank())
            trainer.step(4)
        last = bps.join()
        assert batches[last] == max(batches), (batches, last)
    trainer.check_parameters()
    values = [param.data().asnumpy() for param in net.collect_params().values()]
    assert all(np.isfinite(value).all() for value in values)
    if exact:
        for value, param in zip(values, model(epochs).collect_params().values()):
            np.testing.assert_allclose(value, param.data().asnumpy(), rtol=1e-4, atol=1e-6)
    print("as the model", epochs, compression)


bps.init()
for training in json.loads(sys.argv[1]):
    train(*training)
