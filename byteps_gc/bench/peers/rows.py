"""What contestants of ``bench peers`` meet with, and what their turns come to."""

from dataclasses import dataclass
from statistics import median
from typing import List, Optional, Sequence, Tuple

from byteps_gc.bench import model_gradients
from byteps_gc.bench.peers.jobs import PEERS, Peer, Plan
from byteps_gc.cluster.namespaces import bits_per_second

UNSHAPED = "unshaped"
SECONDS = 20.0  # that the rounds of a job should take
MOST_ROUNDS = 15
WARM_UP = 3  # rounds that do not count, where one takes less than LONG seconds; elsewhere one, which registers
LONG = 1.0
PATIENCE = 8  # times what the rounds should take; then a job is given up
START = 120.0  # seconds, more


Key = Tuple[str, str, int, str]  # a contestant, a model, the number of hosts, a rate


def words(model: str, hosts: int, rate: str) -> str:
    """A setting, for people."""
    return f"{model}, {hosts} hosts, {rate}"


@dataclass
class Entry:
    """Something of a contestant in a setting."""

    peer: str
    model: str
    hosts: int
    rate: str

    @property
    def key(self) -> Key:
        """Whose it is."""
        return self.peer, self.model, self.hosts, self.rate

    @property
    def setting(self) -> str:
        """Where, for people."""
        return words(self.model, self.hosts, self.rate)


@dataclass
class Row(Entry):
    """A contestant's rounds; MB are 10^6 bytes of one host in a round, the median host's, counted as
    :class:`~byteps_gc.cluster.namespaces.Traffic` does.

    limit_seconds: what the link takes for the more of the bytes sent and received; goal_seconds: what a round may take
    (:class:`~byteps_gc.bench.peers.jobs.Goal`); cpu_seconds: of all processes, with
    what they need to have gradients for the next round; load: what else the machine's processors did meanwhile, in
    cores; date, commit (of the project), machine: when, with what and where it was measured.
    """

    seconds: float
    seconds_min: float
    seconds_max: float
    rounds: int
    mb_sent: float
    mb_received: float
    limit_seconds: Optional[float]
    goal_seconds: Optional[float]
    cpu_seconds: float
    load: float
    date: str
    commit: Optional[str]
    machine: str


@dataclass
class Failure(Entry):
    """A contestant that gets no row, on which machine and why."""

    machine: str
    reason: str

    def __str__(self) -> str:
        return f"{self.peer}: {self.setting}: {self.reason}"


@dataclass(frozen=True)
class Setting:
    """What all contestants meet with."""

    model: model_gradients.Model
    hosts: int
    rate: str

    @property
    def bits(self) -> int:
        """Of the rate; 0 if there is none."""
        return 0 if self.rate == UNSHAPED else bits_per_second(self.rate)

    def expected(self, peer: Peer) -> float:
        """Seconds of a contestant's round, about, if its link or its processors are slow; else 0."""
        return max(peer.busy, 8 * peer.bytes(model_gradients.of(self.model)) / self.bits if self.bits else 0.0)

    def key(self, peer: Peer) -> Key:
        """What a contestant's turns and its failure there have in common."""
        return peer.name, self.model.name, self.hosts, self.rate

    def plan(self, peer: Peer) -> Plan:
        """A contestant's rounds: as many as fit into the time, and at least one."""
        expected = self.expected(peer)
        rounds = int(SECONDS / expected) if expected else MOST_ROUNDS
        warm_up = max(peer.warm_up, WARM_UP if expected < LONG else 1)
        return Plan(model_gradients.of(self.model), warm_up, max(1, min(MOST_ROUNDS, rounds)))

    def limit(self, peer: Peer) -> float:
        """Seconds after which a contestant's job is given up."""
        plan = self.plan(peer)
        return START + PATIENCE * max(1.0, self.expected(peer)) * (plan.warm_up + plan.rounds)

    def __str__(self) -> str:
        return words(self.model.name, self.hosts, self.rate)


@dataclass
class Turn(Entry):
    """What one job of a contestant has measured.

    seconds: of each round; sent, received: bytes a round, of each host; cpu: seconds a round, of all processes; load,
    date, commit, machine: see :class:`Row`.
    """

    seconds: List[float]
    sent: List[float]
    received: List[float]
    cpu: float
    load: float
    date: str
    commit: Optional[str]
    machine: str


def row(turns: Sequence[Turn]) -> Row:
    """What a contestant's turns come to."""
    last = turns[-1]
    bits = Setting(model_gradients.MODELS[last.model], last.hosts, last.rate).bits
    seconds = [one for turn in turns for one in turn.seconds]
    sent, received = (median(count for turn in turns for count in getattr(turn, name)) for name in ("sent", "received"))
    most = max(max(turn.sent + turn.received) for turn in turns)
    limit = 8 * most / bits if bits else None
    goal = next((peer.goal for peer in PEERS if peer.name == last.peer), None)
    return Row(
        *last.key,
        seconds=median(seconds),
        seconds_min=min(seconds),
        seconds_max=max(seconds),
        rounds=len(seconds),
        mb_sent=sent / 1e6,
        mb_received=received / 1e6,
        limit_seconds=limit,
        goal_seconds=goal and goal.seconds(last.rate, limit),
        cpu_seconds=median(turn.cpu for turn in turns),
        load=max(turn.load for turn in turns),
        date=last.date,
        commit=last.commit,
        machine=last.machine,
    )
