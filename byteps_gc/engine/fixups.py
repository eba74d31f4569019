"""The mechanism by which we change BytePS's source.

Each :class:`Fixup` cures one defect by small anchored edits (a few words to
find, our words to put in their place) or by whole files of our own from
``engine/files``. An anchor that is not found exactly once (or as often as the
edit says) stops the build. The
changes themselves stand in :mod:`byteps_gc.engine.changes`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Iterable, Tuple

from byteps_gc.errors import EngineError

FILES = Path(__file__).parent / "files"


@dataclass(frozen=True)
class Edit:
    """Replace the one place in ``path`` where ``find`` stands, or all of so many ``times``, by ``put``."""

    path: str
    find: str
    put: str
    times: int = 1

    def apply(self, root: Path) -> None:
        """Change the file under ``root``; :class:`EngineError` unless the anchor stands there so often."""
        file = root / self.path
        if not file.is_file():
            raise EngineError(f"{self.path} does not exist in the source, but a fix-up edits it")
        text = file.read_text()
        count = text.count(self.find)
        if count != self.times:
            anchor = self.find.strip().splitlines()[0]
            wanted = "once" if self.times == 1 else f"{self.times} times"
            raise EngineError(
                f"{self.path}: found the anchor {anchor!r} {count} times instead of {wanted};"
                " this is not the source release that the fix-ups were written for"
            )
        file.write_text(text.replace(self.find, self.put))


@dataclass(frozen=True)
class Fixup:
    """One defect and its cure.

    ``issue`` is the number of upstream's issue where somebody reported it, if
    there is one. ``files`` are pairs (path in the source, name in engine/files).
    """

    name: str
    reason: str
    edits: Tuple[Edit, ...] = ()
    files: Tuple[Tuple[str, str], ...] = ()
    issue: str = ""

    def apply(self, root: Path) -> None:
        """Make all of this fix-up's changes under ``root``."""
        for path, name in self.files:
            (root / path).write_bytes((FILES / name).read_bytes())
        for edit in self.edits:
            edit.apply(root)


def apply(root: Path, fixups: Iterable[Fixup]) -> None:
    """Change the unpacked source under ``root``."""
    for fixup in fixups:
        fixup.apply(root)
