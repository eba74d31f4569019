"""The connection of a host to the one that schedules, which may start later."""

import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from byteps_gc.cluster import secret
from byteps_gc.cluster.rendezvous import messages
from byteps_gc.cluster.rendezvous.peer import LOST, Peer
from byteps_gc.cluster.rendezvous.sockets import ENDED, FAILED, Event, Monitored, secret_trouble
import zmq

PAUSE = 0.1  # seconds between two attempts
NEVER = 10**9  # milliseconds; without an interval, ZeroMQ would drop what came before the end of a connection
ATTEMPT = 15.0  # seconds after which an attempt that has neither succeeded nor failed is given up


class Connection:
    """Says ``hello`` to a host, again and again until it answers with a welcome; then that host is a peer."""

    def __init__(self, host: str, port: int, hello: bytes, keys: Optional[secret.Keys]):
        self.missing = {host}
        self.trouble = ""  # what was wrong with the last attempt
        self.peers: List[Peer] = []
        self._host = host
        self._port = port
        self._hello = hello
        self._keys = keys
        self._context = zmq.Context()
        self._begun = 0.0
        self._line = self._dial()
        self._ended = False
        self._reported = False

    def close(self) -> None:
        """End the connection; what was sent is still delivered."""
        self._line.close(deliver=bool(self.peers) and not self._ended)
        self._context.term()

    def receive(self, seconds: float) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Wait so long for a message; return those that have come, an end without a word included."""
        self._wait(seconds)
        events = self._line.events()
        found = [one for message in self._messages() for one in self._read(message)]
        for event in events:
            self._note(event)
        if self._ended:
            found += [(peer, {"kind": "failed", "host": peer.name, "why": LOST}) for peer in self.peers]
        if self.missing and (self._ended or time.monotonic() - self._begun > ATTEMPT):
            time.sleep(PAUSE)
            self._line.close(deliver=False)
            self._line = self._dial()
        return iter(found)

    def _read(self, message: Dict[str, Any]) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Yield a message, unless it only says how the attempt went."""
        if message["kind"] == "busy":
            self._ended, self.trouble = True, f"{self._host} is in a run that has begun"
            return
        if not self.peers:
            self.missing, self.trouble = set(), ""
            self.peers = [Peer(self._host, self._send)]
        if message["kind"] != "welcome":
            yield self.peers[0], message

    def _dial(self) -> Monitored:
        """Begin an attempt."""
        line = Monitored(self._context, zmq.DEALER, self._keys)
        line.socket.reconnect_ivl = NEVER  # a connection that has ended is a failed host
        if self._keys:
            line.socket.curve_serverkey = self._keys.public
        line.socket.connect(f"tcp://{self._host}:{self._port}")
        self._begun, self._ended = time.monotonic(), False
        return line

    def _wait(self, seconds: float) -> None:
        """Wait for a message or an event."""
        poller = zmq.Poller()
        poller.register(self._line.socket, zmq.POLLIN)
        poller.register(self._line.monitor, zmq.POLLIN)
        poller.poll(int(1000 * seconds))

    def _messages(self) -> Iterator[Dict[str, Any]]:
        """Yield the messages that have come."""
        while True:
            try:
                parts = self._line.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield messages.parse(parts, ("welcome", "busy", "refused", "go", "probe", "failed", "done"))
            except ValueError as error:
                self._report(f"ignoring a message from {self._host}: {error}")

    def _send(self, data: bytes) -> bool:
        """Send a message; False if the connection has ended."""
        try:
            self._line.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _note(self, event: Event) -> None:
        """Take what became of the attempt or the connection."""
        if event.kind == zmq.EVENT_CONNECTED:
            strange = f"{self._host}:{self._port} answers, but is not a run that is starting"
            self.trouble = self.trouble or strange
        elif event.kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._send(self._hello)
        elif event.kind in FAILED:
            self._failed(event)
        elif event.kind & ENDED:
            self._ended = True
            if event.kind == zmq.EVENT_CLOSED:  # nobody listens there
                self.trouble = ""

    def _failed(self, handshake: Event) -> None:
        """Take why a handshake failed; what an earlier attempt has shown for sure stays."""
        why, turned_away = secret_trouble(handshake, self._keys), f"{self._host} turned this host away: "
        if why:
            self.trouble = turned_away + why
        elif not self.trouble.startswith(turned_away):
            self.trouble = f"{self._host} ends the connection: the secrets may differ (BYTEPS_GC_SECRET_FILE)"

    def _report(self, line: str) -> None:
        """Print a line, once."""
        if not self._reported:
            self._reported = True
            print(line, flush=True)
