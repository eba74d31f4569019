"""The two contestants of ``bench compressors``: one operation of this package, and the same of stock BytePS."""

from functools import partial
from typing import Any, Callable, Dict, Iterator, List, Mapping, Tuple

from byteps_gc import compressors, native
import byteps_gc.bench.stock.compressors as stock
from byteps_gc.compressors import Compressor
import numpy as np

ELEMENTS = 1_024_000  # BytePS's default partition, 4096000 bytes
ETA = 0.1
MU = 0.9

WORKERS = 2  # that share a server where bits are counted
STEPS = 5

SEED = 1  # stock BytePS takes 0 for the time of day


def title(name: str, options: Mapping[str, Any]) -> str:
    """Return a compressor and its options as a row is named: words as they are, numbers with their names."""
    words = [name]
    for key, value in options.items():
        words.append(key if value is True else value if isinstance(value, str) else f"{key}={value}")
    return " ".join(words)


def rows() -> Iterator[Tuple[str, Compressor]]:
    """Yield the examples of every compressor, with the names of their rows."""
    for kind in compressors.kinds():
        for options in kind.examples:
            seed = {"seed": SEED} if "seed" in kind.option_names() else {}
            yield title(kind.name, options), kind(**options, **seed)


CODECS: Dict[str, Compressor] = dict(rows())
# What is around the compressor in each operation. decompress is a worker's, decompress+add a server's.
OPS: Dict[str, Dict[str, Any]] = {
    "compress": {},
    "compress+ef": {"ef": True},
    "compress+ef+momentum": {"ef": True, "mu": MU},
    "decompress": {},
    "decompress+add": {},
}

Calls = List[Callable[[], object]]


def has_released(codec: str) -> bool:
    """Whether stock BytePS has this compressor."""
    return CODECS[codec].name in stock.NAMES and not CODECS[codec].options().get("bucket")


class Data:
    """Gradients (normal, with another scale for each block of 512) and as many arrays to write to."""

    def __init__(self, partitions: int, elements: int = ELEMENTS):
        draw = np.random.default_rng(20260101)
        scales = draw.lognormal(0, 1, (partitions, -(-elements // 512))).astype(np.float32)
        normal = (draw.standard_normal(elements, np.float32) for _ in range(partitions))
        self.gradients = [one * scale.repeat(512)[:elements] for one, scale in zip(normal, scales)]
        self.room = [np.ones(elements, np.float32) for _ in range(partitions)]
        self.elements = elements

    def step(self, number: int) -> List[np.ndarray]:
        """The partitions' gradients in a step; in the next one each has another's."""
        at = number % len(self.gradients)
        return self.gradients[at:] + self.gradients[:at]

    def memcpy(self) -> Calls:
        """Copy every gradient."""
        return [partial(np.copyto, to, gradient) for to, gradient in zip(self.room, self.gradients)]


class Ours:
    """One operation of this package, for every partition, from a fresh state."""

    def __init__(self, codec: str, op: str, data: Data):
        self.op, self.data = op, data
        compressor, count = CODECS[codec], len(data.gradients)
        self.workers = [native.Worker(compressor, data.elements, stream=i, **OPS[op]) for i in range(count)]
        self.servers = [native.Server(compressor, data.elements, workers=1, **OPS[op]) for _ in range(count)]

    def step(self, number: int) -> Calls:
        """The calls of a step. What comes before the operation is done here."""
        gradients = self.data.step(number)
        if self.op.startswith("compress"):
            return [partial(worker.compress_view, one, ETA) for worker, one in zip(self.workers, gradients)]
        frames = [worker.compress(one, ETA) for worker, one in zip(self.workers, gradients)]
        if self.op == "decompress+add":
            return [partial(server.add, *what) for server, *what in zip(self.servers, frames, self.data.room)]
        for server, frame in zip(self.servers, frames):
            server.push(frame)
        return [
            partial(worker.decompress_into, server.reply(), to)
            for worker, server, to in zip(self.workers, self.servers, self.data.room)
        ]

    def error(self) -> float:
        """||C(p) - p|| / ||p|| where p is what a first step compresses."""
        gradient, out = self.data.gradients[0], np.zeros(self.data.elements, np.float32)
        message = self.workers[0].compress(gradient, ETA)
        if self.op == "decompress":
            self.servers[0].push(message)
            message = self.servers[0].reply()
            self.workers[0].decompress_into(message, out)
        else:
            self.servers[0].add(message, out)
        wanted = gradient * np.float32(1 + OPS[self.op].get("mu", 0))
        return float(np.linalg.norm(out - wanted) / np.linalg.norm(wanted))


def bits(codec: str, op: str, data: Data) -> Tuple[float, float]:
    """Return the bits per element of a push and of a reply: means over STEPS steps of one partition of WORKERS workers.

    The worker's and the server's error feedback are those of the operation.
    """
    wrappers, size = OPS[op], data.elements
    workers = [
        native.Worker(CODECS[codec], size, worker=number, workers=WORKERS, **wrappers) for number in range(WORKERS)
    ]
    server = native.Server(CODECS[codec], size, workers=WORKERS, **wrappers)
    pushed = replied = 0
    out = np.empty(size, np.float32)
    for number in range(STEPS):
        gradient = data.step(number)[0]
        for worker, one in zip(workers, (gradient, gradient[::-1])):
            frame = worker.compress(np.ascontiguousarray(one), ETA)
            pushed += len(frame) / WORKERS
            server.push(frame)
        reply = server.reply()
        replied += len(reply)
        for worker in workers:
            worker.decompress_into(reply, out)
    return 8 * pushed / STEPS / size, 8 * replied / STEPS / size


class Theirs:
    """The same operation of stock BytePS."""

    def __init__(self, codec: str, op: str, data: Data):
        self.op, self.data = op, data
        given, count = CODECS[codec].options(), len(data.gradients)
        options = {name: given[name] for name in given if name in stock.OPTIONS}
        options["compressor"] = CODECS[codec].name
        self.wrappers = {**OPS[op], **({"ef": "vanilla"} if "ef" in OPS[op] else {})}
        self.workers = [stock.Released({**options, **self.wrappers}, data.elements) for _ in range(count)]
        self.servers = [stock.Released(options, data.elements, "server") for _ in range(count)]

    def step(self, number: int) -> Calls:
        """The calls of a step. Error feedback changes the gradients that it is given: it gets copies."""
        gradients, room = self.data.step(number), self.data.room
        if self.wrappers:
            for to, one in zip(room, gradients):
                np.copyto(to, one)
            gradients = room
        calls = [partial(worker.compress, one) for worker, one in zip(self.workers, gradients)]
        if self.op.startswith("compress"):
            return calls
        for call in calls:
            call()
        if self.op == "decompress+add":
            payloads = [worker.payload() for worker in self.workers]
            return [partial(server.add, *what) for server, *what in zip(self.servers, payloads, room)]
        for worker, to in zip(self.workers, room):
            worker.receive(to)
        return [partial(worker.unpack, to) for worker, to in zip(self.workers, room)]
