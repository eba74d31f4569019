"""A worker that trains small nets, one after the other: small_net.py STEPS TRAINING...

A TRAINING is a JSON object; it may have
  params       compression parameters
  rates        used in turn, one a step
  poison       [STEP, VALUE, PARAMETER]: worker 1 gets VALUE into the gradient of parameter number PARAMETER, in a step
               of its own before STEP
  multipliers  true: the first weight gets half the rate, and the biases no weight decay
For each it prints one line of JSON: the losses, a digest of the parameters, and whether all of them are finite.

OTHER_RATE is the rate of worker 1.
STOPS=1 stops the process now and then, for a moment.
"""

import hashlib
import json
import os
import sys

import byteps_gc.mxnet as bps
import mxnet as mx
from mxnet import autograd, gluon
import numpy as np

from stops import stop_now_and_then

BATCH = 16


def build(multipliers):
    """The net, with different weights on each worker: the trainer has to broadcast those of rank 0."""
    mx.random.seed(bps.rank())
    net = gluon.nn.HybridSequential(prefix="net_")
    with net.name_scope():
        net.add(gluon.nn.Dense(int(os.environ.get("HIDDEN", 64)), activation="relu"), gluon.nn.Dense(10))
    net.initialize(mx.init.Xavier())
    if multipliers:
        net.collect_params(".*bias").setattr("wd_mult", 0.0)
        net[0].weight.lr_mult = 0.5
    return net


def train(steps, params=None, rates=(0.05,), poison=None, multipliers=False):
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

    def gradients(data, labels):
        with autograd.record():
            loss = loss_function(net(data), mx.nd.array(labels))
        loss.backward()
        return loss

    for step in range(steps):
        trainer.set_learning_rate(float(os.environ.get("OTHER_RATE", 0)) * rank or rates[step % len(rates)])
        labels = rng.randint(0, 10, BATCH)
        data = mx.nd.array(centres[labels] + rng.randn(BATCH, 100))
        if poison and step == poison[0]:
            gradients(data, labels)
            if rank == 1:
                gradient = list(net.collect_params().values())[poison[2]].grad()
                gradient[0] = float(poison[1])
            trainer.step(BATCH)
        loss = gradients(data, labels)
        trainer.step(BATCH)
        losses.append(float(loss.mean().asscalar()))
    values = [param.data().asnumpy() for _, param in sorted(net.collect_params().items())]
    return {
        "rank": rank,
        "losses": losses,
        "parameters": hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest(),
        "skipped": trainer.skipped_steps,
        "finite": all(bool(np.isfinite(value).all()) for value in values),
        "first": [float(value.ravel()[0]) for value in values],
        "norms": [float(np.linalg.norm(value)) for value in values],
    }


def main():
    bps.init()
    stopper = stop_now_and_then(bps.rank()) if os.environ.get("STOPS") else None
    for words in sys.argv[2:]:
        print("RESULT " + json.dumps(train(int(sys.argv[1]), **json.loads(words))), flush=True)
    if stopper:
        stopper.communicate()


if __name__ == "__main__":
    main()
