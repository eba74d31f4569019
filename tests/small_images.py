"""Small images for tests: folders of them, one sub-folder a class."""

import cv2
import numpy as np


def draw(folder, classes, count, seed, side=60):
    """Write ``count`` images of coloured noise for each class, PNG and JPEG, with sides from ``side`` to 1.5 of it."""
    rng = np.random.RandomState(seed)
    for label in range(classes):
        place = folder / f"class{label}"
        place.mkdir(parents=True)
        for number in range(count):
            image = rng.randint(0, 90, (rng.randint(side, side * 3 // 2), rng.randint(side, side * 3 // 2), 3))
            image[..., label % 3] += 160 * label // classes
            cv2.imwrite(str(place / f"{number}.{'png' if number % 2 else 'JPEG'}"), image.astype(np.uint8))
