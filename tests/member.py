"""A worker without an engine: it joins a job as workers do, and then sends what a test wants it to send."""

import os
import struct
import time
from typing import List, Optional

from byteps_gc.cluster import secret
import zmq

import forged

SECONDS = 60  # a limit on waiting for an answer
SCHEDULER, EVERYBODY = 1, 7  # a node, and the group of all
COUNT = 2  # values of the tensor "a", the only one
KEY = 0


class Member:
    """Worker ``number`` of a job with one server. ``name`` is what messages call it."""

    def __init__(self, number: int, port: int, keys: secret.Keys):
        self.name = f"worker-{number} on 127.0.0.1"
        self.timestamp = 0
        self._options = dict(curve_serverkey=keys.public, curve_publickey=keys.public, curve_secretkey=keys.secret)
        self._context = zmq.Context()
        self._scheduler = self._call(port)
        self._server: Optional[zmq.Socket] = None
        self._port = 1 + number  # nobody calls it
        self.say(f"hello {number} {self.name};")
        me = forged.node(port=self._port, user=os.geteuid())
        self._scheduler.send_multipart([forged.Header(command=forged.ADD_NODE, flags=0, nodes=1).packed() + me])

    def _call(self, port: int, identity: bytes = b"") -> zmq.Socket:
        socket = self._context.socket(zmq.DEALER)
        socket.set(zmq.LINGER, 1000)
        socket.set(zmq.RCVTIMEO, SECONDS * 1000)
        if identity:
            socket.set(zmq.ROUTING_ID, identity)
        for name, value in self._options.items():
            setattr(socket, name, value)
        socket.connect(f"tcp://127.0.0.1:{port}")
        return socket

    def say(self, text: str) -> None:
        """Send a text of liveness to the scheduler."""
        self._scheduler.send_multipart([b"", text.encode()])

    def _wait(self, command: int) -> bytes:
        """Wait for a control message of the scheduler; returns its nodes."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            _, header, *_ = self._scheduler.recv_multipart()
            if header and header[4] == command:  # all else is for liveness
                return header[forged.HEADER.size :]
        raise TimeoutError("the scheduler is silent")

    def meet(self) -> None:
        """Learn who takes part, and call the server."""
        nodes = [*forged.NODE.iter_unpack(self._wait(forged.ADD_NODE))]
        (me,) = (identity for identity, port, _, _, role, *_ in nodes if role == 1 and port == self._port)
        (server,) = (port for _, port, _, _, role, *_ in nodes if role == 0)
        self._server = self._call(server, b"ps%d" % me)

    def barrier(self) -> None:
        """Ask for the barrier that every process waits at when it begins and when it ends."""
        header = forged.Header(command=forged.BARRIER, flags=forged.REQUEST, group=EVERYBODY)
        self._scheduler.send_multipart([header.packed()])

    def pass_barrier(self) -> None:
        """Wait until all have asked."""
        self._wait(forged.BARRIER)

    def _next(self, timestamp: Optional[int]) -> int:
        if timestamp is None:
            self.timestamp += 1
            return self.timestamp
        return timestamp

    def announce(self, workers: int = 0) -> None:
        """Announce the tensor, with one part. workers: how many exchange it, or 0 for all."""
        size = 4 * COUNT
        text = f"{size} {size} {size} 0 {workers}\n{self.name}\na\n\n".encode()
        header = forged.Header(option=0, timestamp=self._next(None))
        self._server.send_multipart(forged.push(KEY, text, header))

    def push(self, *values: float, timestamp: Optional[int] = None, head: int = forged.FLOAT32) -> int:
        """Push values of the tensor; returns the timestamp, which is a new one unless it is given."""
        header = forged.Header(timestamp=self._next(timestamp), head=head)
        self._server.send_multipart(forged.push(KEY, struct.pack(f"{len(values)}f", *values), header))
        return header.timestamp

    def pull(self, key: int = KEY) -> None:
        """Pull a tensor's sum by a request of its own."""
        header = forged.Header(flags=forged.REQUEST, option=0, timestamp=self._next(None))
        self._server.send_multipart(forged.pull(key, header))

    def answer(self, timestamp: Optional[int] = None) -> List[float]:
        """The sum in the server's next answer, which is for a request: by default the last one."""
        _, header, *data = self._server.recv_multipart()
        assert forged.HEADER.unpack(header)[7] == (self.timestamp if timestamp is None else timestamp)
        return [value for (value,) in struct.iter_unpack("f", data[1])] if data else []

    def silent(self) -> bool:
        """Whether the server has sent nothing else."""
        return not self._server.poll(100)

    def close(self) -> None:
        """Close all connections."""
        self._context.destroy(1000)
