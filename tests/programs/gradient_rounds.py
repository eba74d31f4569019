"""A worker that exchanges the gradients of small models: gradient_rounds.py FRONT_END ROUNDS CASES [FIRST].

FRONT_END: numpy, mxnet or torch. CASES: a JSON list of {"params": compression parameters, "momentum": number}, each of
which is a model of its own. FIRST: the first round; NumPy's models save their states in the working folder at the end,
and continue from them if FIRST is above 0. Prints a line for each case: a JSON list of digests of what
arrived in each round, null for one that was skipped. In round BAD a gradient of worker 1 is not finite.
"""

import hashlib
import json
from pathlib import Path
import pickle
import sys
import warnings

import numpy as np

SIZES = (40000, 7, 3000)  # elements: several partitions, never compressed, one partition
BAD = 2
RATES = (0.1, 0.1, 0.05, 0.05, 0.2)  # learning rate of each round, repeated


def sent(worker, number, index):
    """Return the gradient of a worker, round and tensor."""
    size = SIZES[index]
    gradient = np.random.RandomState(1000 * worker + 10 * number + index).randn(size).astype(np.float32)
    if worker == 1 and number == BAD and index == 0:
        gradient[size // 2] = np.inf
    return gradient


def rate(number):
    """Return the learning rate of a round."""
    return RATES[number % len(RATES)]


def digest(arrays):
    """Return a digest of the arrays' bytes."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(one).tobytes() for one in arrays)).hexdigest()[:16]


class NumpyModel:
    """Gradients that :class:`byteps_gc.numpy.Exchange` exchanges."""

    def __init__(self, params, momentum):
        import byteps_gc.numpy as bps

        bps.init()
        self.rank = bps.rank()
        self.arrays = [np.zeros(size, np.float32) for size in SIZES]
        self.exchange = bps.Exchange(self.arrays, params, momentum)

    def load(self, number):
        """Continue from a saved state."""
        self.exchange.load_state_dict(pickle.loads(Path(f"state-{number}-{self.rank}").read_bytes()))

    def save(self, number):
        """Save the state."""
        Path(f"state-{number}-{self.rank}").write_bytes(pickle.dumps(self.exchange.state_dict()))

    def round(self, number):
        """Exchange the gradients of a round; return them, or None if they are not finite."""
        for index, array in enumerate(self.arrays):
            array[:] = sent(self.rank, number, index)
        return self.arrays if self.exchange.push_pull(rate(number)) else None


class GluonModel:
    """The same as parameters of a Gluon trainer."""

    def __init__(self, params, momentum):
        import byteps_gc.mxnet as bps
        import mxnet as mx

        bps.init()
        self.mx, self.rank = mx, bps.rank()
        self.params = [mx.gluon.Parameter(f"p{index}", shape=(size,)) for index, size in enumerate(SIZES)]
        for param in self.params:
            param.initialize(mx.init.Zero())
        optimizer = {"momentum": momentum} if momentum else {}
        self.trainer = bps.DistributedTrainer(self.params, "sgd", optimizer, compression_params=params)

    def round(self, number):
        """Exchange the gradients of a round; return them, or None if they are not finite."""
        skipped = self.trainer.skipped_steps
        with self.mx.autograd.record():
            parts = [
                (param.data() * self.mx.nd.array(sent(self.rank, number, index))).sum()
                for index, param in enumerate(self.params)
            ]
        self.mx.autograd.backward(parts)
        self.trainer.set_learning_rate(rate(number))
        self.trainer.step(1)
        return None if self.trainer.skipped_steps > skipped else [param.grad().asnumpy() for param in self.params]


class TorchModel:
    """The same as parameters of a torch optimizer."""

    def __init__(self, params, momentum):
        import byteps_gc.torch as bps
        import torch

        bps.init()
        self.torch, self.rank = torch, bps.rank()
        self.parameters = [torch.nn.Parameter(torch.zeros(size)) for size in SIZES]
        options = {"momentum": momentum, "nesterov": True} if momentum else {}
        optimizer = torch.optim.SGD(self.parameters, lr=1.0, **options)
        self.optimizer = bps.DistributedOptimizer(optimizer, None, params)

    def round(self, number):
        """Exchange the gradients of a round; return them, or None if they are not finite."""
        skipped = self.optimizer.skipped_steps
        self.optimizer.param_groups[0]["lr"] = rate(number)
        self.optimizer.zero_grad()
        factors = [self.torch.from_numpy(sent(self.rank, number, index)) for index in range(len(SIZES))]
        sum((one * factor).sum() for one, factor in zip(self.parameters, factors)).backward()
        self.optimizer.step()
        return None if self.optimizer.skipped_steps > skipped else [one.grad.numpy() for one in self.parameters]


def main():
    warnings.simplefilter("ignore")
    model = {"numpy": NumpyModel, "mxnet": GluonModel, "torch": TorchModel}[sys.argv[1]]
    first = int(sys.argv[4]) if sys.argv[4:] else 0
    for index, case in enumerate(json.loads(sys.argv[3])):
        one = model(case["params"], case["momentum"])
        if first:
            one.load(index)
        rounds = (one.round(number) for number in range(first, int(sys.argv[2])))
        print("FOUND " + json.dumps([None if arrays is None else digest(arrays) for arrays in rounds]), flush=True)
        if isinstance(one, NumpyModel):
            one.save(index)


if __name__ == "__main__":
    main()
