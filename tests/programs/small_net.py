"""A worker that trains a small net: small_net.py STEPS COMPRESSION [RATE...].

COMPRESSION is a dict of compression parameters as JSON. The rates, if given, are
used in turn, one a step. Prints one line of JSON: the losses, a digest of the
parameters, and whether all of them are finite.

POISON="STEP VALUE PARAMETER" puts VALUE into the gradient of parameter number
PARAMETER on worker 1, in a step of its own before STEP. OTHER_RATE is the rate of worker 1.
STOPS=1 stops the process now and then, for a moment.
MULTIPLIERS=1 gives the first weight half the rate, and the biases no weight decay.
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


def main():
    steps, params = int(sys.argv[1]), json.loads(sys.argv[2])
    rates = [float(word) for word in sys.argv[3:]] or [0.05]
    bps.init()
    rank, workers = bps.rank(), bps.size()
    stopper = stop_now_and_then(rank) if os.environ.get("STOPS") else None
    mx.random.seed(rank)  # different weights: the trainer has to broadcast those of rank 0
    net = gluon.nn.HybridSequential()
    net.add(gluon.nn.Dense(int(os.environ.get("HIDDEN", 64)), activation="relu"), gluon.nn.Dense(10))
    net.initialize(mx.init.Xavier())
    if os.environ.get("MULTIPLIERS"):
        net.collect_params(".*bias").setattr("wd_mult", 0.0)
        net[0].weight.lr_mult = 0.5
    options = {"learning_rate": rates[0], "momentum": 0.9, "wd": 1e-3}
    before = dict(params), dict(options)
    optimizer = "nag" if params.get("momentum") or not params.get("compressor") else "sgd"
    trainer = bps.DistributedTrainer(
        net.collect_params(), "sgd" if params.get("momentum") else optimizer, options, compression_params=params
    )
    assert (params, options) == before, "the caller's dicts have changed"
    centres = np.random.RandomState(0).randn(10, 100)
    rng = np.random.RandomState(100 + rank)
    loss_function = gluon.loss.SoftmaxCrossEntropyLoss()
    losses = []
    poison = os.environ.get("POISON", "").split()

    def gradients(data, labels):
        with autograd.record():
            loss = loss_function(net(data), mx.nd.array(labels))
        loss.backward()
        return loss

    for step in range(steps):
        trainer.set_learning_rate(float(os.environ.get("OTHER_RATE", 0)) * rank or rates[step % len(rates)])
        labels = rng.randint(0, 10, BATCH)
        data = mx.nd.array(centres[labels] + rng.randn(BATCH, 100))
        if poison and step == int(poison[0]):
            gradients(data, labels)
            if rank == 1:
                gradient = list(net.collect_params().values())[int(poison[2])].grad()
                gradient[0] = float(poison[1])
            trainer.step(BATCH)
        loss = gradients(data, labels)
        trainer.step(BATCH)
        losses.append(float(loss.mean().asscalar()))
    if stopper:
        stopper.communicate()
    values = [param.data().asnumpy() for _, param in sorted(net.collect_params().items())]
    digest = hashlib.sha256(b"".join(value.tobytes() for value in values)).hexdigest()
    result = {
        "rank": rank,
        "workers": workers,
        "losses": losses,
        "parameters": digest,
        "skipped": trainer.skipped_steps,
        "finite": all(bool(np.isfinite(value).all()) for value in values),
        "first": [float(value.ravel()[0]) for value in values],
        "norms": [float(np.linalg.norm(value)) for value in values],
    }
    print("RESULT " + json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
