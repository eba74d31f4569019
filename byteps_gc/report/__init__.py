"""What a run reports: a record of its progress, the guide's table and plots.

:mod:`~byteps_gc.report.record` is the file that a training script writes, :mod:`~byteps_gc.report.rows` makes rows of
such files, which :mod:`~byteps_gc.report.table` and :mod:`~byteps_gc.report.plot` show.
"""

from pathlib import Path
from typing import Optional, Sequence

from byteps_gc.report.record import Record
from byteps_gc.report.rows import Row, group

TABLES = ("table.md", "table.csv", "table.json")


def write(rows: Sequence[Row], folder: Path) -> None:
    """Write table.md, table.csv, table.json and the plots to a folder, and say so."""
    from byteps_gc.report import plot, table

    folder.mkdir(parents=True, exist_ok=True)
    for name, make in zip(TABLES, (table.markdown, table.comma_separated, table.for_programs)):
        (folder / name).write_text(make(rows))
    files = plot.draw_all(rows, folder)
    pictures = ", ".join(file.name for file in files if file.suffix == ".png")
    print(f"logs, {', '.join(TABLES)}, and as .png and .svg {pictures.replace('.png', '')}: {folder}", flush=True)


def present(records: Sequence[Record], folder: Optional[Path] = None) -> None:
    """Print the table of some records, and write all there is of them to a folder, if one is given."""
    from byteps_gc.report import table

    found = group(records)
    table.show(found)
    if folder:
        write(found, folder)
