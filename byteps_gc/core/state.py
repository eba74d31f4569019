"""What this process has declared since BytePS started."""

from dataclasses import dataclass, field
from typing import Dict, Optional, Tuple


@dataclass
class Tensor:
    """A declared tensor.

    number: the engine's. nbytes, options: as declared. registration: ticket of its registration with its servers;
    registered: that is done. front_end: the one that exchanges arrays under this name, of one shape and dtype; None
    before the first.
    """

    name: str
    number: int
    nbytes: int
    options: Dict[str, str]
    registration: Optional[int] = None
    registered: bool = False
    front_end: Optional[str] = None
    shape: Optional[Tuple[int, ...]] = None
    dtype: Optional[str] = None


@dataclass
class State:
    """A session's tensors, in the order of their declaration, by name.

    threshold: bytes, as float32, from which a gradient is compressed. unnamed: calls without a name. scopes: groups of
    gradients, such as trainers, so far.
    """

    threshold: int
    tensors: Dict[str, Tensor] = field(default_factory=dict)
    unnamed: int = 0
    scopes: int = 0

    def next_scope(self) -> str:
        """Return the name prefix for the tensors of a new group of gradients: nothing for the first."""
        self.scopes += 1
        return f"trainer_{self.scopes - 1}." if self.scopes > 1 else ""

    def next_unnamed(self, kind: str) -> str:
        """Return the name of an exchange without one: such calls are matched in the order in which they are made."""
        self.unnamed += 1
        return f"{kind}.{self.unnamed - 1}"
