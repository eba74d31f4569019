"""The rendezvous of a run's hosts: they start together, and each learns when another one fails.

Every other host connects to the scheduler's address at the run's port, and sends its address, its command and its
settings. When all hosts have joined, each receives the plan of the first host, which has worker 0, and starts. The
connections stay open: a host that fails reports the reason to the host that schedules, which passes it on, and a host
whose connection ends without a report has failed as well.
"""

import contextlib
import functools
import time
from typing import Any, Dict, List, Optional, Sequence, Union

from byteps_gc.cluster import secret
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.cluster.rendezvous import messages
from byteps_gc.cluster.rendezvous.connection import Connection
from byteps_gc.cluster.rendezvous.equality import difference, settings
from byteps_gc.cluster.rendezvous.errors import (
    RendezvousClosedError,
    RendezvousError,
    RendezvousRefusedError,
    RendezvousTimeoutError,
)
from byteps_gc.cluster.rendezvous.listener import Listener
from byteps_gc.cluster.rendezvous.peer import Peer

JOIN_TIMEOUT = 300.0  # seconds that the hosts of a run may start apart
NOTICE = 10.0  # seconds of waiting after which the missing hosts are printed
REPORT_TIMEOUT = 10.0  # seconds in which a host that fails before the start tries to report that
SLICE = 0.1  # seconds of waiting at once


class Rendezvous:
    """A context: this host and the others of its run, which must all run the same ``words``. One host has no peers."""

    def __init__(self, host: Host, words: Sequence[str]):
        self.host = host
        self.words = list(words)
        self.here = host.hosts[host.index]
        self.keys = secret.of_job()
        self._others = [name for name in host.hosts if name != self.here]
        self._link: Union[Listener, Connection, None] = None
        self._started = False
        self._plan: Any = None

    def __enter__(self) -> "Rendezvous":
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        try:
            if error is not None:
                self.report(error)
            for peer in self.peers:
                if not peer.done:
                    peer.send("done")
        finally:
            if self._link:
                self._link.close()

    @property
    def peers(self) -> List[Peer]:
        """The hosts that this one is connected to."""
        return self._link.peers if self._link else []

    def join(self, plan: Any = None) -> Any:
        """Wait until all hosts have joined; return the first host's ``plan``, as JSON carries it.

        Raises a :class:`RendezvousError`: its class and its text say what is wrong with which host.
        """
        self._plan = plan
        if not self._others:
            return self._plan
        self._connect_all(JOIN_TIMEOUT)
        if self.host.schedules:
            for peer in self.peers:
                peer.send("go", plan=self._plan)
            self._link.stop_admitting()
            self._started = True
        while not self._started:
            self.check(SLICE)
        return self._plan

    def check(self, seconds: float = 0) -> None:
        """Wait for a message, up to ``seconds``; :class:`RendezvousClosedError` if another host has failed."""
        for peer, message in self._link.receive(seconds) if self._link else ():
            self._handle(peer, message)

    def report(self, error: BaseException) -> None:
        """Report to the other hosts that this one fails; the failure of another host is passed on."""
        interrupted = not isinstance(error, Exception)
        if not interrupted and self._others and not (self._link and not self._link.missing):
            with contextlib.suppress(RendezvousError):
                self._connect_all(REPORT_TIMEOUT, handle=False)
        host, reason = self.here, "it was interrupted"
        if isinstance(error, RendezvousClosedError):
            host, reason = error.host, error.reason
        elif not interrupted:
            reason = (str(error) or type(error).__name__).splitlines()[0]
        for peer in self.peers:
            if not peer.done:
                peer.send("failed", why=reason, host=host)
                peer.done = True

    def _connect_all(self, seconds: float, handle: bool = True) -> None:
        """Connect to all hosts that this one talks to; :class:`RendezvousTimeoutError` after ``seconds``.

        handle: whether to handle the messages that arrive meanwhile, and to print which hosts are missing.
        """
        begin = time.monotonic()
        printed: Optional[str] = None
        link = self._link = self._link or self._open_link()
        while link.missing:
            waited = time.monotonic() - begin
            names, problem = ", ".join(sorted(link.missing)), f": {link.problem}" if link.problem else ""
            if waited > seconds:
                raise RendezvousTimeoutError(f"{names} did not join this run within {seconds:.0f} s{problem}")
            if waited > NOTICE and handle and (printed is None or problem and problem != printed):
                print(f"waiting for {names} to join this run{problem}", flush=True)
                printed = problem
            for peer, message in link.receive(SLICE):
                if handle:
                    self._handle(peer, message)

    @functools.cached_property
    def _settings(self) -> Dict[str, str]:
        """This host's values of the settings that must be equal on all hosts."""
        return settings(self.host)

    def _open_link(self) -> Union[Listener, Connection]:
        """Listen for the other hosts, or connect to the host that schedules."""
        if self.host.schedules:
            return Listener(self.host.scheduler, self.host.port, self._others, self.keys)
        mine = {"words": self.words, "settings": self._settings, "plan": self._plan}
        hello = messages.pack("hello", host=self.here, **mine)
        return Connection(self.host.scheduler, self.host.port, hello, self.keys)

    def _handle(self, peer: Peer, message: Dict[str, Any]) -> None:
        """Handle a peer's message; :class:`RendezvousError` if it ends the run."""
        kind = message["kind"]
        if peer.done or kind == "probe":
            return
        if kind == "hello":
            self._compare(peer.name, message)
            self._plan = message["plan"] if peer.name == self.host.hosts[0] else self._plan
        elif kind == "go":
            self._started, self._plan = True, message["plan"]
        else:
            peer.done = True
        if kind == "refused":
            raise RendezvousRefusedError(f"{peer.name} turned this host away: {messages.printable(message['why'])}")
        if kind == "failed":
            host = peer.name if self.host.schedules else messages.printable(message["host"])
            raise RendezvousClosedError(host, messages.printable(message["why"]))

    def _compare(self, name: str, hello: Dict[str, Any]) -> None:
        """:class:`RendezvousRefusedError` if a host runs another command, or with other settings."""
        if hello["words"] != self.words:
            there, here = " ".join(hello["words"]), " ".join(self.words)
            raise RendezvousRefusedError(f"{name} was asked to run {there!r}, but this host was asked to run {here!r}")
        differs = difference(name, hello["settings"], self.here, self._settings)
        if differs:
            raise RendezvousRefusedError(messages.printable(differs))
