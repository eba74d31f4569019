"""A model of the time of a training step on a cluster of GPUs.

Gradients are compressed, sent and added up while backward computes others, and the next step's forward waits for all of
them. The slowest of the three determines the time of a step:

    step = forward + max(backward, work, network)    forward = compute / 3, backward = 2 * compute / 3
    network = 8 * headers * sent * 2 * (n - 1) / n / rate

work: seconds in which a host's processors compress, add up and copy, from the speeds that ``bench compressors``
measured. sent: bytes that a worker sends in a step. With a server on each of n hosts, a host sends (n - 1) / n of them
to other hosts and the same amount in its server's answers, and receives as much, if all servers hold equal shares of
the bytes. The servers' shares are the engine's: a host whose servers hold a share s of the bytes sends (n - 1) s + 1 -
s of them. headers: bytes on the link per byte sent. rate: bandwidth of a host's link in each direction, in bits per
second.

This is a lower bound, of links that never wait: :mod:`byteps_gc.bench.step_check` compares a model in which they do
with runs on simulated hosts.
"""

from dataclasses import dataclass
import itertools
import json
import math
from pathlib import Path
from statistics import median
from typing import Dict, Iterable, Iterator, Optional, Tuple

from byteps_gc.bench import model_gradients
from byteps_gc.bench.links import HEADERS
from byteps_gc.cluster.namespaces import bits_per_second
from byteps_gc.errors import UserError

FORWARD = 1 / 3  # share of the compute time: one matrix product forward, two backward
# names in ``bench compressors`` of the guide's compressors with error feedback and momentum
CODECS = ("onebit scaling", "topk k=0.001", "randomk k=0.001", "dithering k=2 linear l2 bucket=512", "identity half")
HOSTS, RATES = (8, 64), ("10gbit", "25gbit", "100gbit")
SERVERS = 2  # per host, as in the guide


def placement(sizes: Iterable[int], servers: int, partition: int) -> Iterator[Tuple[int, int]]:
    """Yield server and bytes of each partition of tensors of ``sizes`` bytes, as the engine's ``placement.h`` does."""
    loads = [0] * servers
    for size in sizes:
        for start in range(0, size, partition):
            server, part = loads.index(min(loads)), min(partition, size - start)
            loads[server] += part
            yield server, part


def most(model: model_gradients.Model, hosts: int, partition: int) -> float:
    """Return the largest share of a model's bytes that the servers of one host hold."""
    loads = [0] * hosts
    for server, part in placement(
        (4 * math.prod(shape) for shape in model_gradients.of(model)), hosts * SERVERS, partition
    ):
        loads[server // SERVERS] += part
    return max(loads) / sum(loads)


def network(sent: float, hosts: int, bits: float, share: Optional[float] = None) -> float:
    """Return the seconds that a host's link needs for a step's ``sent`` bytes and their headers.

    bits: bandwidth in bits per second, infinite without a limit. share: the share of the bytes that the host's servers
    hold; default: the same as all others.
    """
    share = 1 / hosts if share is None else share
    return 8 * HEADERS * sent * ((hosts - 1) * share + 1 - share) / bits


def step(compute: float, work: float, sending: float) -> float:
    """Return the seconds of a step from those of its parts."""
    return compute * FORWARD + max(compute * (1 - FORWARD), work, sending)


@dataclass(frozen=True)
class Kernels:
    """Speeds of a compressor in GB/s of float32 on one core, and the bits that it sends per element.

    compress, decompress: on a worker; add: decompression and addition on a server.
    """

    compress: float
    decompress: float
    add: float
    bits: float

    def work(self, size: float, hosts: int, cores: int, share: float) -> float:
        """Return the seconds in which a host's cores process ``size`` bytes of gradients: worker and servers."""
        compressing = (1 + share) / self.compress
        return size / 1e9 * (compressing + 1 / self.decompress + hosts * share / self.add) / cores


def kernels(file: Path) -> Tuple[Dict[str, Kernels], float]:
    """Return the speeds of each codec in a file of ``bench compressors --json``, and memcpy's GB/s."""
    try:
        found = {(one["codec"], one["op"]): one for one in json.loads(file.read_text())}
        speeds = {
            codec: Kernels(
                compress=found[codec, "compress+ef+momentum"]["gbps"],
                decompress=found[codec, "decompress"]["gbps"],
                add=found[codec, "decompress+add"]["gbps"],
                bits=found[codec, "compress"]["bits_per_element"],
            )
            for codec in CODECS
        }
        return speeds, median(one["memcpy_gbps"] for one in found.values())
    except (OSError, ValueError, LookupError, TypeError):
        raise UserError(
            f"cannot read --compressors {file}: expected a file that bench compressors --json wrote for all codecs"
        ) from None


@dataclass(frozen=True)
class Predicted:
    """Seconds of a step on a cluster of ``hosts`` hosts, and the speedup over a step without compression."""

    model: str
    hosts: int
    rate: str
    codec: str
    step: float
    speedup: float


def predict(
    computes: Dict[str, float], codecs: Dict[str, Kernels], memcpy: float, cores: int, partition: int
) -> Iterator[Predicted]:
    """Predict the steps of models on clusters of HOSTS and RATES, without and with each codec.

    computes: compute seconds of a step by model; memcpy: GB/s at which servers add dense gradients; cores: per host,
    for compression; partition: bytes of a partition.
    """
    dense = Kernels(compress=math.inf, decompress=math.inf, add=memcpy, bits=32)
    for (model, compute), hosts in itertools.product(computes.items(), HOSTS):
        size, share = model_gradients.MODELS[model].bytes, most(model_gradients.MODELS[model], hosts, partition)
        for rate in RATES:
            steps: Dict[str, float] = {}
            for codec, one in {"none": dense, **codecs}.items():
                work = one.work(size, hosts, cores, share)
                steps[codec] = step(compute, work, network(size * one.bits / 32, hosts, bits_per_second(rate), share))
                yield Predicted(model, hosts, rate, codec, steps[codec], steps["none"] / steps[codec])
