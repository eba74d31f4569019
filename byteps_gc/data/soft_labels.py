"""What a classifier is to say of each image: label smoothing and mixup."""

from typing import Callable, Optional, Sequence

from byteps_gc.data.loader import Batch
import numpy as np

SMOOTHING = 0.1  # of each label, spread over all classes (arXiv 1512.00567)


class SoftLabels:
    """Prepares batches whose labels are distributions over the classes, (n, classes) float32.

    prepare: makes batches with labels (n,), as :class:`~byteps_gc.data.loader.Loader` asks for them.
    smoothing: share of each label that is spread over all classes.
    alpha: of mixup (arXiv 1710.09412): each image is mixed with another of its
        batch, in a proportion drawn from Beta(alpha, alpha); 0: none.
    mixes(): whether images are mixed at the moment.
    """

    def __init__(
        self,
        prepare: Callable[..., Batch],
        classes: int,
        smoothing: float = 0.0,
        alpha: float = 0.0,
        mixes: Callable[[], bool] = lambda: True,
    ):
        self.prepare = prepare
        self.classes = classes
        self.smoothing = smoothing
        self.alpha = alpha
        self.mixes = mixes

    def __call__(self, chosen: Sequence[int], rng: Optional[np.random.RandomState]) -> Batch:
        images, labels = self.prepare(chosen, rng)
        targets = np.full((len(labels), self.classes), self.smoothing / self.classes, np.float32)
        targets[np.arange(len(labels)), labels] += 1 - self.smoothing
        if self.alpha and rng is not None and self.mixes():
            share = np.float32(rng.beta(self.alpha, self.alpha))
            images = share * images + (1 - share) * images[::-1]
            targets = share * targets + (1 - share) * targets[::-1]
        return images, targets
