"""The guide's table: one row a job, with our column of bytes."""

from pathlib import Path
import statistics
from typing import Dict, List, Sequence

from byteps_gc.report import record
from rich.console import Console
from rich.table import Table

COLUMNS = ("Compressor", "Val Accu", "Time(s)", "MB/step")


def label(compression: Dict[str, object]) -> str:
    """A row's name, as the guide writes it."""
    name = str(compression.get("compressor", "baseline"))
    numbers = ", ".join(f"{key}={compression[key]}" for key in ("k", "bucket") if compression.get(key))
    if numbers:
        name += f"({numbers})"
    if compression.get("ef") and compression.get("momentum"):
        name = "dist-EF-SGDM" if name == "onebit" else f"{name} + EF + momentum"
    elif compression.get("ef"):
        name += " + EF"
    return name + (", fp16" if compression.get("fp16") else "")


def find(folders: Sequence[Path]) -> List[record.Record]:
    """The records with at least one epoch below the folders, in order of their start."""
    files = sorted(
        {file for folder in folders for file in folder.rglob("*.jsonl")}, key=lambda file: file.stat().st_mtime
    )
    return [one for one in map(record.read, files) if one.start and one.epochs]


def row(one: record.Record) -> Sequence[str]:
    """A row: name, last epoch's validation accuracy, seconds, and 10^6 bytes a worker sends in a step."""
    last = one.epochs[-1]
    sent = statistics.median(epoch["sent_mb_per_step"] for epoch in one.epochs)
    name = label(one.start["compression"]) + ("" if one.finished else " (unfinished)")
    return name, f"{last['accuracy']:.2%}", f"{last['seconds']:.2f}", f"{sent:.3f}"


def markdown(records: Sequence[record.Record]) -> str:
    """The table as Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "| --- | ---: | ---: | ---: |"]
    return "\n".join(lines + ["| " + " | ".join(row(one)) + " |" for one in records]) + "\n"


def show(records: Sequence[record.Record]) -> None:
    """Print the table."""
    table = Table(*COLUMNS)
    for column in table.columns[1:]:
        column.justify = "right"
    for one in records:
        table.add_row(*row(one))
    Console().print(table)
