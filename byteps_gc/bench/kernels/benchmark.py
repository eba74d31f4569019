"""Benchmark the compressors: GB/s of float32, compared with memcpy and with stock BytePS in the same run."""

import argparse
import contextlib
from dataclasses import dataclass
import itertools
import os
from statistics import median
import time
from typing import Iterator, List, Optional, Sequence, Union

from byteps_gc.bench import tables
from byteps_gc.bench.kernels.contestants import CODECS, OPS, Calls, Data, Ours, Theirs, bits, has_released
from byteps_gc.bench.stock import compressors, library
from byteps_gc.errors import UserError
from rich.console import Console

WARM_UP = 3

Side = Union[Ours, Theirs]


@dataclass(frozen=True)
class Row:
    """One line of the result. A GB is 10^9 bytes of float32: the gradient's, or the partition's that comes out.

    bits_per_element: of a push; reply_bits_per_element: see :func:`~byteps_gc.bench.kernels.contestants.bits`.
    """

    codec: str
    op: str
    gbps: float
    memcpy_gbps: float
    released_gbps: Optional[float]
    bits_per_element: float
    reply_bits_per_element: float
    relative_error: float


def seconds(calls: Calls) -> float:
    """The processor's time for the calls, one after the other: what others do meanwhile is not counted."""
    begin = time.process_time()
    for call in calls:
        call()
    return time.process_time() - begin


def warm(side: Side) -> Side:
    """Take first steps, which touch new memory (a state may be kept twice, for the step before)."""
    for number in range(WARM_UP):
        seconds(side.step(number))
    return side


def measure(codec: str, op: str, data: Data, repeats: int) -> Row:
    """Time memcpy, ours and the released one in turn, ``repeats`` times; medians.

    With error feedback every repeat starts afresh: the released one grows without bound around dithering.
    """
    kinds = [Ours, Theirs] if has_released(codec) else [Ours]
    times: List[List[float]] = [[] for _ in range(1 + len(kinds))]
    for repeat in range(repeats):
        if repeat == 0 or "ef" in OPS[op]:
            sides = [warm(kind(codec, op, data)) for kind in kinds]
        seconds(data.memcpy())
        times[0].append(seconds(data.memcpy()))
        for side, found in zip(sides, times[1:]):
            found.append(seconds(side.step(WARM_UP + repeat)))
    size = 4e-9 * data.elements * len(data.gradients)
    memcpy, ours, theirs = ([size / median(found) for found in times] + [None])[:3]
    return Row(codec, op, ours, memcpy, theirs, *bits(codec, op, data), Ours(codec, op, data).error())


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Everything within runs on one processor."""
    before = os.sched_getaffinity(0)
    os.environ["OMP_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def choose(names: Sequence[str]) -> List[str]:
    """The codecs that the names or first words name (all for none); :class:`UserError` for a name that fits none."""
    unknown = [name for name in names if not any(name in (codec, codec.split()[0]) for codec in CODECS)]
    if unknown:
        raise UserError(f"unknown codec {', '.join(unknown)}; known: {', '.join(CODECS)}")
    return [codec for codec in CODECS if not names or codec in names or codec.split()[0] in names]


def cells(row: Row, before: Optional[Row]) -> Iterator[str]:
    """A row of the table; the codec is named where it begins."""
    yield "" if before and before.codec == row.codec else row.codec
    yield row.op
    yield f"{row.gbps:.2f}"
    for other in (row.memcpy_gbps, row.released_gbps):
        yield f"{other:.2f}" if other else ""
        yield f"{row.gbps / other:.2f}" if other else ""
    yield f"{row.bits_per_element:.3f}"
    yield f"{row.reply_bits_per_element:.3f}"
    yield f"{row.reply_bits_per_element / row.bits_per_element:.2f}"
    yield f"{row.relative_error:.3g}"


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    titles = ("codec", "operation", "GB/s", "memcpy GB/s", "x memcpy", "stock GB/s", "x stock")
    titles += ("push bits", "reply bits", "reply / push", "error")
    tables.show(titles, [cells(row, before) for before, row in zip([None, *rows], rows)], words=2)


def main(options: argparse.Namespace) -> int:
    """Measure, print the table and write the file."""
    if options.repeats < 1 or options.partitions < 1:
        raise UserError("--repeats and --partitions must be at least 1")
    codecs, rows = choose(options.codec), []
    tables.require_writable("--json", options.json)
    with one_core(), Console(stderr=True).status("stock BytePS") as status:
        for role in library.ROLES:
            compressors.load(role, lambda line: status.update(f"compiling {line}"))
        data = Data(options.partitions)
        for codec, op in itertools.product(codecs, OPS):
            status.update(f"{codec}: {op}")
            rows.append(measure(codec, op, data, options.repeats))
    show(rows)
    tables.write(rows, options.json)
    return 0
