"""What a worker of ``bench engine`` runs but for training: it waits, or exchanges arrays of a model's sizes.

What it has measured itself it prints as a line of JSON. Around what is measured
from outside it prints BEGIN and END, and does nothing else until all have said END.
"""

import argparse
import json
import sys
import time
from typing import Dict, List, Optional

from byteps_gc.bench.peers import worker_timing
from byteps_gc.bench.peers.worker_timing import BEGIN, END, say

WARM_UP = 5  # rounds
SETTLE = 0.5  # seconds until threads that wait have come to rest
TOPK = {"compressor": "topk", "k": 0.001}
RATE = 0.1  # learning rate for the compressors


class Tensors:
    """Arrays of random numbers that are exchanged again and again, declared as the trainer declares gradients.

    params: compression parameters.
    """

    def __init__(self, sizes: List[int], params: Optional[Dict[str, object]] = None):
        from byteps_gc import native
        from byteps_gc.compressors.engine_keys import engine_options
        from byteps_gc.compressors.settings import Settings
        from byteps_gc.core import session
        import byteps_gc.mxnet as bps
        import mxnet as mx

        bps.init()
        self.bps, self.mx = bps, mx
        settings = Settings.from_params(params)
        mx.random.seed(bps.rank())
        self.sources = [mx.nd.random.normal(shape=(size,)) for size in sizes]
        self.tensors = [mx.nd.zeros(size) for size in sizes]
        self.token = mx.nd.zeros(1)
        self.compressed: List[native.Tensor] = []
        for index, size in enumerate(sizes):
            compressed = settings.compressor is not None and 4 * size >= session.threshold()
            name = f"gradient_{index}"
            options = engine_options(settings, None, name, compressed)
            bps.declare(name, 4 * size, **options)
            if options:
                self.compressed.append(native.Tensor(name))

    def fill(self) -> None:
        """Give every array its numbers, and wait until they are there."""
        for tensor, source in zip(self.tensors, self.sources):
            source.copyto(tensor)
        self.mx.nd.waitall()

    def barrier(self) -> None:
        """Wait for all workers."""
        self.bps.push_pull(self.token, name="barrier", is_average=False)
        self.token.wait_to_read()

    def exchange(self) -> None:
        """Push and pull all arrays and wait for all."""
        for index, tensor in enumerate(self.tensors):
            self.bps.push_pull(tensor, priority=-index, name=f"gradient_{index}", is_average=False)
        for tensor in self.tensors:
            tensor.wait_to_read()

    def compressed_exchange(self) -> None:
        """:meth:`exchange` as the trainer's step has it; ends this process if an array could not be used."""
        for tensor in self.compressed:
            tensor.step(RATE)
        self.exchange()
        for tensor in self.compressed:
            _, failure = tensor.outcome()
            if failure:
                sys.exit(failure)


def idle(options: argparse.Namespace) -> None:
    """Worker 0 waits in an exchange that the others join after ``--seconds``."""
    one = Tensors([1])
    one.exchange()
    one.barrier()
    waits = one.bps.rank() == 0
    if waits:
        one.bps.push_pull(one.tensors[0], name="gradient_0", is_average=False)
    time.sleep(SETTLE)
    say(BEGIN)
    if not waits:
        time.sleep(options.seconds)
        one.bps.push_pull(one.tensors[0], name="gradient_0", is_average=False)
    one.tensors[0].wait_to_read()
    say(END)
    one.barrier()


def exchange(options: argparse.Namespace) -> None:
    """Time the first exchange, and then each round's."""
    one = Tensors(options.sizes, options.params)
    work = one.compressed_exchange if options.params else one.exchange
    one.fill()
    one.barrier()
    first = worker_timing.timed(work)
    worker_timing.take(options.warm_up, options.rounds, one.barrier, work, before=one.fill, init=first)


def server(options: argparse.Namespace) -> None:
    """Exchange compressed arrays, for the servers' CPU time."""
    one = Tensors(options.sizes, TOPK)
    for number in range(WARM_UP + options.rounds):
        if number == WARM_UP:
            one.barrier()
            say(BEGIN)
        one.fill()
        one.compressed_exchange()
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
