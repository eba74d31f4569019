"""A worker that trains small nets, one after the other: small_net.py STEPS TRAINING...

A TRAINING is a JSON object; it may have
  params       compression parameters
  rates        used in turn, one a step
  multipliers  true: the first weight gets half the rate, and the biases no weight decay
For each it prints one line of JSON: the losses, a digest of the parameters, and whether all of them are finite.
"""

import hashlib
import json
import sys

import byteps_gc.mxnet as bps
import mxnet as mx
from mxnet import autograd, gluon
import numpy as np

BATCH = 16


def build(multipliers):
    """The net, with different weights on each worker: the trainer has to broadcast those of rank 0."""
    mx.random.seed(bps.rank())
    net = gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(gluon.nn.Dense(64, activation="relu"), gluon.nn.Dense(10))
    net.initialize(mx.init.Xavier())
    if multipliers:
        net.collect_params(".*bias").setattr("wd_mult", 0.0)
        net[0].weight.lr_mult = 0.5
    return net


def train(steps, params=None, rates=(0.05,), multipliers=False):
    """Train one net; what it came to."""
    rank, params = bps.rank(), params or {}
    net = build(multipliers)
    options = {"learning_rate": rates[0], "momentum": 0.9, "wd": 1e-3}
    before = dict(params), dict(options)
    optimizer = "sgd" if params.get("compressor") or params.get("momentum") else "nag"
    trainer = bps.DistributedTrainer(net.collect_params(), optimizer, options, compression_params=params)
    assert (params, options) == before, "the caller's dicts have changed"
    centres = np.random.RandomState(0).randn(10, 100)
    rng = np.random.RandomState(100 + rank)
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    losses = []

    for step in range(steps):
        trainer.set_learning_rate(rates[step % len(rates)])
        labels = rng.randint(0, 10, BATCH)
        data = mx.nd.array(centres[labels] + rng.randn(BATCH, 100))
        with autograd.record():
            loss = loss_function(net(data), mx.nd.array(labels))
        loss.backward()
        trainer.step(BATCH)
        losses.append(float(loss.mean().asscalar()))
    values = [param.data().asnumpy() for _, param in sorted(net.collect_params().items())]
    return {
        "rank": rank,
        "losses": losses,
        "parameters": hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest(),
        "finite": all(bool(np.isfinite(value).all()) for value in values),
        "first": [float(value.ravel()[0]) for value in values],
        "norms": [float(np.linalg.norm(value)) for value in values],
    }


def main():
    bps.init()
    for words in sys.argv[2:]:
        print("RESULT " + json.dumps(train(int(sys.argv[1]), **json.loads(words))), flush=True)


if __name__ == "__main__":
    main()
