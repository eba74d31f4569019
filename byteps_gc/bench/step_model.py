"""How long a training step takes on a network, from what it computes and what it sends.

Gradients are compressed, sent and added up while backward still computes others, and the next step's forward waits
for all of them. What takes longest of the three counts:

    step = forward + max(backward, work, network)    forward = compute / 3, backward twice that
    network = 8 * sent * 2 * (n - 1) / n / rate

work: seconds that a host's processors need to compress, add up and hand over. sent: bytes that a worker hands over in
a step; with a server on each of n hosts, a host sends (n - 1) / n of them to other hosts, and as much in its server's
answers, and receives the same, if all servers have as many of the bytes. rate: of its link, bits per second in each
direction.

:func:`check` holds this against runs on one machine, whose processors compute and do the work: there, backward and
work come one after the other, and a step without a limit says how long both take. :func:`foretell` reads it off for
clusters of GPUs, where work is what ``bench compressors`` measured of each kernel, and servers have what the engine
gives them: if the host that has most has a share s of the bytes, it sends (n - 1) s + 1 - s of them.
"""

import argparse
from dataclasses import dataclass
import itertools
import json
import math
from pathlib import Path
from statistics import median
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from byteps_gc.bench import shapes, tables
from byteps_gc.cluster import folders
from byteps_gc.cluster.namespaces import bits_per_second
from byteps_gc.errors import UserError
from byteps_gc.report import rows, table

FORWARD = 1 / 3  # of what is computed: a multiplication forward, and two backward
# of the guide's compressors with error feedback and momentum, in what ``bench compressors`` measures
CODECS = ("onebit scaling", "topk k=0.001", "randomk k=0.001", "dithering k=2 linear l2 bucket=512", "identity half")
HOSTS, RATES = (8, 64), ("10gbit", "25gbit", "100gbit")
SERVERS = 2  # of a host, as in the guide


def placement(sizes: Iterable[int], servers: int, partition: int) -> Iterator[Tuple[int, int]]:
    """The server and the bytes of each part of tensors of ``sizes`` bytes, as the engine's ``placement.h`` has it."""
    loads = [0] * servers
    for size in sizes:
        for start in range(0, size, partition):
            server, part = loads.index(min(loads)), min(partition, size - start)
            loads[server] += part
            yield server, part


def most(model: shapes.Model, hosts: int, partition: int) -> float:
    """The share of a model's bytes that the servers of the host have which has most."""
    loads = [0] * hosts
    for server, part in placement((4 * math.prod(shape) for shape in shapes.of(model)), hosts * SERVERS, partition):
        loads[server // SERVERS] += part
    return max(loads) / sum(loads)


def network(sent: float, hosts: int, bits: float, share: Optional[float] = None) -> float:
    """Seconds that a host's link takes for a step's ``sent`` bytes; ``bits`` a second, infinite without a limit.

    share: of the bytes, that the host's servers have; default: as much as the others.
    """
    share = 1 / hosts if share is None else share
    return 8 * sent * ((hosts - 1) * share + 1 - share) / bits


def step(compute: float, work: float, sending: float) -> float:
    """Seconds of a step that computes, works and sends so long."""
    return compute * FORWARD + max(compute * (1 - FORWARD), work, sending)


@dataclass(frozen=True)
class Measured:
    """A row of a folder of ``reproduce.sh``: seconds of a step, and what it is made of."""

    compressor: str
    hosts: int
    rate: str
    compute: float
    sent: float
    step: float

    @property
    def bits(self) -> float:
        """The link's, in a second."""
        return bits_per_second(self.rate) if self.rate else math.inf


def measured(folder: Path) -> Iterator[Measured]:
    """The rows of a folder; :class:`UserError` if it is none of ``reproduce.sh``."""
    file = folder / folders.CONFIGURATION
    if not file.is_file():
        raise UserError(f"{folder} is no folder of reproduce.sh: it has no {folders.CONFIGURATION}")
    about = json.loads(file.read_text())["configuration"]
    for row in rows.group(rows.find([folder])):
        start = row.runs[0].start
        images = start["batch_size"] * start["workers"]
        yield Measured(
            compressor=row.name,
            hosts=about["hosts"],
            rate=about["rate"],
            compute=row.compute,
            sent=1e6 * row.sent,
            step=images / row.step("samples_per_second"),
        )


@dataclass(frozen=True)
class Check:
    """A measured row with a limit, and what the run without one foretells of it."""

    run: Measured
    foretold: float

    @property
    def ratio(self) -> float:
        """Of the measured step to the foretold one."""
        return self.run.step / self.foretold


def check(runs: Sequence[Measured]) -> List[Check]:
    """Every run on a link with a rate beside the one of as many hosts without."""
    free = {(one.compressor, one.hosts): one for one in runs if not one.rate}
    found = []
    for one in runs:
        base = free.get((one.compressor, one.hosts))
        if one.rate and base:
            processors = base.step - base.compute * FORWARD
            found.append(Check(one, step(base.compute, processors, network(one.sent, one.hosts, one.bits))))
    return found


@dataclass(frozen=True)
class Kernels:
    """A compressor: GB/s of float32 on one core, of a worker that compresses and one that decompresses and of a server
    that adds up; and the bits that an element costs.
    """

    compress: float
    decompress: float
    add: float
    bits: float

    def work(self, size: float, hosts: int, cores: int, share: float) -> float:
        """Seconds that a host's cores need for a gradient of so many bytes: its worker's, and its servers' share."""
        compressing = (1 + share) / self.compress
        return size / 1e9 * (compressing + 1 / self.decompress + hosts * share / self.add) / cores


def kernels(file: Path) -> Tuple[Dict[str, Kernels], float]:
    """Of each codec in what ``bench compressors --json`` wrote, and memcpy's GB/s; :class:`UserError` if it is none."""
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
        raise UserError(f"--compressors {file} is not what bench compressors --json writes of all codecs") from None


@dataclass(frozen=True)
class Foretold:
    """Seconds of a step on a cluster of ``hosts`` hosts, and how often faster that is than without compression."""

    model: str
    hosts: int
    rate: str
    codec: str
    step: float
    speed_up: float


def foretell(
    computes: Dict[str, float], codecs: Dict[str, Kernels], memcpy: float, cores: int, partition: int
) -> Iterator[Foretold]:
    """Steps of models that compute so many seconds, on clusters of HOSTS and RATES, without and with each codec.

    memcpy: GB/s, with which dense gradients are added up; cores: of a host, that compress; partition: its bytes.
    """
    dense = Kernels(compress=math.inf, decompress=math.inf, add=memcpy, bits=32)
    for (model, compute), hosts in itertools.product(computes.items(), HOSTS):
        size, share = shapes.MODELS[model].bytes, most(shapes.MODELS[model], hosts, partition)
        for rate in RATES:
            steps: Dict[str, float] = {}
            for codec, one in {"none": dense, **codecs}.items():
                work = one.work(size, hosts, cores, share)
                steps[codec] = step(compute, work, network(size * one.bits / 32, hosts, bits_per_second(rate), share))
                yield Foretold(model, hosts, rate, codec, steps[codec], steps["none"] / steps[codec])


def seconds_of(words: Sequence[str]) -> Dict[str, float]:
    """What ``--compute MODEL=SECONDS`` says; :class:`UserError`."""
    found = {}
    for word in words:
        model, _, number = word.partition("=")
        try:
            found[model] = float(number)
        except ValueError:
            found[model] = math.nan
        if model not in shapes.MODELS or not 0 < found[model] < math.inf:
            raise UserError(f"--compute {word}: wanted is MODEL=SECONDS, with one of {', '.join(shapes.MODELS)}")
    return found


def main(options: argparse.Namespace) -> int:
    """Show what runs say of the model, and what the model says of clusters."""
    tables.require_folder("--markdown", options.markdown)
    computes = seconds_of(options.compute)
    if bool(computes) != bool(options.compressors) or min(options.cores, options.partition_bytes) < 1:
        raise UserError("--compute and --compressors go together; --cores and --partition-bytes are numbers from 1 up")
    checks = check([one for folder in options.folder for one in measured(folder)])
    if options.folder and not checks:
        raise UserError("these folders have no runs with and without a rate of the same compressor and hosts")
    found = []
    if checks:
        titles = ("compressor", "hosts", "rate", "MB sent", "foretold s", "measured s", "ratio")
        found.append((titles, [*map(check_cells, checks)], 3))
    if computes:
        titles = ("model", "hosts", "rate", "none: step s", *(f"{codec}: x" for codec in CODECS))
        steps = foretell(computes, *kernels(options.compressors), options.cores, options.partition_bytes)
        found.append((titles, [*foretold_cells(steps)], 3))
    for one in found:
        tables.show(*one)
    if options.markdown:
        options.markdown.write_text("\n".join("\n".join([*table.lines(*one), ""]) for one in found))
    return 0


def check_cells(one: Check) -> Tuple[str, ...]:
    """A row of the first table."""
    run = one.run
    numbers = (f"{run.sent / 1e6:.2f}", f"{one.foretold:.3f}", f"{run.step:.3f}", f"{one.ratio:.2f}")
    return (run.compressor, str(run.hosts), run.rate, *numbers)


def foretold_cells(found: Iterable[Foretold]) -> Iterator[Tuple[str, ...]]:
    """The rows of the second one: a step without compression, and how often faster it is with each codec."""
    for (model, hosts, rate), steps in itertools.groupby(found, key=lambda one: (one.model, one.hosts, one.rate)):
        none, *others = steps
        yield (model, f"{hosts} x 8", rate, f"{none.step:.3f}", *(f"{one.speed_up:.2f}" for one in others))
