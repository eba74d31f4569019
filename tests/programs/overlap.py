"""A worker whose backward stops halfway until gradients of the upper half have been sent: overlap.py TRAINING...

A TRAINING is a JSON list of compression parameters and the batch sizes of the workers. For each it prints how many
bytes were sent meanwhile. It fails if they are too few after WAIT seconds: then the exchange begins only when backward
is over.
"""

import json
import sys
import time

import byteps_gc.mxnet as bps
import mxnet as mx
from mxnet import autograd, gluon

WIDTH = 512
LEAST = WIDTH * WIDTH // 8  # bytes: a bit for each weight of the upper layer
WAIT = 30.0


class Gate(mx.operator.CustomOp):
    """Passes everything on; gradients only when enough has been sent, if it is closed."""

    closed = False
    before = sent = 0

    def forward(self, is_train, req, in_data, out_data, aux):
        self.assign(out_data[0], req[0], in_data[0])

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        deadline = time.monotonic() + WAIT
        while Gate.closed and Gate.sent < LEAST and time.monotonic() < deadline:
            time.sleep(0.01)
            Gate.sent = bps.sent_bytes() - Gate.before
        self.assign(in_grad[0], req[0], out_grad[0])


@mx.operator.register("gate")
class GateOf(mx.operator.CustomOpProp):
    """Makes a Gate."""

    def create_operator(self, context, shapes, dtypes):
        return Gate()


def train(params, sizes):
    """Make three steps, and close the gate in the last one."""
    lower, upper = gluon.nn.HybridSequential(), gluon.nn.Dense(WIDTH)
    for _ in range(8):
        lower.add(gluon.nn.Dense(WIDTH))
    parameters = {}
    for part in (lower, upper):
        part.initialize()
        part.hybridize()
        parameters.update(part.collect_params())
    options = {"learning_rate": 0.1, "momentum": 0.9}
    trainer = bps.DistributedTrainer(parameters, "sgd", options, compression_params=params)
    for step in range(3):
        mx.nd.waitall()
        Gate.closed, Gate.before, Gate.sent = step == 2, bps.sent_bytes(), 0
        with autograd.record():
            loss = upper(mx.nd.Custom(lower(mx.nd.ones((4, WIDTH))), op_type="gate")).mean()
        loss.backward()
        trainer.step(sizes[bps.rank()])
    mx.nd.waitall()
    if Gate.sent < LEAST:
        sys.exit(f"{params} {sizes}: {Gate.sent} bytes were sent before backward was over, not {LEAST}")
    print(f"{params} {sizes}: {Gate.sent} bytes were sent before backward was over", flush=True)


def main():
    bps.init()
    for training in sys.argv[1:]:
        train(*json.loads(training))


if __name__ == "__main__":
    main()
