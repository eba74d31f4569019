"""What programs/gradient_rounds.py must find, computed by the compressors' NumPy definitions without a cluster."""

import dataclasses
from pathlib import Path
import sys

from byteps_gc.compressors.identity import Identity
from byteps_gc.compressors.random import stream_number
from byteps_gc.compressors.reference import ReferenceServer, ReferenceWorker
from byteps_gc.compressors.settings import Settings
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "programs"))
from gradient_rounds import BAD, SIZES, digest, rate, sent

WORKERS = 2
HALF = np.float32(1 / WORKERS)


class Tensor:
    """A tensor that travels as it is. mu: coefficient of the momentum that is added to what arrives."""

    def __init__(self, size, mu=0.0):
        self.mu = np.float32(mu)
        self.momentum = np.zeros(size, np.float32) if mu else None

    def round(self, gradients, eta, skipped):
        """Return the mean that arrives for the workers' gradients."""
        return (gradients[0] + gradients[1]) * HALF

    def finish(self, mean):
        """Return the mean with momentum, of a step that is applied."""
        if self.momentum is None:
            return mean
        self.momentum = (self.momentum + mean) * self.mu
        return mean + self.momentum


class EncodedTensor(Tensor):
    """A tensor whose partitions a compressor encodes. ``name`` is the one under which it is declared."""

    def __init__(self, name, size, partition_elements, compressor, mu_inside=None, ef=False, mu=0.0):
        super().__init__(size, mu)
        self.parts = []
        for index, at in enumerate(range(0, size, partition_elements)):
            place = slice(at, min(size, at + partition_elements))
            common = dict(d=place.stop - at, mu=mu_inside, ef=ef, workers=WORKERS)
            stream = stream_number(name, index)
            workers = [ReferenceWorker(compressor, worker=one, stream=stream, **common) for one in range(WORKERS)]
            self.parts.append((place, workers, ReferenceServer(compressor, **common)))

    def round(self, gradients, eta, skipped):
        out = np.empty_like(gradients[0])
        for place, workers, server in self.parts:
            for worker, gradient in zip(workers, gradients):
                server.push(worker.compress(gradient[place] * HALF, eta, skipped))
            reply = server.reply()
            out[place] = [worker.decompress(reply) for worker in workers][0]
        return out


def tensors(case, number, threshold, partition_elements):
    """Return the tensors of the model that is made as number ``number`` in its job."""
    settings = Settings.from_params(case["params"])
    scope = f"trainer_{number}." if number else ""
    mu = case["momentum"]
    for index, size in enumerate(SIZES):
        place = (f"{scope}gradient_{index}", size, partition_elements)
        compressor = settings.compressor
        if compressor is not None and 4 * size >= threshold:
            if settings.narrow() in compressor.option_names():
                compressor = dataclasses.replace(compressor, **{settings.narrow(): True})
            yield EncodedTensor(*place, compressor, mu or None, bool(settings.ef))
        elif settings.narrow():
            yield EncodedTensor(*place, Identity(**{settings.narrow(): True}), mu=mu)
        else:
            yield Tensor(size, mu)


def expected(case, number, rounds, threshold, partition_elements):
    """Return what the program prints for a case: digests of all rounds, None for the one that is skipped."""
    every = list(tensors(case, number, threshold, partition_elements))
    found = []
    for turn in range(rounds):
        with np.errstate(all="ignore"):
            arrived = [
                one.round([sent(worker, turn, index) for worker in range(WORKERS)], rate(turn), turn == BAD + 1)
                for index, one in enumerate(every)
            ]
        if turn == BAD:
            found.append(None)
            continue
        found.append(digest([one.finish(mean) for one, mean in zip(every, arrived)]))
    return found
