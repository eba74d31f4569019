"""A worker that fits arrays by gradient descent, without a framework: descent.py STEPS FIT...

A FIT is a JSON object; it may have
  params   compression parameters
  poison   [STEP, VALUE, ARRAY]: worker 1 gets VALUE into the gradient of array number ARRAY, in a step of its own
           before STEP
For each it prints one line of JSON: a digest of the arrays, the steps that were skipped, and whether all is finite.

OTHER_RATE is the learning rate of worker 1.
STOPS=1 pauses the process at random moments.
"""

import hashlib
import json
import os
import sys
import warnings

import byteps_gc.numpy as bps
import numpy as np

from stops import stop_now_and_then

SHAPES = {"bias0": (64,), "weight0": (64, 100), "bias1": (10,), "weight1": (10, 64)}
RATE = 0.05
MU = 0.9


def fit(steps, params=None, poison=None):
    """Fit one set of arrays to the mean of the workers' targets; return what it came to."""
    rank, params = bps.rank(), params or {}
    rng = np.random.RandomState(100 + rank)
    arrays = [np.zeros(shape, np.float32) for shape in SHAPES.values()]
    targets = [rng.randn(*shape).astype(np.float32) for shape in SHAPES.values()]
    gradients = [np.zeros_like(array) for array in arrays]
    exchange = bps.Exchange(dict(zip(SHAPES, gradients)), params, MU if params.get("momentum") else 0.0)
    rate = float(os.environ.get("OTHER_RATE", 0)) * rank or RATE

    def compute():
        for gradient, array, target in zip(gradients, arrays, targets):
            gradient[:] = array - target + 0.1 * rng.randn(*array.shape)

    for step in range(steps):
        if poison and step == poison[0]:
            state = rng.get_state()
            compute()
            if rank == 1:
                gradients[poison[2]].flat[0] = float(poison[1])
            assert not exchange.push_pull(rate)
            rng.set_state(state)
        compute()
        if exchange.push_pull(rate):
            for gradient, array in zip(gradients, arrays):
                array -= np.float32(rate) * gradient
    return {
        "rank": rank,
        "parameters": hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest(),
        "skipped": exchange.skipped_steps,
        "finite": all(bool(np.isfinite(array).all()) for array in arrays),
    }


def main():
    warnings.simplefilter("ignore")
    bps.init()
    stopper = stop_now_and_then(bps.rank()) if os.environ.get("STOPS") else None
    for words in sys.argv[2:]:
        print("RESULT " + json.dumps(fit(int(sys.argv[1]), **json.loads(words))), flush=True)
    if stopper:
        stopper.communicate()


if __name__ == "__main__":
    main()
