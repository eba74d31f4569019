"""Attacks on a TCP port, by whoever reaches it: noise, halves of ZeroMQ's handshake, and floods.

Each takes a :class:`~listeners.Listener` and returns the bytes that came back. None cares whether the other side closes
the connection meanwhile.
"""

import contextlib
import random
import socket
import ssl
import struct
import time
from typing import Dict, Iterator, Sequence

from listeners import Listener

LISTENS = 0.05  # seconds that an attacker waits for an answer
CHUNK = 1 << 18
MOST = 64 << 20  # bytes of a flood
SILENT = b""


def greeting(mechanism: bytes = b"NULL", major: int = 3, minor: int = 1, as_server: bool = False) -> bytes:
    """What a ZMTP 3 connection begins with (https://rfc.zeromq.org/spec/23)."""
    mechanism = mechanism.ljust(20, b"\0")
    return b"\xff" + bytes(8) + b"\x7f" + bytes([major, minor]) + mechanism + bytes([as_server]) + bytes(31)


def frame(body: bytes, more: bool = False, command: bool = False, size: int = -1) -> bytes:
    """One frame; ``size`` is what it claims to have, if that is not true."""
    size = len(body) if size < 0 else size
    flags = more | (size > 255) << 1 | command << 2
    return bytes([flags]) + (struct.pack(">Q", size) if size > 255 else bytes([size])) + body


def ready(identity: bytes = b"", kind: bytes = b"DEALER") -> bytes:
    """The only command of the NULL handshake."""
    pairs = ((b"Socket-Type", kind), (b"Identity", identity))
    body = b"".join(bytes([len(name)]) + name + struct.pack(">I", len(value)) + value for name, value in pairs)
    return frame(b"\x05READY" + body, command=True)


def message(parts: Sequence[bytes]) -> bytes:
    """The frames of one message."""
    return b"".join(frame(part, more=index + 1 < len(parts)) for index, part in enumerate(parts))


def client_hello() -> bytes:
    """What a TLS connection begins with."""
    outgoing = ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def unfinished_handshake(mechanism: bytes) -> bytes:
    """A handshake whose first command has 16 MB, but for the last."""
    return greeting(mechanism) + frame(bytes(15 << 20), command=True, size=16 << 20)


def random_bytes(size: int, seed: int = 0) -> bytes:
    """The same each time."""
    return bytes(random.Random(seed).choices(range(256), k=size))


def heard(connection: socket.socket, seconds: float = LISTENS) -> bytes:
    """What comes until the connection is closed, or silent for some time."""
    connection.settimeout(seconds)
    answer = b""
    with contextlib.suppress(OSError):
        while True:
            more = connection.recv(1 << 16)
            if not more:
                break
            answer += more
    return answer


def say(listener: Listener, data: bytes) -> bytes:
    """Connect, send the data, and close after the answer."""
    with listener.connect() as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        return heard(connection)


def exactly(connection: socket.socket, size: int) -> bytes:
    """Read ``size`` bytes; ConnectionResetError if the connection is closed before."""
    answer = b""
    while len(answer) < size:
        more = connection.recv(size - len(answer))
        if not more:
            raise ConnectionResetError("the connection was closed")
        answer += more
    return answer


def client(listener: Listener, identity: bytes = b"") -> socket.socket:
    """A connection that has done the NULL handshake: a correct client's, where there is no secret."""
    connection = listener.connect()
    try:
        connection.sendall(greeting() + ready(identity))
        _, size = exactly(connection, 64 + 2)[64:]
        exactly(connection, size)
    except OSError:
        connection.close()
        raise
    return connection


def say_as_client(listener: Listener, data: bytes, identity: bytes = b"") -> bytes:
    """Do the NULL handshake, send the data, and close after the answer."""
    with client(listener, identity) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(data)
        return heard(connection)


def flood(connection: socket.socket, beginning: bytes, chunk: bytes, most: int = MOST, seconds: float = 1) -> int:
    """Send chunk after chunk until the other side has had enough; returns the bytes that it took."""
    sent, end = 0, time.monotonic() + seconds
    connection.settimeout(0.5)
    with contextlib.suppress(OSError):
        connection.sendall(beginning)
        while sent < most and time.monotonic() < end:
            sent += connection.send(chunk)
    return sent


@contextlib.contextmanager
def held(listeners: Sequence[Listener], data: bytes = SILENT, count: int = 1) -> Iterator[None]:
    """Hold ``count`` connections to each port open, on which nothing follows the data."""
    with contextlib.ExitStack() as stack:
        for listener in listeners:
            for _ in range(count):
                try:
                    connection = stack.enter_context(listener.connect(1))
                    connection.sendall(data)
                except OSError:
                    break  # it takes no more
        yield


SIP = b"OPTIONS sip:nm SIP/2.0\r\nVia: SIP/2.0/TCP nm;branch=foo\r\nFrom: <sip:nm@nm>\r\nContent-Length: 0\r\n\r\n"
RDP = b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"

NOISE: Dict[str, bytes] = {
    "a port scan": SILENT,
    "an HTTP request": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS ClientHello": client_hello(),
    "an RDP probe": RDP,
    "a SIP probe": SIP,
    "a redis probe": b"*1\r\n$4\r\nPING\r\n",
    "an SSH banner": b"SSH-2.0-OpenSSH_9.0\r\n",
    "1 MB of random bytes": random_bytes(1 << 20),
    "one byte": b"\xff",
    "half a greeting": greeting()[:40],
    "a ZMTP 1 message": b"\x01\x00\x03\x00ab\x01\x01",
    "a ZMTP 1 identity of a worker": b"\x04\x00ps9\x04\x01abc\x04\x00abc",
    "a ZMTP 2 greeting": b"\xff" + bytes(8) + b"\x7f\x01\x05\x00\x00" + message([b"", b"x"]),
    "a ZMTP 2 greeting of no type": b"\xff" + bytes(8) + b"\x7f\x01\xff",
    "a greeting, and random bytes": greeting() + random_bytes(4096),
    "a greeting of another mechanism": greeting(b"NOTHING") + ready(),
    "a greeting of a server": greeting(b"CURVE", as_server=True) + ready(),
    "a greeting of ZMTP 255": greeting(major=255) + ready(),
    "a PLAIN handshake": greeting(b"PLAIN") + frame(b"\x05HELLO\x01a\x01b", command=True),
    "a CURVE handshake of zeros": greeting(b"CURVE") + frame(b"\x05HELLO\x01\x00" + bytes(192), command=True),
    "a short CURVE handshake": greeting(b"CURVE") + frame(b"\x05HELLO", command=True),
    "a CURVE handshake that begins with its last command": greeting(b"CURVE")
    + frame(b"\x08INITIATE" + bytes(500), command=True),
    "a GSSAPI handshake": greeting(b"GSSAPI") + frame(b"\x08INITIATE" + bytes(500), command=True),
    "a handshake without properties": greeting() + frame(b"\x05READY", command=True),
    "a handshake with a long property": greeting()
    + frame(b"\x05READY\x0bSocket-Type\xff\xff\xff\xffDEALER", command=True),
    "a handshake of a publisher": greeting() + ready(kind=b"PUB"),
    "a message before the handshake": greeting() + message([b"", b"hello 0 x"]),
}


# what follows NULL's handshake, which is done right
FRAMES: Dict[str, bytes] = {
    "an unknown command": frame(b"\x09SUBSCRIBE", command=True),
    "a frame with unknown flags": b"\xf8\x01x",
    "a frame longer than all memory": b"\x02" + b"\x7f" + b"\xff" * 7,
    "a frame of a negative length": b"\x02" + b"\xff" * 8,
    "a message that does not end": frame(b"x", more=True),
    "an empty frame": frame(b""),
    **{f"{n} random parts": message([random_bytes(5 * i, n) for i in range(n)]) for n in range(1, 9)},
    **{f"{n} empty parts": message([b""] * n) for n in range(2, 9)},
}

# what a flood begins with, and what it repeats
FLOODS: Dict[str, Sequence[bytes]] = {
    "random bytes": (SILENT, random_bytes(CHUNK)),
    "700 MB of a handshake": (greeting() + frame(b"", size=700 << 20, command=True), bytes(CHUNK)),
    "700 MB of a CURVE handshake": (greeting(b"CURVE") + frame(b"", size=700 << 20, command=True), bytes(CHUNK)),
}
CLIENT_FLOODS: Dict[str, Sequence[bytes]] = {
    "700 MB as one frame": (frame(b"", size=700 << 20), bytes(CHUNK)),
    "700 MB of parts": (SILENT, frame(bytes(1 << 20), more=True)),
    "many small parts": (SILENT, frame(b"x", more=True) * (CHUNK // 3)),
    "many empty messages": (SILENT, frame(b"") * (CHUNK // 2)),
    "many small messages": (SILENT, message([b"x", b"y"]) * (CHUNK // 6)),
    "many introductions": (SILENT, message([b"", b"hello 0 x"]) * (CHUNK // 13)),
}
