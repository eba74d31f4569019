"""The logs below a run's folder: their last lines without stack traces of C++, and the warnings in them."""

from collections import Counter
from pathlib import Path
import re
from typing import Iterable, List, Sequence, Tuple

LINES = 20
LONGEST = 500  # characters of a line that are shown
BLOCK = 65536  # bytes in which the last lines are looked for
WARNING = re.compile(r"warning\b", re.IGNORECASE)
STAMP = re.compile(r"^\[\d\d:\d\d:\d\d\] ")  # in front of BytePS's lines
# what ps-lite, MXNet and the C++ library print after the message of an error
TRACE = re.compile(r"\s*\[bt\] |Stack trace( returned \d+ entries)?:$|terminate called .* 'dmlc::Error'$")
REPEATED = re.compile(r"\s*what\(\): +(.*)")
UNPRINTABLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def find(places: Sequence[Path]) -> List[Path]:
    """Return the logs below some folders, in order."""
    return sorted({file for place in places for file in place.rglob("*.log")})


def shown(line: bytes) -> str:
    """Return a line as text without control characters, cut if it is very long."""
    text = UNPRINTABLE.sub("", line.decode(errors="replace").rstrip())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def tells(line: str, before: Iterable[str]) -> bool:
    """Return whether a line says something that the lines before do not, and is no address of a stack trace."""
    if not line.strip() or TRACE.match(line):
        return False
    repeated = REPEATED.match(line)
    return not (repeated and any(repeated[1] in one for one in before))


def tail(file: Path) -> List[str]:
    """Return the last lines of a log, but for stack traces of C++."""
    with open(file, "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - BLOCK))
        lines = [shown(line) for line in stream.read().splitlines()]
    return [line for place, line in enumerate(lines) if tells(line, lines[:place])][-LINES:]


def warnings(files: Iterable[Path]) -> List[Tuple[str, int]]:
    """Return the lines that are warnings, without their time, and how often each occurs, the most frequent first."""
    found: Counter = Counter()
    for file in files:
        with open(file, "rb") as stream:
            found.update(STAMP.sub("", shown(line)) for line in stream if WARNING.search(line.decode(errors="replace")))
    return found.most_common()
