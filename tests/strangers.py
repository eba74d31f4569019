"""ZeroMQ clients that are no processes of the job, and a record of every byte that they receive."""

import contextlib
import socket
import threading
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

from byteps_gc.cluster import secret
from listeners import Listener
import zmq
from zmq.utils.monitor import recv_monitor_message

GREETING = 64  # bytes
ENDS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_DISCONNECTED
)


class Recorder:
    """Passes one connection on to a listener, until closed; ``received`` is what the listener has sent."""

    def __init__(self, listener: Listener):
        self.sent, self.received = b"", b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._target = listener.connect()
        self.port = self._listener.getsockname()[1]
        self._caller: Optional[socket.socket] = None
        self._threads = [threading.Thread(target=self._run, daemon=True)]
        self._threads[0].start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._caller, _ = self._listener.accept()
            back = threading.Thread(target=self._copy_back, daemon=True)
            self._threads.append(back)
            back.start()
            for data in chunks(self._caller):
                self.sent += data
                self._target.sendall(data)

    def _copy_back(self) -> None:
        with contextlib.suppress(OSError):
            for data in chunks(self._target):
                self.received += data
                self._caller.sendall(data)
        end(self._caller)

    def close(self) -> None:
        """End both connections; all that was received is recorded then."""
        for one in (self._listener, self._target, self._caller):
            if one:
                end(one)
        for thread in self._threads:
            thread.join(10)


def chunks(connection: socket.socket) -> Iterator[bytes]:
    """What comes by a connection until its end, as it comes."""
    return iter(lambda: connection.recv(1 << 16), b"")


def end(connection: socket.socket) -> None:
    """Close a connection for the other side and for threads that wait for it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


class Outcome(NamedTuple):
    """Whether a client was let in, what it sent and received."""

    welcome: bool
    sent: bytes
    received: bytes


def attempt(listener: Listener, messages: Sequence[List[bytes]], identity: bytes, **options: object) -> Outcome:
    """Connect with ZeroMQ, and send the messages if let in.

    options: attributes of the socket, such as its keys.
    """
    recorder, context = Recorder(listener), zmq.Context()
    client = context.socket(zmq.DEALER)
    client.set(zmq.ROUTING_ID, identity)
    client.set(zmq.RECONNECT_IVL, -1)
    client.set(zmq.LINGER, 1000)
    client.set(zmq.SNDHWM, 0)
    for name, value in options.items():
        setattr(client, name, value)
    events = client.get_monitor_socket(ENDS)
    client.connect(f"tcp://127.0.0.1:{recorder.port}")
    assert events.poll(10000), "the handshake does not end"
    welcome = recv_monitor_message(events)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
    for parts in messages if welcome else ():
        client.send_multipart(parts)
    received = client.poll(200) if welcome else 0
    client.disable_monitor()
    events.close()
    client.close()
    context.term()
    recorder.close()
    assert not received or listener.role == "scheduler", "a server has answered"
    return Outcome(welcome, recorder.sent, recorder.received)


def require_kept_out(listener: Listener, outcome: Outcome, who: str, name: str) -> None:
    """Require that a client was not let in, and received nothing but the beginning of a handshake.

    who: the client, for messages; name: what it has instead of the secret.
    """
    assert not outcome.welcome, f"{listener.role} lets in {who} with {name}"
    assert commands(outcome.received) <= {b"WELCOME", b"ERROR"}, (listener, name, outcome.received)


def require_reported(reports: Dict[str, List[str]], address: str) -> None:
    """Require that scheduler and servers reported foreign messages and connections from an address."""
    for role in ("scheduler", "server-0", "server-1"):
        lines = "\n".join(reports[role])
        assert f"dropped a message of another program or version from {address}" in lines
        assert f"turned away a connection from {address}: it is not a process of this job" in lines


def say_locally(name: str, messages: Sequence[List[bytes]], identity: bytes) -> None:
    """Send messages to a local socket, as a process of the job's user can."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.set(zmq.ROUTING_ID, identity)
        client.set(zmq.LINGER, 5000)
        client.connect(f"ipc://@{name}")
        for parts in messages:
            client.send_multipart(parts)


def intruders(keys: secret.Keys) -> Dict[str, Dict[str, object]]:
    """Clients without the secret, by what they have instead."""
    public, own = zmq.curve_keypair()
    return {
        "no secret": {},
        "a name and a password": dict(plain_username=b"byteps_gc", plain_password=b"0" * 32),
        "no password": dict(plain_username=b"byteps_gc"),
        "another secret": dict(curve_serverkey=public, curve_publickey=public, curve_secretkey=own),
        "the public key": dict(curve_serverkey=keys.public, curve_publickey=public, curve_secretkey=own),
        "the public key as its own": dict(
            curve_serverkey=keys.public, curve_publickey=keys.public, curve_secretkey=own
        ),
    }


def member(keys: secret.Keys) -> Dict[str, object]:
    """The keys of a client with the secret."""
    return dict(curve_serverkey=keys.public, curve_publickey=keys.public, curve_secretkey=keys.secret)


def commands(answer: bytes) -> Set[bytes]:
    """The names of the commands that follow a greeting; a frame that is no whole command is b"DATA"."""
    assert not answer or answer.startswith(b"\xff")
    names, rest = set(), answer[GREETING:]
    while rest:
        body = rest[2 : 2 + rest[1]] if rest[0] == 4 and len(rest) > 1 else b""
        # libzmq's PLAIN says "\x05ERROR", of which C reads \x05E as one character
        said = body.replace(b"^RROR", b"\x05ERROR")
        names.add(said[1 : 1 + said[0]] if said else b"DATA")
        rest = rest[2 + len(body) :] if body else b""
    return names
