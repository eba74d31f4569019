"""Images in MXNet's RecordIO files, as im2rec and ``byteps_gc pack`` write them.

PREFIX.rec holds the records, PREFIX.idx a line "key, offset" for each, and
PREFIX.lst, where there is one, a line "key, label, path". A record is one or
more parts, each of them a magic number, a word with the part's place (3 bits)
and length (29 bits), and the content, filled up to 4 bytes. It holds a header
(flag, label, two ids) and an encoded image.

Read here with positional reads, so that threads share a file, and so that a
damaged one is an error of one line.
"""

import os
from pathlib import Path
import re
import struct
from typing import List, Optional, Tuple

from byteps_gc.data.labels import CLASSES as LABELS
from byteps_gc.data.labels import check_label
from byteps_gc.errors import DatasetError
import numpy as np

MAGIC = 0xCED7230A
PART = struct.Struct("<II")
HEADER = struct.Struct("<IfQQ")
LIMIT = 1 << 29  # a record has fewer bytes
WHOLE, FIRST, MIDDLE, LAST = range(4)  # a part's place in its record
LOOKED_AT = 1024  # records that are checked when a file is opened
LINE = 64  # bytes of an index's line, at most
LIST_LINE = 1 << 16  # of a list's line, at most
CLASSES = 1000  # of ImageNet


def framed(content: bytes) -> bytes:
    """Return the bytes of a record in the file, equal to those that MXNet writes.

    content: header and image, fewer than :data:`LIMIT` bytes. It is cut into parts
    where it holds the magic number at a multiple of 4.
    """
    magic = struct.pack("<I", MAGIC)
    cuts = [match.start() for match in re.finditer(re.escape(magic), content) if match.start() % 4 == 0]
    parts = []
    for start, end in zip([0] + [cut + 4 for cut in cuts], cuts + [len(content)]):
        place = (LAST if cuts else WHOLE) if end == len(content) else MIDDLE if parts else FIRST
        parts += [PART.pack(MAGIC, place << 29 | end - start), content[start:end]]
    return b"".join(parts) + bytes(-len(content) % 4)


def read_index(file: Path, records: Path, size: int) -> np.ndarray:
    """The offsets (n,) int64 that an index lists, in rising order.

    records, size: the .rec file and its bytes. Raises :class:`DatasetError` for what
    is not an index, or has more lines than there can be records.
    """
    try:
        if file.stat().st_size > LINE * (size // PART.size) + LIST_LINE:
            raise DatasetError(f"{file} is not the index of {records}: it is too large for a file of {size} bytes")
        words = file.read_bytes().split()
        table = np.array(words, dtype=object).reshape(-1, 2)
        keys, offsets = table[:, 0].astype(np.int64), np.sort(table[:, 1].astype(np.int64))
    except OSError as error:
        raise DatasetError(f"cannot read index {file}: {error.strerror}") from None
    except (ValueError, OverflowError):
        raise DatasetError(f"{file} is not an index: expected lines with a key and an offset") from None
    if len(offsets) == 0:
        raise DatasetError(f"index {file} is empty")
    if len(np.unique(keys)) < len(keys) or offsets[0] != 0 or not (np.diff(offsets) > 0).all():
        raise DatasetError(f"{file} is not an index: expected unique keys, and unique offsets from 0")
    return offsets


def read_classes(file: Path) -> int:
    """Return the number of classes in a list of images: 1 + the greatest label. ImageNet's where there is no list.

    The list's paths may have any encoding. Raises :class:`DatasetError` for a
    file that cannot be read or is not a list.
    """
    if not file.is_file():
        return CLASSES
    try:
        with open(file, "rb") as stream:
            lines = enumerate(iter(lambda: stream.readline(LIST_LINE + 1), b""), 1)
            return 1 + max(listed_label(f"{file} line {number}", line) for number, line in lines if line.strip())
    except OSError as error:
        raise DatasetError(f"cannot read list {file}: {error.strerror}") from None
    except (ValueError, IndexError):
        raise DatasetError(f"{file} is not a list of images: expected lines with a key, a label and a path") from None


def listed_label(place: str, line: bytes) -> int:
    """Return the label in a line of a list; ValueError or IndexError for another line."""
    if len(line) > LIST_LINE:
        raise ValueError(f"{place} is too long")
    return check_label(place, float(line.split(b"\t")[1]), LABELS)


class Records:
    """The images of a .rec file, in the order of the file.

    index: default: the .idx next to the file; classes: how many there are;
        default: what the .lst next to the file says, or ImageNet's 1000.
    Raises :class:`DatasetError` for a file that is missing or truncated, and for
    an index that is not this file's: up to 1024 records are looked at.
    """

    def __init__(self, file: Path, index: Optional[Path] = None, classes: Optional[int] = None):
        self.file = file.expanduser()
        self.index = (index or file.with_suffix(".idx")).expanduser()
        try:
            self._file = os.open(str(self.file), os.O_RDONLY)
            self.size = os.fstat(self._file).st_size
        except OSError as error:
            raise DatasetError(f"cannot open record file {self.file}: {error.strerror}") from None
        self._offsets = np.append(read_index(self.index, self.file, self.size), self.size)
        self.classes = classes or read_classes(self.file.with_suffix(".lst"))
        for number in np.unique(np.linspace(0, len(self) - 1, min(LOOKED_AT, len(self))).astype(int)):
            self._check(int(number))

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def read(self, number: int) -> Tuple[bytes, int]:
        """An encoded image and its label. Threads may call it together."""
        content, _ = self._record(number)
        flag, label, _, _ = HEADER.unpack_from(content) if len(content) >= HEADER.size else (0, 0.0, 0, 0)
        if flag > 1:
            raise DatasetError(f"{self.name(number)} has {flag} labels; expected one")
        start = HEADER.size + 4 * flag
        if len(content) < start:
            raise DatasetError(f"{self.name(number)} has {len(content)} bytes, less than its header of {start}")
        if flag == 1:
            (label,) = struct.unpack_from("<f", content, HEADER.size)
        return content[start:], check_label(self.name(number), label, self.classes)

    def name(self, number: int) -> str:
        """What an image is called in messages."""
        return f"record {number} of {self.file} (byte {self._offsets[number]})"

    def _check(self, number: int) -> None:
        _, end = self._record(number)
        following = int(self._offsets[number + 1])
        if end != following:
            what = "the file" if number + 1 == len(self) else "the next"
            raise DatasetError(
                f"{self.index} is not the index of {self.file}: record {number} ends at byte {end}, but"
                f" {what} {'ends' if what == 'the file' else 'begins'} at {following}"
            )
        self.read(number)

    def _record(self, number: int) -> Tuple[bytes, int]:
        """A record's content, and the offset at which it ends."""
        at = int(self._offsets[number])
        parts: List[bytes] = []
        total = 0
        while True:
            head = os.pread(self._file, PART.size, at)
            magic, word = PART.unpack(head) if len(head) == PART.size else (None, 0)
            place, length = word >> 29, word & (1 << 29) - 1
            if at + PART.size > self.size or magic == MAGIC and at + PART.size + length > self.size:
                raise DatasetError(
                    f"{self.file} is truncated, or {self.index} is the index of another file: record {number} continues"
                    f" past the end of the file at byte {self.size}"
                )
            if magic != MAGIC or (place in (WHOLE, FIRST)) != (not parts):
                raise DatasetError(f"{self.index} is not the index of {self.file}: no record begins at byte {at}")
            total += length + (4 if parts else 0)
            if total >= LIMIT:
                raise DatasetError(f"{self.name(number)} is not a record: it has {LIMIT} bytes or more")
            parts.append(os.pread(self._file, length, at + PART.size))
            at += PART.size + (length + 3) // 4 * 4
            if place in (WHOLE, LAST):
                return struct.pack("<I", MAGIC).join(parts), at
