"""Reports of runs: their records, the guide's table, plots, an HTML page and scalars for TensorBoard.

A training script writes a record (:mod:`~byteps_gc.report.record`), from which :mod:`~byteps_gc.report.rows` makes
rows. :mod:`~byteps_gc.report.table`, :mod:`~byteps_gc.report.plot` and :mod:`~byteps_gc.report.page` show them.
"""

from pathlib import Path
from typing import Optional, Sequence

from byteps_gc.report.record import Record
from byteps_gc.report.rows import Row, group

TABLES = ("table.md", "table.csv", "table.json")
PAGE = "report.html"


def write(rows: Sequence[Row], folder: Path, places: Sequence[Path] = ()) -> None:
    """Write tables, plots and report.html to a folder, and print their names; ``places``: see :func:`present`."""
    from byteps_gc.report import page, plot, table

    folder.mkdir(parents=True, exist_ok=True)
    for name, make in zip(TABLES, (table.markdown, table.comma_separated, table.for_programs)):
        (folder / name).write_text(make(rows))
    files = plot.draw_all(rows, folder)
    page.write(rows, folder / PAGE, places or [folder])
    stems = ", ".join(file.stem for file in files if file.suffix == ".png")
    print(f"{', '.join(TABLES)}, {stems} (.png, .svg): {folder}", flush=True)
    print(f"report: {folder / PAGE}", flush=True)


def present(
    records: Sequence[Record],
    folder: Optional[Path] = None,
    html: Optional[Path] = None,
    places: Sequence[Path] = (),
) -> None:
    """Print the table of some records.

    folder: also write tables, plots and report.html to it. html: also write the HTML page to this file.
    places: folders with the runs' logs and configuration.json; default: ``folder``.
    """
    from byteps_gc.report import page, table

    found = group(records)
    table.show(found)
    if folder:
        write(found, folder, places)
    if html:
        page.write(found, html, places)
        print(f"report: {html}", flush=True)
