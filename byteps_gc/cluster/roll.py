"""The hosts of a run know of each other, so that none waits for one that has failed or never started.

Every other host calls at the scheduler's address and the run's port, says which host it is and what it runs, and is
told to go, with the plan of the first host, which has worker 0, when all have called. The connections stay: who fails
says why to the host that schedules, which says it to the others, and one that ends without a word is a failure as well.
A message is a line of JSON: {"host", "words", "plan"}, {"go", "plan"}, {"failed", "host"} or {"done"}.
"""

import collections
import contextlib
import json
import os
import select
import socket
import time
from typing import Any, Deque, Dict, Iterator, List, Optional, Sequence, Tuple

from byteps_gc import env
from byteps_gc.cluster.host import Host
from byteps_gc.errors import ClusterError

PATIENCE = 300.0  # seconds that the hosts of a run may start apart
NOTICE = 10.0  # seconds of waiting after which it is told for whom
FAREWELL = 10.0  # seconds in which a host that fails before the start tries to say so


class Peer:
    """A connection to another host that carries whole lines."""

    def __init__(self, connection: socket.socket, name: str):
        self.connection = connection
        self.name = name
        self.done = False  # nothing more is to be said or heard
        self._rest = b""
        self._inbox: Deque[Dict[str, object]] = collections.deque()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # a host without power is gone a little later than for the engine, which knows what of the job was there
        interval = max(1, env.timeout("BYTEPS_GC_DEATH_TIMEOUT") // 6)
        for option, value in (("KEEPIDLE", 2 * interval), ("KEEPINTVL", interval), ("KEEPCNT", 5)):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{option}"), value)

    def send(self, **message: object) -> None:
        """Send a message; that the other side has gone is found when it is read."""
        with contextlib.suppress(OSError):
            self.connection.sendall(json.dumps(message).encode() + b"\n")

    def waits(self) -> bool:
        """Whether there is something to read."""
        return bool(select.select([self.connection], [], [], 0)[0])

    def read(self) -> Iterator[Dict[str, object]]:
        """The messages that have come and were not read; an end without a word reads as a failure."""
        if self.waits():
            try:
                data = self.connection.recv(1 << 16)
                why = "its run ended without reporting a reason"
            except OSError as error:
                data, why = b"", f"it cannot be reached: {error.strerror}"
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._inbox.extend(map(json.loads, lines))
            if not data:
                self._inbox.append({"failed": why})
        while self._inbox:
            yield self._inbox.popleft()


class Roll:
    """A context: this host among those of a run, all of them asked for the same ``words``; one alone has no peers."""

    def __init__(self, host: Host, words: Sequence[str]):
        self.host = host
        self.words = list(words)
        self.here = host.hosts[host.index]
        self.peers: List[Peer] = []
        self._door: Optional[socket.socket] = None
        self._missing = set(host.hosts) - {self.here}
        self._may_go = False
        self._plan: Any = None
        self._cause: Optional[Tuple[str, str]] = None

    def __enter__(self) -> "Roll":
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        if error is not None:
            self.tell(error)
        for peer in self.peers:
            if not peer.done:
                peer.send(done=True)
            peer.connection.close()
        self._close()

    def gather(self, plan: Any = None) -> Any:
        """Wait until all hosts are here; returns the ``plan``, as JSON carries it, that the first of them gave.

        :class:`ClusterError` names those that do not come, or what is wrong.
        """
        self._plan = plan
        if not self._missing:
            return self._plan
        begin = time.monotonic()
        self._meet(PATIENCE)
        if self.host.schedules:
            for peer in self.peers:
                peer.send(go=True, plan=self._plan)
            self._close()  # for who comes after this run
            self._may_go = True
        while not self._may_go:
            self.check()
            time.sleep(0.05)
            if time.monotonic() - begin > 2 * PATIENCE:  # it is somebody else who listens there
                raise ClusterError(f"{self.host.scheduler}:{self.host.port} answers, but is not a run that is starting")
        return self._plan

    def check(self) -> None:
        """:class:`ClusterError` if another host has failed or has gone."""
        for peer in self.peers:
            for message in () if peer.done else peer.read():
                if "go" in message:
                    self._may_go, self._plan = True, message.get("plan")
                peer.done = "done" in message or "failed" in message
                if "failed" in message:
                    self._cause = str(message.get("host", peer.name)), str(message["failed"])
                    raise ClusterError("host {} has failed: {}".format(*self._cause))

    def tell(self, error: BaseException) -> None:
        """Let the other hosts know that this one fails; what another one has said is passed on."""
        mistake = isinstance(error, Exception)  # else somebody wants this run to end now
        if self._missing and mistake:
            with contextlib.suppress(ClusterError):
                self._meet(FAREWELL, heed=False)
        why = (str(error) or type(error).__name__).splitlines()[0] if mistake else "it was interrupted"
        host, why = self._cause or (self.here, why)
        for peer in self.peers:
            if not peer.done:
                peer.send(failed=why, host=host)
                peer.done = True

    def _meet(self, seconds: float, heed: bool = True) -> None:
        """Have a connection with all whom this host talks to, within so many seconds; heed what they say, or not."""
        begin = time.monotonic()
        told = False
        if self.host.schedules:
            self._open()
        while self._missing:
            waited = time.monotonic() - begin
            names = ", ".join(sorted(self._missing)) if self._door else self.host.scheduler
            if waited > seconds:
                raise ClusterError(f"{names} did not join this run within {seconds:.0f} s")
            if waited > NOTICE and heed and not told:
                print(f"waiting for {names} to join this run", flush=True)
                told = True
            self._receive(self._door) if self._door else self._call()
            if heed:
                self.check()

    def _open(self) -> None:
        """Let the other hosts call."""
        try:
            self._door = self._door or socket.create_server((self.host.scheduler, self.host.port))
        except OSError as error:
            address = f"{self.host.scheduler}:{self.host.port}"
            raise ClusterError(f"the other hosts cannot connect to {address}: {os.strerror(error.errno)}") from None

    def _close(self) -> None:
        """Let nobody call any more."""
        if self._door:
            self._door.close()
            self._door = None

    def _receive(self, door: socket.socket) -> None:
        """Let in one of the hosts that are missing, if one calls by now."""
        door.settimeout(0.1)
        try:
            connection, _ = door.accept()
            peer = Peer(connection, "")
            select.select([connection], [], [], 5)
            hello = next(peer.read(), {})
        except (socket.timeout, ValueError):
            return
        peer.name = str(hello.get("host"))
        if peer.name not in self._missing:
            connection.close()
            return
        self.peers.append(peer)
        self._missing.discard(peer.name)
        self._plan = hello.get("plan") if peer.name == self.host.hosts[0] else self._plan
        if hello["words"] != self.words:
            there, here = (" ".join(map(str, words)) for words in (hello["words"], self.words))
            raise ClusterError(f"{peer.name} was asked to run {there!r}, but this host was asked to run {here!r}")

    def _call(self) -> None:
        """Call at the host that schedules, if it is there by now."""
        try:
            connection = socket.create_connection((self.host.scheduler, self.host.port), timeout=2)
        except OSError:
            time.sleep(0.1)
            return
        peer = Peer(connection, self.host.scheduler)
        peer.send(host=self.here, words=self.words, plan=self._plan)
        self.peers.append(peer)
        self._missing.clear()
