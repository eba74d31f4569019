"""The records of all runs of a table in one small file, records.jsonl.gz, from which the table can be made again.

A line precedes each run's events: ``{"event": "run", "job": "topk", "seed": 0}``. Progress events are left out.
"""

import gzip
import io
import json
from pathlib import Path
from typing import Iterator, List, Sequence
import zlib

from byteps_gc.errors import UserError
from byteps_gc.report import configuration
from byteps_gc.report.record import Record

NAME = "records.jsonl.gz"


def lines(records: Sequence[Record]) -> Iterator[str]:
    """Return the lines of the file."""
    for record in records:
        seed = record.start.get("flags", {}).get("--seed")
        for event in [{"event": "run", "job": record.job, "seed": seed}, *record.events]:
            yield json.dumps(event) + "\n"


def write(records: Sequence[Record], file: Path) -> None:
    """Write records to a file; the same records give the same bytes."""
    stream = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as archive:
        archive.write("".join(lines(records)).encode())
    file.write_bytes(stream.getvalue())


def keep(records: Sequence[Record], folder: Path, places: Sequence[Path]) -> None:
    """Write records.jsonl.gz to a folder, and the first configuration.json of the runs' folders if it has none."""
    write(records, folder / NAME)
    print(f"{NAME}: {folder}", flush=True)
    for file, _ in configuration.find(places):
        if not (folder / configuration.NAME).exists():
            (folder / configuration.NAME).write_bytes(file.read_bytes())


def read(file: Path) -> List[Record]:
    """Return the records in a file; :class:`UserError` if it is not complete."""
    records: List[Record] = []
    try:
        for line in gzip.decompress(file.read_bytes()).decode().splitlines():
            event = json.loads(line)
            if event["event"] == "run":
                records.append(Record(event["job"]))
            else:
                records[-1].add(event)
        if not records:
            raise ValueError("no run")
    except (OSError, EOFError, ValueError, LookupError, TypeError, zlib.error):
        raise UserError(f"cannot read {file}: it is incomplete, or report --out did not write it") from None
    return records
