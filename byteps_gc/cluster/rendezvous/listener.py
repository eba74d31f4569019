"""Where the other hosts of a run connect: the socket of the host that schedules."""

import os
import time
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

from byteps_gc.cluster import secret
from byteps_gc.cluster.rendezvous import messages
from byteps_gc.cluster.rendezvous.peer import LOST, Peer
from byteps_gc.cluster.rendezvous.sockets import ENDED, FAILED, MOST, Event, Monitored, secret_trouble
from byteps_gc.errors import ClusterError
import zmq
from zmq.utils import z85

PROBE = 0.5  # seconds between two looks at whether the other hosts are still connected
ZAP = "inproc://zeromq.zap.01"  # where ZeroMQ asks who may connect


class Arrival(NamedTuple):
    """A message as it came: who sent it (ZeroMQ's name for the connection), from where, and its parts."""

    sender: bytes
    address: str
    handle: int
    parts: List[bytes]


class Listener:
    """Lets in the hosts named in ``expected``, each once; what others send is reported once per source and dropped."""

    def __init__(self, address: str, port: int, expected: Sequence[str], keys: Optional[secret.Keys]):
        self.expected = expected
        self._host = address
        self.trouble = ""  # why a host that is missing may be so
        self._peers: Dict[bytes, Peer] = {}
        self._keys = keys
        self._context = zmq.Context()
        self._guard = self._context.socket(zmq.REP)
        self._guard.bind(ZAP)
        self._door = Monitored(self._context, zmq.ROUTER, keys)
        self._door.socket.router_mandatory = True  # to send to one that has gone is an error
        self._door.socket.zap_domain = b"byteps_gc"  # without one, ZeroMQ accepts peers that speak an old version
        self._door.socket.curve_server = keys is not None
        self._open = True
        self._addresses: Dict[int, str] = {}  # of connections, by file descriptor
        self._handles: Set[int] = set()  # of the connections of peers
        self._failure: Optional[Event] = None
        self._reported: Set[str] = set()
        self._probed = 0.0
        try:
            self._door.socket.bind(f"tcp://{address}:{port}")
        except zmq.ZMQError as error:
            self.close()
            why = f"the other hosts cannot connect to {address}:{port}: {os.strerror(error.errno)}"
            raise ClusterError(why) from None

    @property
    def peers(self) -> List[Peer]:
        """The hosts that have come."""
        return list(self._peers.values())

    @property
    def missing(self) -> Set[str]:
        """The hosts that have not come yet."""
        return set(self.expected) - {peer.name for peer in self.peers}

    def shut(self) -> None:
        """Let nobody in any more: who says hello now is of a later run, and shall try again."""
        self._open = False

    def close(self) -> None:
        """End all connections; what was sent is still delivered."""
        self._guard.close(0)
        self._door.close()
        self._context.term()

    def receive(self, seconds: float) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Wait so long for a message; return those that have come from peers, ends without a word included."""
        self._wait(seconds)
        events = self._door.events()
        lost = self._lost()
        arrivals = self._arrivals()  # all that came before these events, and from these peers
        found = [one for arrival in arrivals for one in self._read(arrival)]
        for event in events:
            self._note(event)
        found += [(peer, {"kind": "failed", "host": peer.name, "why": LOST}) for peer in lost]
        return iter(found)

    def _wait(self, seconds: float) -> None:
        """Wait for a message or an event, and answer ZeroMQ's questions meanwhile."""
        sockets = (self._guard, self._door.socket, self._door.monitor)
        poller = zmq.Poller()
        for one in sockets:
            poller.register(one, zmq.POLLIN)
        poller.poll(int(1000 * seconds))
        while self._guard.poll(0):
            self._answer(self._guard.recv_multipart())

    def _answer(self, question: Sequence[bytes]) -> None:
        """Tell ZeroMQ whether a client may connect: with a secret, only one that has the same key."""
        version, number, _, _, _, mechanism, *credentials = question
        right = mechanism == (b"CURVE" if self._keys else b"NULL")
        if self._keys:
            right = right and credentials == [z85.decode(self._keys.public)]
        verdict = (b"200", b"OK") if right else (b"400", b"unknown key")
        self._guard.send_multipart([version, number, *verdict, b"", b""])

    def _arrivals(self) -> List[Arrival]:
        """Return the messages that have come."""
        found: List[Arrival] = []
        while len(found) < MOST:
            try:
                sender, *parts = self._door.socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            address, handle = parts[0].get("Peer-Address"), parts[0].get(zmq.SRCFD)
            found.append(Arrival(sender.bytes, address, handle, [part.bytes for part in parts]))
        return found

    def _read(self, arrival: Arrival) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Yield the message of a peer, which a right hello makes of its sender."""
        peer = self._peers.get(arrival.sender)
        kinds = ("failed", "done") if peer else ("hello",)
        try:
            message = messages.parse(arrival.parts, kinds)
        except ValueError as error:
            self._report(arrival.address, f"ignoring a message from {arrival.address}: {error}")
            return
        if not peer:
            peer = self._let_in(arrival, message["host"])
        if peer:
            yield peer, message

    def _let_in(self, arrival: Arrival, name: str) -> Optional[Peer]:
        """Return a new peer; None, after a message with the reason, if the host is unknown or here already."""
        peer = Peer(name, lambda data: self._send(arrival.sender, data))
        self._handles.add(arrival.handle)
        if not self._open:
            peer.send("busy")
            return None
        if name in self.missing:
            self._peers[arrival.sender] = peer
            peer.send("welcome")
            return peer
        why = f"{messages.printable(name)} is not in BYTEPS_GC_HOSTS on {self._host}"
        if name in self.expected:
            why = f"another process of {name} has joined this run"
        peer.send("refused", why=why)
        self._report(arrival.address, f"{arrival.address} was turned away: {why}")
        return None

    def _send(self, receiver: bytes, data: bytes) -> bool:
        """Send a message; False if the connection has ended."""
        try:
            self._door.socket.send_multipart([receiver, data], zmq.NOBLOCK)
        except zmq.Again:
            return True
        except zmq.ZMQError:
            return False
        return True

    def _lost(self) -> List[Peer]:
        """Return the peers whose connections have ended; those who had said that they were done do not matter."""
        now = time.monotonic()
        if now - self._probed < PROBE:
            return []
        self._probed = now
        return [peer for peer in self.peers if not peer.done and not peer.send("probe")]

    def _note(self, event: Event) -> None:
        """Report a connection that ended before a valid message came.

        ZeroMQ reports why a handshake failed just before the end of its connection.
        """
        if event.kind == zmq.EVENT_ACCEPTED:
            self._addresses[event.value] = event.address
        elif event.kind in FAILED:
            self._failure = event
        elif event.kind & ENDED:
            failure, self._failure = self._failure, None
            address = self._addresses.pop(event.value, "")
            if event.value in self._handles:
                self._handles.discard(event.value)
            else:
                self._turned_away(address, failure)

    def _turned_away(self, address: str, failure: Optional[Event]) -> None:
        """Report somebody who connected in vain; one that may be a missing host with another secret tries again."""
        why = secret_trouble(failure, self._keys) if failure else ""
        if why:
            self.trouble = f"{address or 'a host'} was turned away: {why}"
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
