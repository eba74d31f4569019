"""What a worker of ``bench engine`` and ``bench peers`` runs but for training: it waits, or exchanges a model's sizes.

It uses the NumPy front end, which stock BytePS has, too, with the fix-up core-surface. What it has measured itself it
prints as a line of JSON. Around what is measured from outside it prints BEGIN and END, and does nothing else until all
have said END.
"""

import argparse
import json
import time
from typing import Mapping, Optional, Sequence

from byteps_gc.bench.peers import worker_timing
from byteps_gc.bench.peers.worker_timing import BEGIN, END, say
import byteps_gc.numpy as bps
import numpy as np

WARM_UP = 5  # rounds
SETTLE = 0.5  # seconds until threads that wait have come to rest
TOPK = {"compressor": "topk", "k": 0.001}
RATE = 0.1  # learning rate for the compressors


class Tensors:
    """Arrays of random numbers that are exchanged again and again.

    params: compression parameters.
    """

    def __init__(self, sizes: Sequence[int], params: Optional[Mapping[str, object]] = None):
        bps.init()
        random = np.random.RandomState(bps.rank())
        self.sources = [random.standard_normal(size).astype(np.float32) for size in sizes]
        self.tensors = [np.zeros(size, np.float32) for size in sizes]
        self.token = np.zeros(1, np.float32)
        self.compressed = bps.Exchange(self.tensors, params, average=False) if params else None

    def fill(self) -> None:
        """Give every array its numbers."""
        for tensor, source in zip(self.tensors, self.sources):
            np.copyto(tensor, source)

    def barrier(self) -> None:
        """Wait for all workers."""
        bps.push_pull(self.token, "barrier", average=False)

    def begin(self, index: int) -> bps.Handle:
        """Begin to push and pull one array."""
        return bps.push_pull_async(self.tensors[index], f"gradient_{index}", average=False, priority=-index)

    def exchange(self) -> None:
        """Push and pull all arrays, compressed if there are parameters, and wait for all."""
        if self.compressed:
            self.compressed.push_pull(RATE)
            return
        for handle in [self.begin(index) for index in range(len(self.tensors))]:
            handle.wait()


def idle(options: argparse.Namespace) -> None:
    """Worker 0 waits in an exchange that the others join after ``--seconds``."""
    one = Tensors([1])
    one.exchange()
    one.barrier()
    waits = bps.rank() == 0
    handle = one.begin(0) if waits else None
    time.sleep(SETTLE)
    say(BEGIN)
    if not waits:
        time.sleep(options.seconds)
        handle = one.begin(0)
    handle.wait()
    say(END)
    one.barrier()


def exchange(options: argparse.Namespace) -> None:
    """Time the first exchange, and then each round's."""
    one = Tensors(options.sizes, options.params)
    one.fill()
    one.barrier()
    first = worker_timing.timed(one.exchange)
    worker_timing.take(options.warm_up, options.rounds, one.barrier, one.exchange, before=one.fill, init=first)


def server(options: argparse.Namespace) -> None:
    """Exchange compressed arrays, for the servers' CPU time."""
    one = Tensors(options.sizes, TOPK)
    for number in range(WARM_UP + options.rounds):
        if number == WARM_UP:
            one.barrier()
            say(BEGIN)
        one.fill()
        one.exchange()
    say(END)
    one.barrier()


def main() -> None:
    """Run one experiment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("experiment", choices=("idle", "exchange", "server"))
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--sizes", type=json.loads)
    parser.add_argument("--params", type=json.loads, default={})
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    options = parser.parse_args()
    {"idle": idle, "exchange": exchange, "server": server}[options.experiment](options)


if __name__ == "__main__":
    main()
