"""Images in folders, one of them for each class. Symbolic links to files and folders are followed."""

import os
from pathlib import Path
import stat
from typing import List, Optional, Sequence, Tuple

from byteps_gc.data.labels import check_size
from byteps_gc.data.names import shown
from byteps_gc.errors import DatasetError

ENDINGS = (".jpg", ".jpeg", ".png")


def entries(folder: Path) -> List[os.DirEntry]:
    """Return the entries of a folder, sorted by name, the same way in every locale.

    Raises :class:`DatasetError` for a folder that cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DatasetError(f"cannot read {shown(folder)}: {error.strerror}") from None


def file_type(entry: os.DirEntry) -> int:
    """Return the type of an entry, or of what it links to (``stat.S_IFDIR``, ...).

    Raises :class:`DatasetError` for a broken symbolic link.
    """
    try:
        return stat.S_IFMT(entry.stat().st_mode)
    except OSError as error:
        what = "is a broken symbolic link" if entry.is_symlink() else "cannot be read"
        raise DatasetError(f"{shown(entry.path)} {what}: {error.strerror}") from None


def followed(folder: Path, links: Tuple[Path, ...]) -> Tuple[Path, ...]:
    """Return ``links``, extended by the real path of the parent of ``folder`` if ``folder`` is a symbolic link.

    links: the real paths of the parents of all links on the way to ``folder``.
    Raises :class:`DatasetError` for a link to a folder that contains one of them.
    """
    if not folder.is_symlink():
        return links
    target = Path(os.path.realpath(str(folder)))
    links = (*links, Path(os.path.realpath(str(folder.parent))))
    if any(target == link or target in link.parents for link in links):
        raise DatasetError(f"{shown(folder)} is a symbolic link to a folder that contains it")
    return links


def find_classes(root: Path) -> List[str]:
    """Return the names of a folder's sub-folders, sorted; :class:`DatasetError` if there are none."""
    if not os.path.isdir(root):
        raise DatasetError(f"image folder {shown(root)} does not exist")
    visible = [entry for entry in entries(root) if not entry.name.startswith(".")]
    names = [entry.name for entry in visible if file_type(entry) == stat.S_IFDIR]
    if not names:
        raise DatasetError(f"{shown(root)} has no subfolders; expected one per class")
    return names


def find_images(folder: Path) -> List[Path]:
    """Return the image files below a folder, sorted.

    Raises :class:`DatasetError` for a folder that cannot be read, a symbolic link
    that is broken or leads in a circle, and an image that is not a regular file.
    """
    found: List[Path] = []
    todo = [(folder, followed(folder, ()))]
    while todo:
        place, links = todo.pop()
        for entry in entries(place):
            path, kind = place / entry.name, file_type(entry)
            if kind == stat.S_IFDIR:
                todo.append((path, followed(path, links)))
            elif path.suffix.lower() in ENDINGS:
                if kind != stat.S_IFREG:
                    raise DatasetError(f"{shown(path)} is not a regular file")
                found.append(path)
    return sorted(found, key=lambda path: [os.fsencode(part) for part in path.parts])


class Folder:
    """The images (.jpg, .jpeg, .png) below a folder, with one sub-folder for each class.

    names: the classes, in the order of their labels; without them, the sorted
        names of the sub-folders. Raises :class:`DatasetError` for a folder that
        is missing, for a class that is unknown or without images, and for what
        :func:`find_images` rejects.
    """

    def __init__(self, root: Path, names: Optional[Sequence[str]] = None):
        self.root = Path(os.path.expanduser(str(root)))
        found = find_classes(self.root)
        self.names = list(names or found)
        self.classes = len(self.names)
        for name in found:
            if name not in self.names:
                raise DatasetError(f"{shown(self.root / name)} is not a class of the training images")
        self.files: List[Tuple[Path, int]] = []
        for name in found:
            images, label = find_images(self.root / name), self.names.index(name)
            if not images:
                raise DatasetError(f"{shown(self.root / name)} has no images ({', '.join(ENDINGS)})")
            self.files += [(path, label) for path in images]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, number: int) -> Tuple[bytes, int]:
        """Return an encoded image and its label. Threads may call it together.

        Raises :class:`DatasetError` for a file that cannot be read, or is larger than 512 MiB.
        """
        path, label = self.files[number]
        try:
            check_size(path, path.stat().st_size)
            return path.read_bytes(), label
        except OSError as error:
            raise DatasetError(f"cannot read {shown(path)}: {error.strerror}") from None
        except MemoryError:
            raise DatasetError(f"cannot read {shown(path)}: it is larger than the free memory") from None

    def name(self, number: int) -> str:
        """Return the path of an image for messages."""
        return shown(self.files[number][0])
