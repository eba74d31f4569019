"""A model of the time of a training step on a network.

Gradients are compressed, sent and added up while backward computes others, and the next step's forward waits for all of
them. The slowest of the three determines the time of a step:

    step = forward + max(backward, work, network)    forward = compute / 3, backward = 2 * compute / 3
    network = 8 * sent * 2 * (n - 1) / n / rate

work: seconds in which a host's processors compress, add up and copy. sent: bytes that a worker sends in a step. With a
server on each of n hosts, a host sends (n - 1) / n of them to other hosts and the same amount in its server's answers,
and receives as much, if all servers hold equal shares of the bytes. rate: bandwidth of a host's link in each direction,
in bits per second.

:func:`check` compares this with runs on one machine. There, the same processors compute and work, so that backward and
work take turns; a run without a bandwidth limit measures their sum. :func:`predict` applies it to clusters of GPUs.
There, work follows from the speeds that ``bench compressors`` measured, and the servers' shares are the engine's: a
host whose servers hold a share s of the bytes sends (n - 1) s + 1 - s of them.
"""

import argparse
from dataclasses import dataclass
import itertools
import json
import math
from pathlib import Path
from statistics import median
from typing import Dict, Iterable, Iterator, List, Optional, Sequence, Tuple

from byteps_gc.bench import model_gradients, tables
from byteps_gc.cluster.namespaces import bits_per_second
from byteps_gc.errors import UserError
from byteps_gc.report import configuration, rows, table

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
    """Return the seconds that a host's link needs for a step's ``sent`` bytes.

    bits: bandwidth in bits per second, infinite without a limit. share: the share of the bytes that the host's servers
    hold; default: the same as all others.
    """
    share = 1 / hosts if share is None else share
    return 8 * sent * ((hosts - 1) * share + 1 - share) / bits


def step(compute: float, work: float, sending: float) -> float:
    """Return the seconds of a step from those of its parts."""
    return compute * FORWARD + max(compute * (1 - FORWARD), work, sending)


@dataclass(frozen=True)
class Measured:
    """A row of a folder of ``reproduce.sh``: the seconds of a step, and its parts."""

    compressor: str
    hosts: int
    rate: str
    compute: float
    sent: float
    step: float

    @property
    def bits(self) -> float:
        """Bandwidth of the link in bits per second."""
        return bits_per_second(self.rate) if self.rate else math.inf


def measured(folder: Path) -> Iterator[Measured]:
    """Yield the rows of a folder; :class:`UserError` if ``reproduce.sh`` did not make it."""
    file = folder / configuration.NAME
    if not file.is_file():
        raise UserError(f"{folder} is not a folder of reproduce.sh or report --out: {configuration.NAME} is missing")
    about = configuration.read(file).get("configuration", {})
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
    """A measured row with a bandwidth limit, and its step as predicted from the run without one."""

    run: Measured
    predicted: float

    @property
    def ratio(self) -> float:
        """Measured step divided by predicted step."""
        return self.run.step / self.predicted


def check(runs: Sequence[Measured]) -> List[Check]:
    """Compare each run with a bandwidth limit with the run of the same compressor and hosts without one."""
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


def seconds_of(words: Sequence[str]) -> Dict[str, float]:
    """Return the seconds by model from ``--compute MODEL=SECONDS``; :class:`UserError`."""
    found = {}
    for word in words:
        model, _, number = word.partition("=")
        try:
            found[model] = float(number)
        except ValueError:
            found[model] = math.nan
        if model not in model_gradients.MODELS or not 0 < found[model] < math.inf:
            raise UserError(
                f"invalid --compute {word}: expected MODEL=SECONDS with MODEL one of"
                f" {', '.join(model_gradients.MODELS)}"
            )
    return found


def main(options: argparse.Namespace) -> int:
    """Compare the model with runs, and print its predictions for clusters."""
    tables.require_writable("--markdown", options.markdown)
    computes = seconds_of(options.compute)
    if not options.folder and not computes:
        raise UserError("nothing to predict; give folders of reproduce.sh, or --compute with --compressors")
    if bool(computes) != bool(options.compressors):
        raise UserError("--compute and --compressors need each other")
    if min(options.cores, options.partition_bytes) < 1:
        raise UserError("--cores and --partition-bytes must be at least 1")
    checks = check([one for folder in options.folder for one in measured(folder)])
    if options.folder and not checks:
        raise UserError(
            "no compressor and number of hosts in these folders has runs both with and without a bandwidth limit"
        )
    found = []
    if checks:
        titles = ("compressor", "hosts", "rate", "MB sent", "predicted s", "measured s", "ratio")
        found.append((titles, [*map(check_cells, checks)], 3))
    if computes:
        titles = (
            "model",
            "hosts x GPUs",
            "rate",
            "step s without compression",
            *(f"{codec}: speedup" for codec in CODECS),
        )
        steps = predict(computes, *kernels(options.compressors), options.cores, options.partition_bytes)
        found.append((titles, [*predicted_cells(steps)], 3))
    for one in found:
        tables.show(*one)
    if options.markdown:
        options.markdown.write_text("\n".join("\n".join([*table.lines(*one), ""]) for one in found))
    return 0


def check_cells(one: Check) -> Tuple[str, ...]:
    """Return a row of the table of measured steps."""
    run = one.run
    numbers = (f"{run.sent / 1e6:.2f}", f"{one.predicted:.3f}", f"{run.step:.3f}", f"{one.ratio:.2f}")
    return (run.compressor, str(run.hosts), run.rate, *numbers)


def predicted_cells(found: Iterable[Predicted]) -> Iterator[Tuple[str, ...]]:
    """Yield the rows of the table of clusters: a step without compression, and the speedup with each codec."""
    for (model, hosts, rate), steps in itertools.groupby(found, key=lambda one: (one.model, one.hosts, one.rate)):
        none, *others = steps
        yield (model, f"{hosts} x 8", rate, f"{none.step:.3f}", *(f"{one.speedup:.2f}" for one in others))
