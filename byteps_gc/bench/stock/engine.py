"""Stock BytePS, as a folder for a role's PYTHONPATH."""

from pathlib import Path
from typing import Callable
import zipfile

from byteps_gc.engine import build, fixups

# The fix-ups without which it does not start as a CPU build of a modern compiler (any-python and any-processor are
# what the builder itself relies on), cannot compress, is wrong with two workers on one machine, or cannot be called by
# our front ends (core-surface, which changes nothing else).
NEEDED = (
    "ready-count",
    "thread-pool",
    "registry-order",
    "any-python",
    "any-processor",
    "declare-returns",
    "local-scope",
    "core-surface",
)


def unpack(folder: Path, progress: Callable[[str], None] = lambda line: None) -> Path:
    """Build stock BytePS, unless the cache has it, and unpack it into a new ``folder``; returns that.

    :class:`EngineError` if it cannot be built.
    """
    wheel = build.build(without=[name for name in fixups.names() if name not in NEEDED], progress=progress)
    with zipfile.ZipFile(str(wheel)) as archive:
        archive.extractall(str(folder))
    return folder
