"""A worker that checks push_pull against NumPy, bit for bit: exchange.py FRONT_END ROUNDS.

FRONT_END: numpy or mxnet. Every worker knows what every other one sends, so each checks the whole sum. A child of each
worker pauses it at random moments while many tensors are under way, each of them at its own pace: one worker is then
slow in the middle of an exchange that the other has finished, and a reply that is overwritten before it has been sent
is a wrong sum here.
"""

from concurrent.futures import ThreadPoolExecutor
import functools
import os
import sys

import numpy as np

from stops import stop_now_and_then

SIZES = (1, 7, 4096, 1024001)
SMALL = 24  # more tensors of 4096 elements
LARGE = 100000  # elements from which a tensor is exchanged in some rounds only
SOME = 20  # every 20th
OFFSETS = 65521  # number of offsets at which a tensor's numbers may begin


@functools.lru_cache(maxsize=None)
def pool(rank, workers):
    """Random numbers of a worker: any float32; of more than two, whose sum depends on the order, whole numbers."""
    rng = np.random.RandomState(rank)
    size = max(SIZES) + OFFSETS
    if workers > 2:
        return rng.randint(-(10**6), 10**6, size).astype(np.float32)
    return (rng.randn(size) * 10.0 ** rng.randint(-6, 6, size)).astype(np.float32)


def sent(rank, name, number, size, workers):
    """Return what a worker sends: another part of its numbers for each tensor and round."""
    begin = (name * 1009 + number * 7919) % OFFSETS
    return pool(rank, workers)[begin : begin + size]


def rounds_of(size, rounds):
    """Return the rounds in which a tensor of this size is exchanged."""
    return range(0, rounds, SOME if size > LARGE else 1)


def numpy_sums(sizes, rounds):
    """Exchange with the NumPy front end, a thread for each tensor; return the sums by tensor and round."""
    import byteps_gc.numpy as bps

    bps.init()
    found = {}

    def exchange(name, numbers):
        for number in numbers:
            array = sent(bps.rank(), name, number, sizes[name], bps.size()).copy()
            found[name, number] = bps.push_pull(array, f"tensor_{name}", average=False)

    numbers = {name: rounds_of(size, rounds) for name, size in sizes.items()}
    for name in sizes:  # all workers declare the tensors in the same order
        exchange(name, numbers[name][:1])
    with ThreadPoolExecutor(len(sizes)) as threads:
        for done in [threads.submit(exchange, name, numbers[name][1:]) for name in sizes]:
            done.result()
    return found


def mxnet_sums(sizes, rounds):
    """Exchange with the MXNet front end, which runs all exchanges in the background; return the same."""
    import byteps_gc.mxnet as bps
    import mxnet as mx

    bps.init()
    tensors, found = {name: mx.nd.zeros(size) for name, size in sizes.items()}, {}
    for number in range(rounds):
        for name, size in sizes.items():
            if number in rounds_of(size, rounds):
                tensors[name][:] = mx.nd.array(sent(bps.rank(), name, number, size, bps.size()))
                bps.push_pull(tensors[name], name=f"tensor_{name}", is_average=False)
                found[name, number] = tensors[name].copy()
    return {key: array.asnumpy() for key, array in found.items()}


def main():
    exchange, rounds = {"numpy": numpy_sums, "mxnet": mxnet_sums}[sys.argv[1]], int(sys.argv[2])
    rank, workers = int(os.environ["DMLC_WORKER_ID"]), int(os.environ["DMLC_NUM_WORKER"])
    stopper = stop_now_and_then(rank)
    found = exchange(dict(enumerate((*SIZES, *SMALL * (4096,)))), rounds)
    stopper.communicate()
    for (name, number), got in found.items():
        want = sum(sent(other, name, number, got.size, workers) for other in range(workers))
        if not np.array_equal(got, want):
            sys.exit(f"round {number}: tensor {name} has {int((got != want).sum())} of {got.size} elements wrong")
    print(f"worker {rank}: {rounds} rounds exact", flush=True)


if __name__ == "__main__":
    main()
