"""The rendezvous: the hosts of a run know of each other, so that none waits for one that failed or never started.

Every other host connects to the scheduler's address and the run's port, says which host it is, what it runs and its
settings. When all have connected, each gets the plan of the first host, which has worker 0, and starts. The connections
stay: who fails says why to the host that schedules, which says it to the others, and one that ends without
a word is a failure as well.
"""

import contextlib
import functools
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

from byteps_gc.cluster import secret
from byteps_gc.cluster.cluster_spec import Host
from byteps_gc.cluster.rendezvous import messages
from byteps_gc.cluster.rendezvous.connection import Connection
from byteps_gc.cluster.rendezvous.equality import difference, settings
from byteps_gc.cluster.rendezvous.listener import Listener
from byteps_gc.cluster.rendezvous.peer import Peer
from byteps_gc.errors import ClusterError

PATIENCE = 300.0  # seconds that the hosts of a run may start apart
NOTICE = 10.0  # seconds of waiting after which it is told for whom
FAREWELL = 10.0  # seconds in which a host that fails before the start tries to say so
SLICE = 0.1  # seconds of waiting at once


class Rendezvous:
    """A context: this host among those of a run, all of them asked for the same ``words``; one alone has no peers."""

    def __init__(self, host: Host, words: Sequence[str]):
        self.host = host
        self.words = list(words)
        self.here = host.hosts[host.index]
        self.keys = secret.of_job()
        self._others = [name for name in host.hosts if name != self.here]
        self._link: Union[Listener, Connection, None] = None
        self._may_go = False
        self._plan: Any = None
        self._cause: Optional[Tuple[str, str]] = None

    def __enter__(self) -> "Rendezvous":
        return self

    def __exit__(self, kind: object, error: Optional[BaseException], trace: object) -> None:
        try:
            if error is not None:
                self.tell(error)
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

    def gather(self, plan: Any = None) -> Any:
        """Wait until all hosts are here; returns the ``plan``, as JSON carries it, that the first of them gave.

        :class:`ClusterError` names those that do not come, or what is wrong.
        """
        self._plan = plan
        if not self._others:
            return self._plan
        self._meet(PATIENCE)
        if self.host.schedules:
            for peer in self.peers:
                peer.send("go", plan=self._plan)
            self._link.shut()  # for who comes after this run
            self._may_go = True
        while not self._may_go:
            self.check(SLICE)
        return self._plan

    def check(self, seconds: float = 0) -> None:
        """:class:`ClusterError` if another host has failed or has gone; wait so long for a message."""
        for peer, message in self._link.receive(seconds) if self._link else ():
            self._heed(peer, message)

    def tell(self, error: BaseException) -> None:
        """Let the other hosts know that this one fails; what another one has said is passed on."""
        mistake = isinstance(error, Exception)  # else somebody wants this run to end now
        if mistake and self._others and not (self._link and not self._link.missing):
            with contextlib.suppress(ClusterError):
                self._meet(FAREWELL, heed=False)
        why = (str(error) or type(error).__name__).splitlines()[0] if mistake else "it was interrupted"
        host, why = self._cause or (self.here, why)
        for peer in self.peers:
            if not peer.done:
                peer.send("failed", why=why, host=host)
                peer.done = True

    def _meet(self, seconds: float, heed: bool = True) -> None:
        """Have a connection with all whom this host talks to, within so many seconds; heed what they say, or not."""
        begin = time.monotonic()
        told: Optional[str] = None
        link = self._link = self._link or self._connect()
        while link.missing:
            waited = time.monotonic() - begin
            names, trouble = ", ".join(sorted(link.missing)), f": {link.trouble}" if link.trouble else ""
            if waited > seconds:
                raise ClusterError(f"{names} did not join this run within {seconds:.0f} s{trouble}")
            if waited > NOTICE and heed and (told is None or trouble and trouble != told):
                print(f"waiting for {names} to join this run{trouble}", flush=True)
                told = trouble
            for peer, message in link.receive(SLICE):
                if heed:
                    self._heed(peer, message)

    @functools.cached_property
    def _settings(self) -> Dict[str, str]:
        """What must be equal on all hosts, as this one has it."""
        return settings(self.host)

    def _connect(self) -> Union[Listener, Connection]:
        """Let the other hosts connect, or connect to the one that schedules."""
        if self.host.schedules:
            return Listener(self.host.scheduler, self.host.port, self._others, self.keys)
        mine = {"words": self.words, "settings": self._settings, "plan": self._plan}
        hello = messages.pack("hello", host=self.here, **mine)
        return Connection(self.host.scheduler, self.host.port, hello, self.keys)

    def _heed(self, peer: Peer, message: Dict[str, Any]) -> None:
        """Take a peer's message; :class:`ClusterError` if it ends the run."""
        kind = message["kind"]
        if peer.done or kind == "probe":
            return
        if kind == "hello":
            self._compare(peer.name, message)
            self._plan = message["plan"] if peer.name == self.host.hosts[0] else self._plan
        elif kind == "go":
            self._may_go, self._plan = True, message["plan"]
        else:
            peer.done = True
        if kind == "refused":
            raise ClusterError(f"{peer.name} turned this host away: {messages.printable(message['why'])}")
        if kind == "failed":
            host = peer.name if self.host.schedules else messages.printable(message["host"])
            self._cause = host, messages.printable(message["why"])
            raise ClusterError("host {} has failed: {}".format(*self._cause))

    def _compare(self, name: str, hello: Dict[str, Any]) -> None:
        """:class:`ClusterError` if a host runs something else, or with other settings."""
        if hello["words"] != self.words:
            there, here = " ".join(hello["words"]), " ".join(self.words)
            raise ClusterError(f"{name} was asked to run {there!r}, but this host was asked to run {here!r}")
        differs = difference(name, hello["settings"], self.here, self._settings)
        if differs:
            raise ClusterError(messages.printable(differs))
