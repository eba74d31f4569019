"""ZeroMQ sockets of a rendezvous: CURVE with a secret, heartbeats, limits, and events of their connections."""

import itertools
import os
import socket
from typing import List, NamedTuple, Optional

from byteps_gc import env
from byteps_gc.cluster import secret
from byteps_gc.cluster.rendezvous import messages
import zmq
from zmq.utils.monitor import parse_monitor_message

LINGER = 2000  # milliseconds that a socket may take to send its last messages
MOST = 1000  # messages or events read at once
HANDSHAKE = 10000  # milliseconds
CONNECT = 2000  # milliseconds
FAILED = (zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL, zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
ACCEPTED = zmq.EVENT_ACCEPTED
ENDED = zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED
EVENTS = ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | sum(FAILED) | ENDED

_numbers = itertools.count()


class Event(NamedTuple):
    """A change of a connection: one of EVENTS, with its file descriptor, or the reason of a failed handshake.

    address: the remote address of an accepted connection; empty if it ended too soon to be known.
    """

    kind: int
    value: int
    address: str = ""


class MonitoredSocket:
    """A ZeroMQ socket, and the events of its connections."""

    def __init__(self, context: zmq.Context, kind: int, keys: Optional[secret.Keys]):
        self.socket = context.socket(kind)
        self.socket.maxmsgsize = messages.LARGEST
        self.socket.handshake_ivl = HANDSHAKE
        self.socket.connect_timeout = CONNECT
        # A connection inherits the value at bind, by default "for ever". One that breaks just as the socket is closed,
        # with a message left to send, would then keep the context from ending. close() sets the time to deliver.
        self.socket.linger = 0
        # the engine notices a host without power a little earlier, and can name the process that is lost
        limit = 1000 * env.timeout("BYTEPS_GC_DEATH_TIMEOUT")
        self.socket.heartbeat_ivl, self.socket.heartbeat_timeout = limit // 6, limit
        if keys:
            self.socket.curve_publickey, self.socket.curve_secretkey = keys
        # a name of its own: ZeroMQ's thread would wait for ever for a reader that has connected to an older one
        name = f"inproc://events-{next(_numbers)}"
        self.socket.monitor(name, EVENTS)
        self.monitor = context.socket(zmq.PAIR)
        self.monitor.rcvhwm = 0
        self.monitor.connect(name)
        self._later: List[Event] = []  # read, and not yet returned

    def close(self, deliver: bool = True) -> None:
        """Close the socket, after delivering what was sent if ``deliver``."""
        self.socket.monitor(None, 0)
        self.monitor.close(0)
        self.socket.close(LINGER if deliver else 0)

    def events(self) -> List[Event]:
        """Return the events since the last call."""
        found: List[Event] = []
        batch, self._later = self._later or self._read(), []
        while batch and len(found) < MOST:
            still = {event.value: number for number, event in enumerate(batch) if event.kind & (ACCEPTED | ENDED)}
            addresses = {number: peer_address(handle) for handle, number in still.items()}
            later = self._read()
            reused = {event.value for event in later if event.kind == ACCEPTED}  # perhaps before the address was read
            for number, event in enumerate(batch):
                known = event.kind == ACCEPTED and event.value not in reused
                found.append(event._replace(address=addresses.get(number, "") if known else ""))
            batch = later
        self._later = batch
        return found

    def _read(self) -> List[Event]:
        """Return the events that ZeroMQ has reported."""
        found: List[Event] = []
        while len(found) < MOST and self.monitor.poll(0):
            event = parse_monitor_message(self.monitor.recv_multipart())
            found.append(Event(int(event["event"]), int(event["value"])))
        return found


def peer_address(handle: int) -> str:
    """Return the remote address of a connection; empty if it has ended."""
    try:
        with socket.socket(fileno=os.dup(handle)) as connection:
            return connection.getpeername()[0]
    except OSError:
        return ""


def secret_problem(failure: Event, keys: Optional[secret.Keys]) -> str:
    """Return what a failed handshake says about the other side's secret; empty if it says nothing.

    Only the side that accepts a connection can tell that the secrets differ.
    """
    if failure.kind == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return ""
    if failure.kind == zmq.EVENT_HANDSHAKE_FAILED_AUTH or failure.value == zmq.PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC:
        return "its secret differs (BYTEPS_GC_SECRET_FILE)"
    if failure.value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH:
        has, lacks = ("this host", "it") if keys else ("it", "this host")
        return f"{has} has a secret (BYTEPS_GC_SECRET_FILE), but {lacks} has none"
    return ""
