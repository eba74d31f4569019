"""The connection of a host to the host that schedules, which may start later."""

import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from byteps_gc.cluster import secret
from byteps_gc.cluster.rendezvous import messages
from byteps_gc.cluster.rendezvous.peer import LOST, Peer
from byteps_gc.cluster.rendezvous.sockets import ENDED, FAILED, Event, MonitoredSocket, secret_problem
import zmq

PAUSE = 0.1  # seconds between two attempts
NEVER = 10**9  # milliseconds; without an interval, ZeroMQ would drop what came before the end of a connection
ATTEMPT = 15.0  # seconds after which an attempt that has neither succeeded nor failed is given up


class Connection:
    """Sends ``hello`` to a host, with a new attempt after each failure, until the host replies; it is then a peer."""

    def __init__(self, host: str, port: int, hello: bytes, keys: Optional[secret.Keys]):
        self.missing = {host}
        self.problem = ""  # of the last attempt
        self.peers: List[Peer] = []
        self._refused = False  # whether ``problem`` is that the host is known to refuse this one
        self._host = host
        self._port = port
        self._hello = hello
        self._keys = keys
        self._context = zmq.Context()
        self._begun = 0.0
        self._dealer = self._connect()
        self._ended = False
        self._reported = False

    def close(self) -> None:
        """End the connection, after delivering what was sent."""
        self._dealer.close(deliver=bool(self.peers) and not self._ended)
        self._context.term()

    def receive(self, seconds: float) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Wait for a message, up to ``seconds``; return all that have arrived. A lost connection is a failed peer."""
        self._wait(seconds)
        events = self._dealer.events()
        found = [one for message in self._messages() for one in self._read(message)]
        for event in events:
            self._note(event)
        if self._ended:
            found += [(peer, {"kind": "failed", "host": peer.name, "why": LOST}) for peer in self.peers]
        if self.missing and (self._ended or time.monotonic() - self._begun > ATTEMPT):
            time.sleep(PAUSE)
            self._dealer.close(deliver=False)
            self._dealer = self._connect()
        return iter(found)

    def _read(self, message: Dict[str, Any]) -> Iterator[Tuple[Peer, Dict[str, Any]]]:
        """Yield a message, unless it is only the reply to an attempt."""
        if message["kind"] == "busy":
            self._ended = True
            self._set_problem(f"{self._host} is in a run that has begun")
            return
        if not self.peers:
            self.missing = set()
            self._set_problem("")
            self.peers = [Peer(self._host, self._send)]
        if message["kind"] != "welcome":
            yield self.peers[0], message

    def _connect(self) -> MonitoredSocket:
        """Begin an attempt."""
        dealer = MonitoredSocket(self._context, zmq.DEALER, self._keys)
        dealer.socket.reconnect_ivl = NEVER  # a connection that has ended is a failed host
        if self._keys:
            dealer.socket.curve_serverkey = self._keys.public
        dealer.socket.connect(f"tcp://{self._host}:{self._port}")
        self._begun, self._ended = time.monotonic(), False
        return dealer

    def _wait(self, seconds: float) -> None:
        """Wait for a message or an event."""
        poller = zmq.Poller()
        poller.register(self._dealer.socket, zmq.POLLIN)
        poller.register(self._dealer.monitor, zmq.POLLIN)
        poller.poll(int(1000 * seconds))

    def _messages(self) -> Iterator[Dict[str, Any]]:
        """Yield the messages that have arrived."""
        while True:
            try:
                parts = self._dealer.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield messages.parse(parts, ("welcome", "busy", "refused", "go", "probe", "failed", "done"))
            except ValueError as error:
                self._report(f"ignoring a message from {self._host}: {error}")

    def _send(self, data: bytes) -> bool:
        """Send a message; False if the connection has ended."""
        try:
            self._dealer.socket.send(data, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _note(self, event: Event) -> None:
        """Update the state of the attempt or the connection."""
        if event.kind == zmq.EVENT_CONNECTED:
            strange = f"{self._host}:{self._port} answers, but is not a run that is starting"
            self.problem = self.problem or strange
        elif event.kind == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            self._send(self._hello)
        elif event.kind in FAILED:
            self._note_failed_handshake(event)
        elif event.kind & ENDED:
            self._ended = True
            if event.kind == zmq.EVENT_CLOSED:  # nobody listens there
                self._set_problem("")

    def _note_failed_handshake(self, event: Event) -> None:
        """Note why a handshake failed; a refusal that an earlier attempt has shown stays."""
        why = secret_problem(event, self._keys)
        if why:
            self._set_problem(f"{self._host} turned this host away: {why}", refused=True)
        elif not self._refused:
            self._set_problem(f"{self._host} ends the connection: the secrets may differ (BYTEPS_GC_SECRET_FILE)")

    def _set_problem(self, problem: str, refused: bool = False) -> None:
        """Set the problem of the last attempt; empty: none."""
        self.problem, self._refused = problem, refused

    def _report(self, line: str) -> None:
        """Print a line, once."""
        if not self._reported:
            self._reported = True
            print(line, flush=True)
