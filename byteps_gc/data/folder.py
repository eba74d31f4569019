"""Images in folders, one of them for each class."""

from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from byteps_gc.errors import DatasetError

ENDINGS = (".jpg", ".jpeg", ".png")


def find_classes(root: Path) -> List[str]:
    """The names of a folder's sub-folders, sorted; :class:`DatasetError` if there are none."""
    if not root.is_dir():
        raise DatasetError(f"no image folder {root}")
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DatasetError(f"{root} has no sub-folders; wanted is one of images for each class")
    return names


def find_images(folder: Path) -> List[Path]:
    """The image files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())


class Folder:
    """The images (.jpg, .jpeg, .png) below a folder, with one sub-folder for each class.

    names: the classes, in the order of their labels; without them, the sorted
        names of the sub-folders. Raises :class:`DatasetError` for a folder that
        is missing, and for a class that is unknown or without images.
    """

    def __init__(self, root: Path, names: Optional[Sequence[str]] = None):
        self.root = root.expanduser()
        found = find_classes(self.root)
        self.names = list(names or found)
        self.classes = len(self.names)
        for name in found:
            if name not in self.names:
                raise DatasetError(f"{self.root / name} is none of the classes of the training images")
        self.files: List[Tuple[Path, int]] = []
        for name in found:
            images = find_images(self.root / name)
            if not images:
                raise DatasetError(f"{self.root / name} has no images ({', '.join(ENDINGS)})")
            self.files += [(path, self.names.index(name)) for path in images]

    def __len__(self) -> int:
        return len(self.files)

    def read(self, number: int) -> Tuple[bytes, int]:
        """An encoded image and its label. Threads may call it together."""
        path, label = self.files[number]
        try:
            return path.read_bytes(), label
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error.strerror}") from None

    def name(self, number: int) -> str:
        """What an image is called in messages."""
        return str(self.files[number][0])
