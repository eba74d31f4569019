"""Another host of a run."""

from typing import Callable

from byteps_gc.cluster.rendezvous import messages

LOST = "its run ended without reporting a reason, or it cannot be reached"


class Peer:
    """A host at the other end of a connection. ``write`` sends a message, and returns whether that was possible."""

    def __init__(self, name: str, write: Callable[[bytes], bool]):
        self.name = name
        self.done = False  # whether neither side has anything more to send
        self._write = write

    def send(self, kind: str, **fields: object) -> bool:
        """Send a message; False if the connection has ended."""
        return self._write(messages.pack(kind, **fields))
