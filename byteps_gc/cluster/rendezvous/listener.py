"""The socket of the host that schedules, to which the other hosts of a run connect."""

import os
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from byteps_gc.cluster import secret
from byteps_gc.cluster.rendezvous import messages
from byteps_gc.cluster.rendezvous.errors import RendezvousConnectionError
from byteps_gc.cluster.rendezvous.peer import LOST, Peer
from byteps_gc.cluster.rendezvous.sockets import ENDED, FAILED, MOST, Event, MonitoredSocket, secret_problem
import zmq
from zmq.utils import z85

PROBE = 0.5  # seconds between two checks of the connections
ZAP = "inproc://zeromq.zap.01"  # where ZeroMQ asks who may connect


class Received(NamedTuple):
    """A message: its sender (ZeroMQ's name for the connection), the sender's address, and its parts."""

    sender: bytes
    address: str
    handle: int
    parts: List[bytes]


class Listener:
    """Admits the ``expected`` hosts, each once; messages of others are dropped, and reported once per source."""

    def __init__(self, address: str, port: int, expected: Sequence[str], keys: Optional[secret.Keys]):
        self.expected = expected
        self._host = address
        self.problem = ""  # a possible reason why a host is missing
        self._peers: Dict[bytes, Peer] = {}
        self._keys = keys
        self._context = zmq.Context()
        self._zap = self._context.socket(zmq.REP)
        self._zap.bind(ZAP)
        self._router = MonitoredSocket(self._context, zmq.ROUTER, keys)
        self._router.socket.router_mandatory = True  # sending on an ended connection is an error
        self._router.socket.zap_domain = b"byteps_gc"  # without one, ZeroMQ accepts peers that speak an old version
        self._router.socket.curve_server = keys is not None
        self._admitting = True
        self._addresses: Dict[int, str] = {}  # of connections, by file descriptor
        self._greeted: Dict[int, str] = {}  # file descriptor -> the address that has sent a valid hello on it
        self._failure: Optional[Event] = None
        self._reported: Set[str] = set()
        self._probed = 0.0
        try:
            self._router.socket.bind(f"tcp://{address}:{port}")
        except zmq.ZMQError as error:
            self.close()
            why = f"the other hosts cannot connect to {address}:{port}: {os.strerror(error.errno)}"
            raise RendezvousConnectionError(why) from None

    @property
    def peers(self) -> List[Peer]:
        """The hosts that have joined."""
        return list(self._peers.values())

    @property
    def missing(self) -> Set[str]:
        """The hosts that have not joined yet."""
        return set(self.expected) - {peer.name for peer in self.peers}

    def stop_admitting(self) -> None:
        """Admit no more hosts: one that connects now belongs to a later run, and has to try again."""
        self._admitting = False

    def close(self) -> None:
        """End all connections, after delivering what was sent."""
        self._zap.close(0)
        self._router.close()
        self._context.term()

    def receive(self, seconds: float) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Wait for a message, up to ``seconds``; return all from peers. A lost connection is a failed peer."""
        self._wait(seconds)
        events = self._router.events()
        lost = self._lost()
        messages_received = self._received()  # all from before these events, and from these peers
        found = [one for received in messages_received for one in self._read(received)]
        for event in events:
            self._note(event)
        found += [(peer, {"kind": "failed", "host": peer.name, "why": LOST}) for peer in lost]
        return iter(found)

    def _wait(self, seconds: float) -> None:
        """Wait for a message or an event; answer ZeroMQ's requests for authentication."""
        sockets = (self._zap, self._router.socket, self._router.monitor)
        poller = zmq.Poller()
        for one in sockets:
            poller.register(one, zmq.POLLIN)
        poller.poll(int(1000 * seconds))
        while self._zap.poll(0):
            self._authenticate(self._zap.recv_multipart())

    def _authenticate(self, request: Sequence[bytes]) -> None:
        """Answer ZeroMQ whether a client may connect: with a secret, only one with the same key."""
        version, number, _, _, _, mechanism, *credentials = request
        right = mechanism == (b"CURVE" if self._keys else b"NULL")
        if self._keys:
            right = right and credentials == [z85.decode(self._keys.public)]
        verdict = (b"200", b"OK") if right else (b"400", b"unknown key")
        self._zap.send_multipart([version, number, *verdict, b"", b""])

    def _received(self) -> List[Received]:
        """Return the messages that have arrived."""
        found: List[Received] = []
        while len(found) < MOST:
            try:
                sender, *parts = self._router.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            address, handle = parts[0].get("Peer-Address"), parts[0].get(zmq.SRCFD)
            found.append(Received(sender.bytes, address, handle, [part.bytes for part in parts]))
        return found

    def _read(self, received: Received) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Yield the message of a peer; a valid hello makes its sender a peer."""
        peer = self._peers.get(received.sender)
        kinds = ("failed", "done") if peer else ("hello",)
        try:
            message = messages.parse(received.parts, kinds)
        except ValueError as error:
            self._report(received.address, f"ignoring a message from {received.address}: {error}")
            return
        if not peer:
            peer = self._admit(received, message["host"])
        if peer:
            yield peer, message

    def _admit(self, received: Received, name: str) -> Optional[Peer]:
        """Return a new peer; None, after a message with the reason, if the host is unknown or has joined already."""
        peer = Peer(name, lambda data: self._send(received.sender, data))
        self._greeted[received.handle] = received.address
        if not self._admitting:
            peer.send("busy")
            return None
        if name in self.missing:
            self._peers[received.sender] = peer
            peer.send("welcome")
            return peer
        why = f"{messages.printable(name)} is not in BYTEPS_GC_HOSTS on {self._host}"
        if name in self.expected:
            why = f"another process of {name} has joined this run"
        peer.send("refused", why=why)
        self._report(received.address, f"{received.address} was turned away: {why}")
        return None

    def _send(self, receiver: bytes, data: bytes) -> bool:
        """Send a message; False if the connection has ended."""
        try:
            self._router.socket.send_multipart([receiver, data], zmq.NOBLOCK)
        except zmq.Again:
            return True
        except zmq.ZMQError:
            return False
        return True

    def _lost(self) -> List[Peer]:
        """Return the peers whose connections have ended before they were done."""
        now = time.monotonic()
        if now - self._probed < PROBE:
            return []
        self._probed = now
        return [peer for peer in self.peers if not peer.done and not peer.send("probe")]

    def _note(self, event: Event) -> None:
        """Report a connection that ended before a valid message came.

        ZeroMQ reports why a handshake failed just before the end of its connection. A hello can be read before the end
        of an earlier connection that had the same file descriptor, so one from the same address, or from an address
        that could no longer be read, counts as greeted.
        """
        if event.kind == zmq.EVENT_ACCEPTED:
            self._addresses[event.value] = event.address
        elif event.kind in FAILED:
            self._failure = event
        elif event.kind & ENDED:
            failure, self._failure = self._failure, None
            address = self._addresses.pop(event.value, "")
            greeted = self._greeted.get(event.value)
            if failure or greeted is None or address not in ("", greeted):
                self._report_rejected(address, failure)

    def _report_rejected(self, address: str, failure: Optional[Event]) -> None:
        """Report a client that was not admitted; it may be a missing host with another secret, which will try again."""
        why = secret_problem(failure, self._keys) if failure else ""
        if why:
            self.problem = f"{address or 'a host'} was turned away: {why}"
        if address and why:
            self._report(f"{address}, {why}", f"{address} was turned away: {why}")
        elif not why:
            who = address or "somebody"
            self._report(who, f"{who} connected to the port of this run and sent no valid message")

    def _report(self, source: str, line: str) -> None:
        """Print a line about a source, once."""
        if source not in self._reported and len(self._reported) < MOST:
            self._reported.add(source)
            print(line, flush=True)
