"""A worker that checks push_pull against NumPy, bit for bit: exchange.py ROUNDS.

Every worker knows what every other one sends, so each checks the whole sum. A
child of each worker stops it at random moments for a random time, while many
tensors are under way, each of them at its own pace: one worker is then slow in
the middle of an exchange that the other has finished, and a reply that is
overwritten before it has been sent is a wrong sum here.
"""

import functools
import os
import sys

import byteps_gc.mxnet as bps
import mxnet as mx
import numpy as np

from stops import stop_now_and_then

SIZES = (1, 7, 4096, 1024001)
SMALL = 24  # more tensors of 4096 elements
OFFSETS = 65521  # at so many places the numbers of a tensor may begin


@functools.lru_cache(maxsize=None)
def pool(rank, workers):
    """Random numbers of a worker: any float32; of more than two, whose sum depends on the order, whole numbers."""
    rng = np.random.RandomState(rank)
    size = max(SIZES) + OFFSETS
    if workers > 2:
        return rng.randint(-(10**6), 10**6, size).astype(np.float32)
    return (rng.randn(size) * 10.0 ** rng.randint(-6, 6, size)).astype(np.float32)


def sent(rank, name, number, size, workers):
    """What a worker sends: another part of its numbers for each tensor and round."""
    begin = (name * 1009 + number * 7919) % OFFSETS
    return pool(rank, workers)[begin : begin + size]


def main():
    rounds = int(sys.argv[1])
    stopper = stop_now_and_then(os.environ["DMLC_WORKER_ID"])
    bps.init()
    rank, workers = bps.rank(), bps.size()
    names = list(enumerate(SIZES)) + [(len(SIZES) + extra, 4096) for extra in range(SMALL)]
    tensors = {name: mx.nd.zeros(size) for name, size in names}
    results = []
    for number in range(rounds):
        for name, size in names:
            if size < 100000 or number % 20 == 0:
                tensors[name][:] = mx.nd.array(sent(rank, name, number, size, workers))
                bps.push_pull(tensors[name], name=f"tensor_{name}", is_average=False)
                results.append((name, number, tensors[name].copy()))
    for _, _, result in results:
        result.wait_to_read()
    stopper.communicate()
    for name, number, result in results:
        size, got = result.size, result.asnumpy()
        want = sum(sent(other, name, number, size, workers) for other in range(workers))
        if not np.array_equal(got, want):
            sys.exit(f"round {number}: tensor {name} has {int((got != want).sum())} of {size} elements wrong")
    print(f"worker {rank}: {rounds} rounds exact", flush=True)


if __name__ == "__main__":
    main()
