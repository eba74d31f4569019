"""Apply a fix-up to an unpacked source tree."""

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Tuple

from byteps_gc.errors import EngineError

FILES = Path(__file__).parent.parent / "files"


@dataclass(frozen=True)
class Edit:
    """Replace the lines ``find`` of the file ``path`` by the lines ``put``.

    ``times`` is the number of places where ``find`` must occur, ``place`` the file and line that define the edit.
    """

    path: str
    find: str
    put: str
    times: int = 1
    place: str = ""

    def apply(self, root: Path) -> None:
        """Edit the file under ``root``; raise :class:`EngineError` unless the lines occur ``times`` times."""
        file = root / self.path
        if not file.is_file():
            raise EngineError(f"{self.place}: {self.path} does not exist in the source")
        text, count = re.subn("^" + re.escape(self.find), lambda _: self.put, file.read_text(), flags=re.MULTILINE)
        if count != self.times:
            first = next(filter(str.strip, self.find.splitlines()), "").strip()
            wanted = "once" if self.times == 1 else f"{self.times} times"
            raise EngineError(
                f"{self.place}: found the lines at {first!r} {count} times instead of {wanted} in {self.path};"
                " this is not the source release that the fix-ups were written for"
            )
        file.write_text(text)


@dataclass(frozen=True)
class Fixup:
    """One defect and its cure.

    ``bug`` is upstream's issue, if there is one. ``files`` are pairs (path in the source, name in engine/files).
    """

    name: str
    description: str
    bug: str
    files: Tuple[Tuple[str, str], ...]
    edits: Tuple[Edit, ...]

    def apply(self, root: Path) -> None:
        """Make all changes of this fix-up under ``root``."""
        for path, name in self.files:
            (root / path).write_bytes((FILES / name).read_bytes())
        for edit in self.edits:
            edit.apply(root)
