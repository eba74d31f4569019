"""Accuracy over the images of all workers."""

from typing import Any, Callable, Iterable, List, Sequence, Tuple

from byteps_gc.core import exchange
import numpy as np


def hits(scores: np.ndarray, labels: np.ndarray, tops: Sequence[int]) -> List[int]:
    """How many of the images (n, classes) have their label (n,) among the best 1, 5, ... scores.

    Of equal scores the first counts as better; one that is not a number is the worst.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, : max(tops)] == labels[:, np.newaxis]
    return [int(best[:, :top].sum()) for top in tops]


def accuracy(
    predict: Callable[[np.ndarray], Any], batches: Iterable[Tuple[np.ndarray, np.ndarray]], tops: Sequence[int] = (1,)
) -> List[float]:
    """The share of all workers' images whose label is among the best 1, 5, ... scores.

    predict: images (n, 3, h, w) to an NDArray of scores (n, classes); batches:
    this worker's images and labels. All workers call it.
    """
    counts = np.zeros(len(tops) + 1)
    for images, labels in batches:
        counts += [*hits(predict(images).asnumpy(), labels, tops), len(labels)]
    *right, seen = exchange.total(counts.tolist(), "validation")
    return [float(count / seen) for count in right]
