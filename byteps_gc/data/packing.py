"""Packs a folder of images into the .rec, .idx and .lst files that MXNet reads.

A .lst file holds each path as the bytes that it has in the file system, so that
it does not depend on the locale. The .rec is not written with MXNet, whose writer
takes only UTF-8 paths and does not report a full disk when it closes a file.
"""

import contextlib
import os
from pathlib import Path
import tempfile
from typing import Callable, List, Optional, Sequence, Tuple

from byteps_gc.data import imagenet_transforms
from byteps_gc.data.folder import Folder
from byteps_gc.data.names import shown
from byteps_gc.data.prefetch import ahead
from byteps_gc.data.records import HEADER, LIMIT, framed
from byteps_gc.errors import DatasetError, one_line
import cv2
import numpy as np

SUFFIXES = (".rec", ".idx", ".lst")
JPEG_SIDE = 65500  # pixels, libjpeg's limit; the format's is 65535
PIXELS = 1 << 30  # OpenCV's limit when it decodes


def resized(image: np.ndarray, name: str, shorter_side: int) -> np.ndarray:
    """Return an image (h, w, 3), scaled to a shorter side in pixels.

    Raises :class:`DatasetError`, with ``name``, for a result too large for JPEG.
    """
    width, height = imagenet_transforms.scaled_size(image, shorter_side)
    if max(width, height) > JPEG_SIDE or width * height > PIXELS:
        raise DatasetError(
            f"{name} would have {width} x {height} pixels with --resize {shorter_side}, but JPEG allows at most"
            f" {JPEG_SIDE} per side, and OpenCV at most {PIXELS} per image"
        )
    return imagenet_transforms.shorter_side(image, shorter_side)


def encoded(content: bytes, name: str, shorter_side: Optional[int], quality: int) -> bytes:
    """Return an image as it is packed: unchanged, or scaled and encoded again as a JPEG of a quality from 1 to 100.

    Raises :class:`DatasetError`, with ``name``, for an image that cannot be
    decoded, scaled or encoded, or is too large for a record.
    """
    try:
        image = imagenet_transforms.decode(content, name)
        if shorter_side:
            image = cv2.cvtColor(resized(image, name, shorter_side), cv2.COLOR_RGB2BGR)
            done, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            content = jpeg.tobytes() if done else b""
    except (cv2.error, MemoryError) as error:
        raise DatasetError(f"cannot resize and encode {name}: {one_line(error)}") from None
    if not content:
        raise DatasetError(f"cannot encode {name} as JPEG")
    if HEADER.size + len(content) >= LIMIT:
        raise DatasetError(f"{name} has {len(content)} bytes; a record holds less than 512 MiB")
    return content


def parts(images: Folder, prefix: Path, val_share: float, seed: int) -> List[Tuple[Path, np.ndarray]]:
    """Return the prefix of each part, with its images in random order: all, or those for training and for validation.

    Of each class at least one image is for validation, and one for training.
    Raises :class:`DatasetError` for a class of one image that is to be split.
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
                f"{shown(images.root / name)} has 1 image; --val-share needs at least 2 images per class"
            )
        is_val[places[: min(max(1, round(len(places) * val_share)), len(places) - 1)]] = True
    return [(Path(f"{prefix}_train"), order[~is_val]), (Path(f"{prefix}_val"), order[is_val])]


def listed(images: Folder) -> List[bytes]:
    """Return the path of each image as a .lst file holds it.

    Raises :class:`DatasetError` for a tab or a line end in a path.
    """
    paths = [os.fsencode(path.relative_to(images.root)) for path, _ in images.files]
    for number, path in enumerate(paths):
        if any(character in path for character in b"\t\r\n"):
            raise DatasetError(
                f"{images.name(number)} has a tab or line break in its name, which a .lst file cannot hold"
            )
    return paths


def write(
    images: Folder, paths: Sequence[bytes], order: np.ndarray, part: Path, encode: Callable[[int], bytes]
) -> None:
    """Write the images in some order to ``part``.rec, .idx and .lst.

    Raises OSError for a file that cannot be written.
    """
    contents = ahead(encode, order, len(os.sched_getaffinity(0)))
    with contextlib.ExitStack() as stack:
        records, index, listing = (stack.enter_context(open(f"{part}{suffix}", "wb")) for suffix in SUFFIXES)
        for key, (number, content) in enumerate(zip(order, contents)):
            _, label = images.files[number]
            index.write(b"%d\t%d\n" % (key, records.tell()))
            listing.write(b"%d\t%d\t%s\n" % (key, label, paths[number]))
            records.write(framed(HEADER.pack(0, label, key, 0) + content))


def check_unused(file: Path) -> None:
    """Raise :class:`DatasetError` if a file exists, and OSError if it cannot be created."""
    with contextlib.suppress(FileNotFoundError):
        file.lstat()
        raise DatasetError(f"{shown(file)} already exists")


def publish(folder: Path, files: Sequence[Path]) -> None:
    """Move files of these names out of a folder on the same disk: all of them, or none if there is an error."""
    with contextlib.ExitStack() as undo:
        for file in files:
            check_unused(file)
            (folder / file.name).rename(file)
            undo.callback(file.unlink)
        undo.pop_all()


def check_options(prefix: Path, val_share: float, shorter_side: Optional[int], quality: int, seed: int) -> None:
    """Raise :class:`DatasetError` for a prefix without a name and for a value out of its range."""
    if prefix.name in ("", ".."):
        raise DatasetError(f"PREFIX {prefix} is a folder; add a file name without extension")
    if not 0 <= val_share < 1:
        raise DatasetError(f"--val-share {val_share} is not at least 0 and below 1")
    if shorter_side is not None and not 1 <= shorter_side <= JPEG_SIDE:
        raise DatasetError(f"--resize {shorter_side} is not from 1 to {JPEG_SIDE} pixels")
    if not 1 <= quality <= 100:
        raise DatasetError(f"--quality {quality} is not from 1 to 100")
    if not 0 <= seed < 2**32:
        raise DatasetError(f"--seed {seed} is not from 0 to {2**32 - 1}")


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
    are scaled; without it, files are packed as they are. quality: of scaled
    images, 1 to 100. seed: of the order, 0 to 2**32 - 1. All files appear when
    the last is written; none after an error.

    Raises :class:`DatasetError` for values out of their range, for what
    :class:`~byteps_gc.data.folder.Folder` rejects, for an image that cannot be
    packed, and for files that exist already or cannot be written.
    """
    check_options(prefix, val_share, shorter_side, quality, seed)
    images = Folder(root)
    paths = listed(images)
    todo = parts(images, prefix, val_share, seed)
    files = [Path(f"{part}{suffix}") for part, _ in todo for suffix in SUFFIXES]

    def encode(number: int) -> bytes:
        content, _ = images.read(number)
        return encoded(content, images.name(number), shorter_side, quality)

    try:
        for file in files:
            check_unused(file)
        prefix.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=str(prefix.parent), prefix=".packing-") as folder:
            for part, order in todo:
                write(images, paths, order, Path(folder, part.name), encode)
            publish(Path(folder), files[::-1])  # a .rec appears when its .idx is there
    except OSError as error:
        raise DatasetError(f"cannot write {shown(prefix)}: {error.strerror or error}") from None
    return [f"{shown(part)}.rec: {len(order)} images of {images.classes} classes" for part, order in todo]
