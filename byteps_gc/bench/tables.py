"""How results are shown and written."""

from dataclasses import asdict
import json
from pathlib import Path
from typing import Any, Iterable, Optional, Sequence

from byteps_gc.errors import UserError
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

WIDTH = 144  # columns, however narrow the terminal


def require_writable(flag: str, file: Optional[Path]) -> None:
    """Check that a flag's file, if there is one, can be written: :class:`UserError`. Its content stays."""
    if not file:
        return
    try:
        new = not file.exists()
        with open(file, "a"):
            pass
        if new:
            file.unlink()
    except OSError as error:
        raise UserError(f"cannot write {flag} {file}: {error.strerror}") from None


def show(titles: Sequence[str], rows: Iterable[Iterable[str]], words: int = 1) -> None:
    """Print a table; all columns but the first ``words`` hold numbers."""
    table = Table(*titles, box=SIMPLE)
    for column in table.columns[words:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Console(width=max(Console().width, WIDTH)).print(table)


def write(rows: Sequence[Any], file: Optional[Path]) -> None:
    """Write rows (dataclasses) to a file as a list, if there is one."""
    if file:
        file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
