"""The model of a step compared with runs between simulated hosts, which share one machine's processors.

A run without a bandwidth limit measures the time in which the processors compute, compress, add and copy. In a run with
a limit they take as long, if the machine is as fast. Gradients become ready evenly in this time after forward, the last
layer's first, and :mod:`byteps_gc.bench.links` sends them.

The machine's speed: the median, over the rows that both folders have, of the compute seconds' ratio.

TCP does not fill links as the fluid model does. So an uncompressed row has an efficiency: the share of the bandwidth
with which the fluid model takes the measured time. No row is predicted with its own. An uncompressed row gets the mean
efficiency of the same dtype and bandwidth with other numbers of hosts. A compressed row gets that of all uncompressed
rows with its bandwidth, as does an uncompressed row without such a partner. Without any row of its bandwidth, it is the
mean of all other rows, or 1 if there are none.
"""

from dataclasses import dataclass
import functools
import math
from pathlib import Path
from statistics import mean, median
from typing import Dict, Iterator, List, Sequence, Tuple

from byteps_gc import env
from byteps_gc.bench import links, model_gradients
from byteps_gc.bench.step_model import FORWARD, SERVERS, placement
from byteps_gc.cluster.namespaces import bits_per_second
from byteps_gc.errors import UserError
from byteps_gc.report import configuration, rows

LIMITED = 1.25  # times the processors' time that a step takes at least if its link's efficiency shows
EFFICIENCIES = (0.1, 2.0)  # the least and the largest
HALVINGS = 12  # of the interval in which an efficiency lies


@dataclass(frozen=True)
class Measured:
    """A row of a folder of ``reproduce.sh``: the seconds of a step, and its parts."""

    compressor: str
    hosts: int
    rate: str
    compute: float
    sent: float
    step: float
    model: str = ""
    servers_per_host: int = SERVERS
    partition: int = env.PARTITION_BYTES
    folder: str = ""

    @property
    def bits(self) -> float:
        """Bandwidth of the link in bits per second."""
        return bits_per_second(self.rate) if self.rate else math.inf

    @property
    def compressed(self) -> bool:
        """Whether gradients are compressed; 16 bits are no compression."""
        return self.compressor.partition(",")[0] != rows.BASELINE


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
            model=start["model"],
            servers_per_host=about.get("servers_per_host", SERVERS),
            partition=start.get("partition_bytes", env.PARTITION_BYTES),
            folder=str(folder),
        )


def gradients(model: str) -> List[int]:
    """Return the bytes of each gradient, in the trainer's order; of a model that is not in MODELS, of one gradient."""
    if model not in model_gradients.MODELS:
        return []
    return [4 * math.prod(shape) for shape in model_gradients.of(model_gradients.MODELS[model])]


@dataclass(frozen=True)
class Limited:
    """A run with a bandwidth limit, and the run of the same compressor and hosts without one.

    slower: the machine's compute seconds with the limit divided by those without.
    """

    run: Measured
    free: Measured
    slower: float

    @functools.cached_property
    def parts(self) -> List[links.Part]:
        """The partitions in the order in which backward computes them, with the bytes that the run sent."""
        run = self.run
        forward = self.slower * self.free.compute * FORWARD
        work = self.slower * self.free.step - forward
        sizes = gradients(run.model) or [round(run.sent)]
        placed = [*placement(sizes, run.hosts * run.servers_per_host, run.partition)]
        cuts = [tensor for tensor, size in enumerate(sizes) for _ in range(0, size, run.partition)]
        total, done, parts = sum(sizes), 0, []
        for _, (server, size) in sorted(zip(cuts, placed), key=lambda one: -one[0]):
            done += size
            parts.append(links.Part(server, size * run.sent / total, forward + work * done / total))
        return parts

    def step(self, efficiency: float) -> float:
        """Return the seconds of a step with this share of the bandwidth."""
        return links.step_seconds(self.parts, self.run.hosts, self.run.servers_per_host, efficiency * self.run.bits)

    @functools.cached_property
    def efficiency(self) -> float:
        """The efficiency with which a step takes the measured time; NaN if the link does not determine the time."""
        if self.run.compressed or self.run.step < LIMITED * self.slower * self.free.step:
            return math.nan
        low, high = EFFICIENCIES
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.step(middle) > self.run.step else (low, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class Check:
    """A measured row with a bandwidth limit, and its step as predicted with an efficiency of the links."""

    run: Measured
    efficiency: float
    predicted: float

    @property
    def ratio(self) -> float:
        """Measured step divided by predicted step."""
        return self.run.step / self.predicted


def limited(runs: Sequence[Measured]) -> List[Limited]:
    """Pair each run that has a bandwidth limit with the first run of the same compressor and hosts without one."""
    free: Dict[Tuple[str, int], Measured] = {}
    for one in runs:
        if not one.rate:
            free.setdefault((one.compressor, one.hosts), one)
    pairs = [(one, free.get((one.compressor, one.hosts))) for one in runs if one.rate]
    speeds: Dict[Tuple[str, str], List[float]] = {}
    for one, base in pairs:
        if base:
            speeds.setdefault((one.folder, base.folder), []).append(one.compute / base.compute)
    return [Limited(one, base, median(speeds[one.folder, base.folder])) for one, base in pairs if base]


def expected_efficiency(one: Limited, others: Sequence[Limited]) -> float:
    """Return the efficiency of a run's links, from that of other runs."""
    known = [other for other in others if other is not one and not math.isnan(other.efficiency)]
    near = [other for other in known if other.run.bits == one.run.bits]
    if not one.run.compressed:
        near = [other for other in near if other.run.compressor == one.run.compressor] or near
    return mean(other.efficiency for other in near or known) if known else 1.0


def check(runs: Sequence[Measured]) -> List[Check]:
    """Predict each run with a bandwidth limit from the run without one, and from the others' efficiency."""
    pairs = limited(runs)
    found = []
    for one in pairs:
        efficiency = expected_efficiency(one, pairs)
        found.append(Check(one.run, efficiency, one.step(efficiency)))
    return found
