"""Read a fix-up from its file."""

from pathlib import Path
import re
from typing import Dict, List, Tuple

from byteps_gc.engine.fixups.edits import FILES, Edit, Fixup
from byteps_gc.errors import EngineError

FIND, PUT, END = MARKERS = ("<<<<", "====", ">>>>")
# the form of each header line, as a pattern and in words
HEADERS = {
    "Description": (r"(\S.*)", "Description: TEXT"),
    "Bug": (r"([\w.-]+/[\w.-]+#\d+)", "Bug: OWNER/REPOSITORY#NUMBER"),
    "File": (r"(\S+) from (\S+)", "File: PATH from NAME"),
    "Edit": (r"(\S+)(?: \(([2-9]|[1-9]\d+) times\))?", "Edit: PATH, or Edit: PATH (N times) with N >= 2"),
}


class Reader:
    """The lines of one file, and what has been read of them."""

    def __init__(self, file: Path):
        self.name = file.name
        self.lines = file.read_text(encoding="utf-8").rstrip("\n").split("\n")
        self.number = 0  # of the line that was read last
        self.head: Dict[str, List[Tuple[str, ...]]] = {"Description": [], "Bug": [], "File": []}
        self.edits: List[Edit] = []

    def error(self, message: str) -> EngineError:
        """Return an error at the line that was read last."""
        return EngineError(f"{self.name}:{self.number}: {message}")

    def more(self) -> bool:
        """Return whether a line is left."""
        return self.number < len(self.lines)

    def next(self) -> str:
        """Read a line."""
        self.number += 1
        return self.lines[self.number - 1]

    def read(self) -> None:
        """Read the whole file."""
        while self.more():
            line = self.next()
            if line:
                self.header(line)
        if not self.head["Description"]:
            raise self.error("the file has no Description")
        if not self.head["File"] and not self.edits:
            raise self.error("the file has neither a File nor an Edit")

    def header(self, line: str) -> None:
        """Read what a header line begins."""
        keyword = line.partition(":")[0]
        if keyword not in HEADERS:
            raise self.error(f"expected {', '.join(HEADERS)} or an empty line, found {line!r}")
        values = self.values(keyword, line)
        if keyword == "Edit":
            self.edits.append(self.edit(values[0], int(values[1] or 1)))
        elif self.edits:
            raise self.error(f"{keyword} must precede the first Edit")
        elif self.head[keyword] and keyword != "File":
            raise self.error(f"{keyword} occurs twice")
        elif keyword == "File" and not (FILES / values[1]).is_file():
            raise self.error(f"engine/files has no file {values[1]}")
        else:
            self.head[keyword].append(values)

    def values(self, keyword: str, line: str) -> Tuple[str, ...]:
        """Return the values of a header line, which indented lines may continue."""
        while self.more() and self.lines[self.number].startswith("  "):
            line += " " + self.next().strip()
        pattern, form = HEADERS[keyword]
        match = re.fullmatch(f"{keyword}: {pattern}", line)
        if not match:
            raise self.error(f"expected {form}, found {line!r}")
        return match.groups()

    def edit(self, path: str, times: int) -> Edit:
        """Read the two blocks of an edit."""
        place = f"{self.name}:{self.number}"
        self.block(FIND)
        find = self.block(PUT)
        if not find.strip():
            raise self.error(f"no lines to find between {FIND} and {PUT}")
        put = self.block(END)
        if find == put:
            raise self.error("the edit changes nothing")
        return Edit(path, find, put, times, place)

    def block(self, end: str) -> str:
        """Return the lines before the marker ``end``; before the first marker of an edit there are none."""
        lines = []
        while self.more():
            line = self.next()
            if line == end:
                return "".join(lines)
            if line in MARKERS or end == FIND:
                raise self.error(f"expected {end}, found {line!r}")
            lines.append(line + "\n")
        raise self.error(f"the file ends before {end}")


def read(file: Path) -> Fixup:
    """Return the fix-up in a file; raise :class:`EngineError` with the file's name and a line if it is malformed."""
    reader = Reader(file)
    reader.read()
    head = reader.head
    bug = head["Bug"][0][0] if head["Bug"] else ""
    files = tuple((path, name) for path, name in head["File"])
    return Fixup(file.stem, head["Description"][0][0], bug, files, tuple(reader.edits))
