"""Packs a folder of images into the .rec, .idx and .lst files that MXNet reads."""

import os
from pathlib import Path
import tempfile
from typing import Callable, Iterable, List, Optional, Tuple

from byteps_gc.data import views
from byteps_gc.data.ahead import ahead
from byteps_gc.data.folder import Folder
from byteps_gc.errors import DatasetError
import cv2
import numpy as np

SUFFIXES = (".rec", ".idx", ".lst")


def encoded(content: bytes, name: str, shorter_side: Optional[int], quality: int) -> bytes:
    """An image as it is packed: as it came, or scaled and encoded again as a JPEG of a quality from 1 to 100."""
    image = views.decode(content, name)
    if not shorter_side:
        return content
    image = cv2.cvtColor(views.shorter_side(image, shorter_side), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def parts(images: Folder, prefix: Path, val_share: float, seed: int) -> List[Tuple[Path, np.ndarray]]:
    """The prefix of each part, with its images in random order: all, or those for training and those for validation.

    Of each class at least one image is for validation, and one for training.
    """
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(images))
    if not val_share:
        return [(prefix, order)]
    labels = np.array([label for _, label in images.files])[order]
    is_val = np.zeros(len(images), bool)
    for label, name in enumerate(images.names):
        places = np.flatnonzero(labels == label)
        if len(places) < 2:
            raise DatasetError(
                f"{images.root / name} has 1 image, which cannot be both for training and for validation"
            )
        is_val[places[: min(max(1, round(len(places) * val_share)), len(places) - 1)]] = True
    return [(Path(f"{prefix}_train"), order[~is_val]), (Path(f"{prefix}_val"), order[is_val])]


def write(images: Folder, order: Iterable[int], prefix: Path, encode: Callable[[int], bytes]) -> None:
    """Write the images in some order to ``prefix``.rec, .idx and .lst, which appear when all of it is written."""
    import mxnet as mx

    with tempfile.TemporaryDirectory(dir=prefix.parent, prefix=".packing-") as folder:
        whole = Path(folder, "part")
        record = mx.recordio.MXIndexedRecordIO(f"{whole}.idx", f"{whole}.rec", "w")
        contents = ahead(encode, order, len(os.sched_getaffinity(0)))
        with open(f"{whole}.lst", "w") as listing:
            for key, (number, content) in enumerate(zip(order, contents)):
                path, label = images.files[number]
                record.write_idx(key, mx.recordio.pack(mx.recordio.IRHeader(0, float(label), key, 0), content))
                listing.write(f"{key}\t{label}\t{path.relative_to(images.root)}\n")
        record.close()
        for suffix in SUFFIXES:
            Path(f"{whole}{suffix}").replace(f"{prefix}{suffix}")


def pack(
    root: Path,
    prefix: Path,
    val_share: float = 0.0,
    shorter_side: Optional[int] = None,
    quality: int = 95,
    seed: int = 0,
) -> List[str]:
    """Pack the images below ``root``, one sub-folder a class; returns a line on each .rec file written.

    prefix: the files' path without its ending; with a ``val_share`` (from 0 to
    below 1), PREFIX_train and PREFIX_val. shorter_side: pixels to which images
    are scaled; without it, files are packed as they are. seed: of the order.
    Raises :class:`DatasetError` for an image that cannot be decoded, for files
    that exist already, and for values that cannot be.
    """
    if not 0 <= val_share < 1:
        raise DatasetError(f"--val-share {val_share} is not a share from 0 to below 1")
    if shorter_side is not None and shorter_side < 1:
        raise DatasetError(f"--resize {shorter_side} is less than 1 pixel")
    if not 1 <= quality <= 100:
        raise DatasetError(f"--quality {quality} is not from 1 to 100")
    images = Folder(root)
    todo = parts(images, prefix, val_share, seed)
    for part, _ in todo:
        if Path(f"{part}.rec").exists():
            raise DatasetError(f"{part}.rec exists already")
    prefix.parent.mkdir(parents=True, exist_ok=True)

    def encode(number: int) -> bytes:
        content, _ = images.read(number)
        return encoded(content, images.name(number), shorter_side, quality)

    for part, order in todo:
        write(images, order, part, encode)
    return [f"{part}.rec: {len(order)} images of {images.classes} classes" for part, order in todo]
