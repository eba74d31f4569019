"""The ways in which a rendezvous fails."""

from byteps_gc.errors import ClusterError


class RendezvousError(ClusterError):
    """The hosts of a run cannot meet, or one of them has ended the run."""


class RendezvousConnectionError(RendezvousError):
    """The host that schedules cannot listen at the port of the run."""


class RendezvousTimeoutError(RendezvousError):
    """A host did not join in time."""


class RendezvousRefusedError(RendezvousError):
    """A host is not allowed to join: it is unknown, has joined already, or runs something else."""


class RendezvousClosedError(RendezvousError):
    """Another host has failed, or its connection has ended. ``host`` and ``reason`` say which one and why."""

    def __init__(self, host: str, reason: str):
        super().__init__(f"host {host} has failed: {reason}")
        self.host = host
        self.reason = reason
