"""randomk: k elements drawn at random."""

from dataclasses import dataclass
from typing import ClassVar

from byteps_gc.compressors.base import option
from byteps_gc.compressors.sparse import Sparse


@dataclass(frozen=True)
class RandomK(Sparse):
    """Indices and values of k elements drawn uniformly (Stich et al., arXiv 1809.07599).

    >>> RandomK(k=0.001, seed=7).options()
    {'k': 0.001, 'seed': 7}
    """

    name: ClassVar[str] = "randomk"
    seed: int = option(int, "seed of the draws; 0: a new one every time", default=0, least=0, most=2**32 - 1)
