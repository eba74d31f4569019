"""topk: the k elements of largest magnitude."""

from dataclasses import dataclass
from typing import ClassVar

from byteps_gc.compressors.sparse import Sparse


@dataclass(frozen=True)
class TopK(Sparse):
    """Indices and values of the k largest magnitudes (Stich et al., arXiv 1809.07599).

    >>> TopK(k=0.001).options()
    {'k': 0.001}
    """

    name: ClassVar[str] = "topk"
