"""A fluid model of push/pull: the time that a step's exchange takes on links of limited bandwidth.

Each host has a worker, servers, and one full-duplex link. A gradient's partition is pushed to its server when backward
has computed it. The server replies to all workers when it has the partition from all of them. So replies share a host's
link with its gradients, and depend on the other hosts' links. What a worker and a server of the same host exchange does
not use the link.

Each pair of worker and server has a connection, which sends in order. All connections that have something to send share
the links evenly: rates are max-min fair, limited by the sender's and by the receiver's link.
"""

from collections import defaultdict, deque
from dataclasses import dataclass
import heapq
import itertools
import math
from typing import Deque, Dict, List, NamedTuple, Sequence, Tuple

HEADERS = 1514 / 1448  # Ethernet, IP and TCP's, per byte of a full packet's payload
NOTHING = 1e-3  # bytes that are left of a message when it has arrived
WARM_UP, STEPS = 2, 4  # steps before those that count, and these


class Part(NamedTuple):
    """A partition: its server, the bytes that a worker sends of it, and the seconds from a step's start to its push."""

    server: int
    bytes: float
    ready: float


class Connection(NamedTuple):
    """One direction between a worker and a server: the hosts at its ends, the server, and whether it has replies."""

    source: int
    target: int
    server: int
    replies: bool


class Message(NamedTuple):
    """A partition of a step, for a worker or from it."""

    step: int
    worker: int
    part: int


def fair_rates(connections: Sequence[Connection], capacity: float) -> List[float]:
    """Return the max-min fair rate of each connection, when every link carries ``capacity`` in each direction."""
    ends = [((one.source, False), (one.target, True)) for one in connections]
    users: Dict[Tuple[int, bool], List[int]] = defaultdict(list)
    for index, pair in enumerate(ends):
        for end in pair:
            users[end].append(index)
    count = {end: len(found) for end, found in users.items()}
    left = dict.fromkeys(users, capacity)
    rates = [-1.0] * len(ends)
    while count:
        narrow = min(count, key=lambda end: left[end] / count[end])
        share = left[narrow] / count[narrow]
        for index in users[narrow]:
            if rates[index] >= 0:
                continue
            rates[index] = share
            for end in ends[index]:
                left[end] -= share
                count[end] -= 1
                if not count[end]:
                    del count[end]
    return rates


@dataclass
class Links:
    """Connections with messages to send, and the time."""

    capacity: float

    def __post_init__(self) -> None:
        self.now = 0.0
        self._queues: Dict[Connection, Deque[List]] = {}  # bytes that are left, and the message
        self._rates: Dict[Connection, float] = {}

    def send(self, connection: Connection, size: float, message: Message) -> None:
        """Queue a message on a connection."""
        if connection not in self._queues:
            self._queues[connection] = deque()
            self._rates = {}
        self._queues[connection].append([size, message])

    def advance(self, until: float) -> List[Tuple[Connection, Message]]:
        """Send until the next message has arrived, or some time; return the messages that have arrived."""
        if not self._rates and self._queues:
            self._rates = dict(zip(self._queues, fair_rates([*self._queues], self.capacity)))
        seconds = min((self._queues[one][0][0] / rate for one, rate in self._rates.items()), default=math.inf)
        seconds = min(seconds, until - self.now)
        self.now += seconds
        arrived = []
        for one, rate in self._rates.items():
            first = self._queues[one][0]
            first[0] -= rate * seconds
            if first[0] <= NOTHING:
                arrived.append((one, first[1]))
        for one, _ in arrived:
            self._queues[one].popleft()
            if not self._queues[one]:
                del self._queues[one]
                self._rates = {}
        return arrived


class Steps:
    """Workers that take steps: each begins its next one when it has all sums."""

    def __init__(self, parts: Sequence[Part], hosts: int, servers_per_host: int, bits: float, steps: int):
        self.parts, self.hosts, self.servers_per_host, self.steps = parts, hosts, servers_per_host, steps
        self.links = Links(bits / 8 / HEADERS)
        self.ends: List[List[float]] = [[] for _ in range(hosts)]  # of each worker's steps
        self._pushed: Dict[Tuple[int, int], int] = defaultdict(int)  # workers that have, by step and part
        self._replies = [0] * hosts  # that each worker has in its step
        self._events: List[Tuple[float, int, Message]] = []
        self._order = itertools.count()

    def run(self) -> List[List[float]]:
        """Return when each worker has ended each step."""
        for worker in range(self.hosts):
            self._begin(worker)
        while any(len(ends) < self.steps for ends in self.ends):
            until = self._events[0][0] if self._events else math.inf
            for connection, message in self.links.advance(until):
                self._arrive(connection, message)
            while self._events and self._events[0][0] <= self.links.now:
                message = heapq.heappop(self._events)[2]
                self._send(self._connection(message, replies=False), message)
        return self.ends

    def _begin(self, worker: int) -> None:
        self._replies[worker] = 0
        for part, one in enumerate(self.parts):
            message = Message(len(self.ends[worker]), worker, part)
            heapq.heappush(self._events, (self.links.now + one.ready, next(self._order), message))

    def _connection(self, message: Message, replies: bool) -> Connection:
        server = self.parts[message.part].server
        ends = (message.worker, server // self.servers_per_host)
        return Connection(*(ends[::-1] if replies else ends), server, replies)

    def _send(self, connection: Connection, message: Message) -> None:
        if connection.source == connection.target or math.isinf(self.links.capacity):
            self._arrive(connection, message)
        else:
            self.links.send(connection, self.parts[message.part].bytes, message)

    def _arrive(self, connection: Connection, message: Message) -> None:
        if connection.replies:
            return self._take(message.worker)
        self._pushed[message.step, message.part] += 1
        if self._pushed[message.step, message.part] == self.hosts:
            first = connection.target
            for worker in [*range(first, self.hosts), *range(first)]:
                reply = message._replace(worker=worker)
                self._send(self._connection(reply, replies=True), reply)

    def _take(self, worker: int) -> None:
        self._replies[worker] += 1
        if self._replies[worker] == len(self.parts):
            self.ends[worker].append(self.links.now)
            self._begin(worker)


def step_seconds(parts: Sequence[Part], hosts: int, servers_per_host: int, bits: float) -> float:
    """Return the mean seconds of a step after the first ones, which all workers begin at once."""
    ends = Steps(parts, hosts, servers_per_host, bits, WARM_UP + STEPS).run()
    begin, end = (max(one[step - 1] for one in ends) for step in (WARM_UP, WARM_UP + STEPS))
    return (end - begin) / STEPS
