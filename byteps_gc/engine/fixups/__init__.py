"""What we change in BytePS's source, and why: one file ``NAME.fix`` for each fix-up.

A fix-up cures one defect by replacing lines, or by adding files of our own from
``engine/files``. ``docs/engine.md`` defines the format of its file. Fix-ups are
independent: any of them can be left out, and their order makes no difference.
"""

from pathlib import Path
from typing import Iterable, Tuple

from byteps_gc.engine.fixups.edits import FILES, Edit, Fixup
from byteps_gc.engine.fixups.reader import read
from byteps_gc.errors import EngineError

__all__ = ["FILES", "FOLDER", "Edit", "Fixup", "apply", "names", "read", "select"]

FOLDER = Path(__file__).parent


def names() -> Tuple[str, ...]:
    """Return the names of all fix-ups, sorted."""
    return tuple(sorted(file.stem for file in FOLDER.glob("*.fix")))


def select(without: Iterable[str] = ()) -> Tuple[Fixup, ...]:
    """Read all fix-ups but the named ones; raise :class:`EngineError` for an unknown name or a malformed file."""
    without, known = set(without), names()
    unknown = without.difference(known)
    if unknown:
        raise EngineError(f"unknown fix-up {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return tuple(read(FOLDER / f"{name}.fix") for name in known if name not in without)


def apply(root: Path, fixups: Iterable[Fixup]) -> None:
    """Change the unpacked source under ``root``."""
    for fixup in fixups:
        fixup.apply(root)
