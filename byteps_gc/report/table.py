"""The guide's table with more columns, for people and for programs."""

import csv
import io
import json
from typing import Iterable, List, Optional, Sequence

from byteps_gc.report import target
from byteps_gc.report.rows import Row, Spread
from rich.console import Console
from rich.table import Table

COLUMNS = ("Compressor", "Val Accu", "Time(s)", "Speedup", "MB/step", "Seeds")
DIFFERENCE, RECEIVED = "Points vs. baseline", "MB received/step"


def shown(value: Optional[Spread], form: str, unit: str = "") -> str:
    """Return a mean, with the range in parentheses if the values differ."""
    if value is None:
        return ""
    spread = f" ({value.min:{form}} to {value.max:{form}})" if value.min != value.max else ""
    return f"{value.mean:{form}}{unit}{spread}"


def percent(value: Spread) -> Spread:
    """Return a fraction in percent."""
    return Spread(100 * value.mean, 100 * value.min, 100 * value.max)


def titles(rows: Sequence[Row]) -> List[str]:
    """Return the titles: with columns for validation loss, target and received bytes if the runs have them.

    Long runs have one for the difference from the baseline.
    """
    wanted = rows[0].runs[0].start.get("target")
    found = list(COLUMNS)
    found[2:2] = ["Val Loss"] if rows[0].loss else []
    found[2:2] = [DIFFERENCE] if any(row.long for row in rows) else []
    at = found.index("Speedup") + 1
    found[at:at] = [f"Time to {target.name(wanted)}(s)"] if wanted else []
    found[-1:-1] = [RECEIVED] if any(row.received for row in rows) else []
    return found


def cells(row: Row, optional: Sequence[str] = ()) -> List[str]:
    """Return a row's cells, for :func:`titles`; optional: those of DIFFERENCE and RECEIVED that there are."""
    return [
        row.name + ("" if row.finished else " (unfinished)"),
        shown(percent(row.accuracy), ".2f", "%"),
        *([shown(row.difference and percent(row.difference), "+.2f")] if DIFFERENCE in optional else []),
        *([shown(row.loss, ".3f")] if row.loss else []),
        shown(row.seconds, ".2f"),
        shown(row.speedup, ".2f"),
        *([reached(row.to_target)] if row.runs[0].start.get("target") else []),
        megabytes(row.sent),
        *([megabytes(row.received)] if RECEIVED in optional else []),
        str(len(row.runs)),
    ]


def body(rows: Sequence[Row]) -> List[List[str]]:
    """Return the cells of all rows."""
    head = titles(rows)
    return [cells(row, head) for row in rows]


def megabytes(value: Optional[float]) -> str:
    """Return MB for a cell."""
    return "" if value is None else f"{value:.3f}"


def reached(seconds: Sequence[Optional[float]]) -> str:
    """Return the time to a target; if some runs did not reach it, how many did."""
    found = [value for value in seconds if value is not None]
    if not found:
        return "not reached"
    part = "" if len(found) == len(seconds) else f", {len(found)} of {len(seconds)} runs"
    return shown(Spread.of(found), ".1f") + part


def markdown(rows: Sequence[Row]) -> str:
    """Return the table as Markdown."""
    return "".join(f"{line}\n" for line in lines(titles(rows), body(rows)))


def lines(head: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> List[str]:
    """Return the lines of any table as Markdown; all columns after the first ``words`` hold numbers."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return ["| " + " | ".join(line) + " |" for line in (head, rule, *rows)]


def comma_separated(rows: Sequence[Row]) -> str:
    """Return the table as CSV: plain numbers, accuracy from 0 to 1."""
    names = ("accuracy", "difference", "seconds", "speedup")
    head = ["compressor", "runs", *(f"{name}{end}" for name in names for end in ("", "_min", "_max"))]
    head += ["sent_mb_per_step", "received_mb_per_step", "compute_seconds_per_step", "exchange_seconds_per_step"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        spreads = [getattr(row, name) for name in names]
        numbers = [number for one in spreads for number in ((one.mean, one.min, one.max) if one else ("", "", ""))]
        writer.writerow([row.name, len(row.runs), *numbers, row.sent, row.received, row.compute, row.exchange])
    return text.getvalue()


def for_programs(rows: Sequence[Row]) -> str:
    """Return all values as JSON."""
    return json.dumps([row.values() for row in rows], indent=2) + "\n"


def show(rows: Sequence[Row]) -> None:
    """Print the table."""
    table = Table(*titles(rows))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in body(rows):
        table.add_row(*row)
    Console().print(table)
