"""What the conformance suite (test_laws.py) runs over: compressors, implementations, lengths, values, wrong frames.

A new compressor adds one :class:`Row` to ROWS for each set of options worth a run.
"""

from dataclasses import dataclass, field, replace
import math
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from byteps_gc.compressors import Compressor, Dithering, Identity, Onebit, RandomK, TopK
from byteps_gc.compressors import frame as frames
from byteps_gc.compressors.coding import pack_bits, rice_parameter, write_codes, write_numbers
from byteps_gc.compressors.frame import Frame, FrameError
from byteps_gc.compressors.partition import encoded_of
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.reference import ReferenceServer, ReferenceWorker
import numpy as np

Faults = Iterator[Tuple[str, Frame, str]]


@dataclass(frozen=True)
class Implementation:
    """Worker and Server classes with the interface of byteps_gc.compressors.reference.

    keywords: arguments that all of its objects are made with; fast: it also runs what takes the reference minutes.
    """

    name: str
    Worker: Callable[..., Any]
    Server: Callable[..., Any]
    fast: bool = False
    keywords: Dict[str, Any] = field(default_factory=dict)


REFERENCE = Implementation("reference", ReferenceWorker, ReferenceServer)


def implementations() -> List[Implementation]:
    """The reference, and the native library for every instruction set that this processor has."""
    found = [REFERENCE]
    try:
        from byteps_gc import native
        from byteps_gc.native.build import best_isa
    except ImportError:
        return found
    for isa in ("portable", "avx2")[: 2 if best_isa() == "avx2" else 1]:
        found.append(Implementation(isa, native.Worker, native.Server, True, {"isa": isa}))
    return found


class Cluster:
    """Some workers and a server of one partition, all of one implementation."""

    def __init__(
        self,
        implementation: Implementation,
        compressor: Compressor,
        d: int,
        mu: Optional[float] = None,
        ef: bool = False,
        dtype: str = "float32",
        workers: int = 1,
        stream: int = 5,
    ):
        common = dict(mu=mu, ef=ef, dtype=dtype, workers=workers, **implementation.keywords)
        self.workers = [
            implementation.Worker(compressor, d, worker=worker, stream=stream, **common) for worker in range(workers)
        ]
        self.server = implementation.Server(compressor, d, **common)
        self.pushes: List[bytes] = []
        self.reply = b""

    def step(
        self, gradients: Sequence[np.ndarray], eta: float, skipped: bool = False, reset: bool = False
    ) -> np.ndarray:
        """One exchange; what the last worker reads."""
        self.compress(gradients, eta, skipped, reset)
        return self.exchange()

    def compress(
        self, gradients: Sequence[np.ndarray], eta: float, skipped: bool = False, reset: bool = False
    ) -> List[bytes]:
        """What the workers push."""
        pairs = zip(self.workers, gradients)
        self.pushes = [bytes(worker.compress(gradient, eta, skipped, reset)) for worker, gradient in pairs]
        return self.pushes

    def exchange(self) -> np.ndarray:
        """Push what is compressed, and read the reply."""
        for push in self.pushes:
            self.server.push(push)
        self.reply = bytes(self.server.reply())
        return self.workers[-1].decompress(self.reply)

    def states(self) -> List[Dict[str, Any]]:
        """The states of the workers and of the server."""
        return [one.state() for one in (*self.workers, self.server)]

    def load(self, states: List[Dict[str, Any]]) -> None:
        """Load what :meth:`states` gave."""
        for one, state in zip((*self.workers, self.server), states):
            one.load_state(state)


def bits(value: Any) -> Any:
    """Something that is equal for equal bits: arrays by their bytes, None as zeros."""
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("<")).tobytes().strip(b"\0") and value.tobytes()
    return value or b""


def same_states(one: List[Dict[str, Any]], other: List[Dict[str, Any]], but: Sequence[str] = ()) -> bool:
    """Whether two clusters' states are equal bit for bit; a residual that does not exist is one of zeros."""
    keys = [key for key in ("step", "eta", "momentum", "residual") if key not in but]
    return all(bits(a.get(key)) == bits(b.get(key)) for a, b in zip(one, other) for key in keys)


def decoded(compressor: Compressor, push: bytes, dtype: str = "float32") -> np.ndarray:
    """What a reader decodes of a push, raw or framed: float32[d]."""
    if push[:4] != frames.MAGIC + bytes([frames.VERSION]):
        return np.frombuffer(push, dtype).astype(np.float32)
    frame = Frame.unpack(push)
    return compressor.decode(encoded_of(frame), frame.d, Draw(frame.stream, frame.step, frame.worker))


# Rows


@dataclass(frozen=True)
class Row:
    """A compressor with the laws that hold for it.

    unbiased: E C(x) = x without error feedback.
    loss: with error feedback, ||C(x) - x||^2 / ||x||^2 of an x is at most ("each"), on average at most ("mean") or
        exactly ("equal", see ``sense``) this.
    shared: all workers draw the same elements, and so does the server.
    again: C(C(x)) = C(x), "exactly" or "nearly"; lattice: the step of the lattice on which C(x) = x.
    faults: frames with a payload that is refused, made of a good push.
    """

    compressor: Compressor
    unbiased: bool = False
    loss: Optional[Callable[[np.ndarray], float]] = None
    sense: str = "each"
    shared: bool = False
    again: str = ""
    lattice: float = 0
    faults: Callable[["Row", Frame], Faults] = lambda row, frame: iter(())

    def __str__(self) -> str:
        options = self.compressor.options().items()
        kind = type(self.compressor)
        return "-".join([kind.name, *(f"{name}={value}" for name, value in options if value)])


def _topk(**options: Any) -> Row:
    one = TopK(**options)

    def loss(x: np.ndarray) -> float:
        return 1 - one.count(x.size) / x.size + (2**-20 if one.half else 0)

    return Row(one, loss=loss, again="exactly", faults=_sparse_faults)


def _randomk(**options: Any) -> Row:
    one = RandomK(**options)

    def loss(x: np.ndarray) -> float:
        return 1 - one.count(x.size) / x.size + (2**-20 if one.half else 0)

    return Row(one, True, loss, "mean", shared=True, faults=_value_faults)


def _dithering(lattice: float = 0, **options: Any) -> Row:
    one = Dithering(**options)
    return Row(one, True, lambda x: 1 - one.alpha(x.size), "mean", lattice=lattice, faults=_dithering_faults)


def _onebit_loss(x: np.ndarray) -> float:
    x = x.astype(np.float64)
    return 1 - np.abs(x).sum() ** 2 / (x.size * (x @ x))


def _onebit_faults(row: Row, frame: Frame) -> Faults:
    yield "padding", replace(frame, payload=frame.payload[:-1] + bytes([frame.payload[-1] | 0x80])), "bit|zero|padding"
    yield "payload too long", replace(frame, payload=frame.payload + b"\0"), "length|form"
    yield from _count_faults(frame)


def _count_faults(frame: Frame, reason: str = "count|form|entries") -> Faults:
    for count in {0, frame.count - 1, frame.count + 1, 2**32 - 1}:
        yield f"count {count} for {frame.count}", replace(frame, count=count), reason


# what a reader notices that cannot know the count
ANY_COUNT = "count|form|entries|end|long|short|past|left|level|bits|length"


def _with_values(frame: Frame, value: float, half: bool) -> Frame:
    """The frame with another last value."""
    tail = np.array([value], "<f2" if half else "<f4").tobytes()
    return replace(frame, payload=frame.payload[: -len(tail)] + tail)


def _value_faults(row: Row, frame: Frame) -> Faults:
    half = bool(frame.flags & frames.HALF)
    for value in (math.nan, math.inf, -math.inf):
        yield f"value {value}", _with_values(frame, value, half), "finite|value"
    yield "payload too short", replace(frame, payload=frame.payload[:-2]), "length|form"
    yield "payload too long", replace(frame, payload=frame.payload + b"\0\0"), "length|form"
    yield from _count_faults(frame)


def _stream_faults(frame: Frame, begin: int, end: int) -> Faults:
    """Faults of a stream of Rice codes at payload[begin:end]."""

    def streamed(stream: bytes) -> Frame:
        return replace(frame, payload=frame.payload[:begin] + stream + frame.payload[end:])

    stream = frame.payload[begin:end]
    ends = "end|short|stream"
    yield "codes without end", streamed(bytes(len(stream))), ends
    yield "no codes", streamed(b""), ends
    yield "stream too long", streamed(stream + bytes(4)), "long|left|too many"
    yield "stream cut", streamed(stream[:-4]), ends
    first = [0] * (frame.d >> rice_parameter(frame.d, frame.count)) + [1] * 64
    gap = pack_bits(np.array(first + [1] * (8 * len(stream)), np.uint8))
    yield "gap past the end", streamed(gap), "gap|past|index|form"


def _sparse_faults(row: Row, frame: Frame) -> Faults:
    half = bool(frame.flags & frames.HALF)
    for value in (math.nan, math.inf):
        yield f"value {value}", _with_values(frame, value, half), "finite|value"
    yield from _count_faults(frame)
    length = len(frame.payload) - frame.count * (2 if half else 4)
    yield from _stream_faults(frame, 0, length)
    entries = row.compressor.entries(encoded_of(frame), frame.d, Draw())
    if write_codes(entries.indices, frame.d)[1] % 32:
        last = frame.payload[: length - 1] + bytes([frame.payload[length - 1] | 0x80])
        yield "padding", replace(frame, payload=last + frame.payload[length:]), "bit|zero|padding"


def _dithering_faults(row: Row, frame: Frame) -> Faults:
    one = row.compressor
    norms = 4 * -(-frame.d // one.size(frame.d))
    for value in (math.nan, math.inf, -1.0):
        payload = np.array([value], "<f4").tobytes() + frame.payload[4:]
        yield f"norm {value}", replace(frame, payload=payload), "finite|norm|value"
    yield "no norms", replace(frame, payload=b""), "norm|form"
    yield from _count_faults(frame, ANY_COUNT)
    if not frame.flags & frames.DENSE:
        yield from _stream_faults(frame, norms, len(frame.payload))
    width = (2 * one.k).bit_length()
    codes = np.ones(frame.d, np.int64)
    good = replace(frame, flags=frame.flags | frames.DENSE, count=frame.d)
    stream = write_numbers(codes, width)
    yield "dense too long", replace(good, payload=frame.payload[:norms] + stream + bytes(4)), "length|form"
    if 2 * one.k + 1 < 2**width:
        codes[3] = 2 * one.k + 1
        above = write_numbers(codes, width)
        yield "dense level above s", replace(good, payload=frame.payload[:norms] + above), "level"
    if frame.d * width % 32:
        last = stream[:-1] + bytes([stream[-1] | 0x80])
        yield "dense padding", replace(good, payload=frame.payload[:norms] + last), "bit|zero|padding"
    if one.k > 1:
        high = write_codes(np.array([2]), frame.d, np.array([False]), np.array([one.k + 1]))[0]
        one_entry = replace(frame, flags=frame.flags & ~frames.DENSE, count=1)
        yield "level above s", replace(one_entry, payload=frame.payload[:norms] + high), "level"


def union_faults(frame: Frame) -> Faults:
    """Faults of the union of entries that topk and dithering are answered with."""
    for value in (math.nan, math.inf):
        yield f"value {value}", _with_values(frame, value, False), "finite|value"
    yield from _count_faults(frame, ANY_COUNT)
    yield from _stream_faults(frame, 0, len(frame.payload) - 4 * frame.count)


ROWS = [
    Row(Onebit(), again="exactly", faults=_onebit_faults),
    Row(Onebit(scaling=True), loss=_onebit_loss, sense="equal", again="nearly", faults=_onebit_faults),
    _topk(k=0.1),
    _topk(k=5),
    _topk(k=0.3, half=True),
    _topk(k=10**9),
    _topk(k=10**9, half=True),
    _randomk(k=0.25),
    _randomk(k=7, seed=2**32 - 1),
    _randomk(k=0.5, seed=3, half=True),
    _dithering(k=1, normalize="l2"),
    _dithering(k=2),
    _dithering(k=4, lattice=1 / 4, seed=9),
    _dithering(k=127, bucket=512),
    _dithering(k=5, normalize="l2", bucket=1000),
    _dithering(k=2**20),
    _dithering(k=4, partition="natural", normalize="l2", bucket=512, seed=1),
    _dithering(k=8, partition="natural", lattice=1 / 128),
    _dithering(k=30, partition="natural"),
    Row(Identity()),
    Row(Identity(half=True), again="exactly", faults=_value_faults),
]

# Lengths and values

LENGTHS = (1, 7, 8, 31, 32, 33, 63, 64, 65, 1023, 4096, 4097)
LONG = (1023999, 1024000, 1024001)


def _one(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.where(np.arange(d) == d // 2, -3.5, 0.0)


def _outlier(rng: np.random.Generator, d: int) -> np.ndarray:
    return np.where(np.arange(d) == d // 3, 1e6, rng.standard_normal(d) * 1e-3)


VALUES: Dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, d: rng.standard_normal(d),
    "zeros": lambda rng, d: np.zeros(d),
    "signed zeros": lambda rng, d: np.where(rng.random(d) < 0.5, 0.0, -0.0),
    "one": _one,
    "equal": lambda rng, d: np.full(d, -0.1),
    "denormals": lambda rng, d: rng.integers(-9, 10, d) * 1.4e-45,
    "wide": lambda rng, d: 10 ** rng.uniform(-38, 38, d) * rng.choice([-1, 1], d),
    "outlier": _outlier,
    "mostly zeros": lambda rng, d: rng.standard_normal(d) * (rng.random(d) < 1 / 9),
    "sorted": lambda rng, d: np.sort(rng.standard_normal(d)),
}


def gradients(values: str, d: int, workers: int, step: int = 0, dtype: str = "float32") -> List[np.ndarray]:
    """The workers' gradients of one step; the same for the same arguments."""
    found = []
    for worker in range(workers):
        rng = np.random.default_rng([d, worker, step, list(VALUES).index(values)])
        with np.errstate(over="ignore"):
            found.append(VALUES[values](rng, d).astype(np.float32).astype(dtype))
    return found


# Frames that are refused, whatever the codec: name, how to make it of a good one, what the reason names

FIELDS = [
    ("codec", {"codec": 9}, "codec|compressor|options"),
    ("dtype", {"dtype": 1}, "dtype|partition"),
    ("another dtype", {"dtype": 2}, "dtype|partition"),
    ("d", {"d": 10**6}, r"\bd\b|length|partition"),
    ("d + 1", {"d": 301}, r"\bd\b|length|partition"),
    ("workers", {"workers": 3}, "workers|partition"),
    ("digest", {"digest": 1}, "digest|options"),
    ("unknown flag", {"flags": 128}, "flag"),
    ("ERROR", {"flags": frames.ERROR}, "flag|ERROR"),
    ("NONFINITE with a payload", {"flags": frames.NONFINITE}, "flag|NONFINITE|payload|count"),
    ("eta nan", {"eta": math.nan}, "eta|learning rate"),
    ("eta inf", {"eta": math.inf}, "eta|learning rate"),
    ("eta negative", {"eta": -0.5}, "eta|learning rate"),
    ("scale nan", {"scale": math.nan}, "scale"),
    ("scale inf", {"scale": math.inf}, "scale"),
    ("scale negative", {"scale": -1.0}, "scale"),
]
PUSH_FIELDS = [
    ("unknown worker", {"worker": 7}, "worker"),
    ("the server's", {"worker": frames.SERVER}, "worker"),
    ("second push", {"worker": 0}, "second|twice|worker"),
    ("another eta", {"eta": 0.25}, "eta|learning rate|step"),
    ("another step", {"step": 10**6}, "step"),
    ("served step", {"step": 0}, "step"),
    ("another stream", {"stream": 77}, "stream|partition"),
    ("REPLY", {"flags": frames.REPLY}, "flag|reply"),
    ("SKIPPED alone", {"flags": frames.SKIPPED}, "flag|SKIPPED"),
    ("RESET alone", {"flags": frames.RESET}, "flag|RESET"),
]
REPLY_FIELDS = [
    ("a worker's", {"worker": 0}, "worker|reply"),
    ("another eta", {"eta": 0.25}, "eta|learning rate|step"),
    ("another step", {"step": 10**6}, "step"),
    ("another stream", {"stream": 77}, "stream|partition"),
    ("SKIPPED", {"flags": frames.SKIPPED}, "flag|reply"),
    ("RESET", {"flags": frames.RESET}, "flag|reply"),
    ("DENSE", {"flags": frames.DENSE}, "flag|form"),
]


def wrong_fields(good: Frame, fields: Sequence[tuple]) -> Iterator[Tuple[str, bytes, str]]:
    """Frames with one wrong field; flags are added to those that the frame has."""
    for name, changed, reason in fields:
        changed = dict(changed)
        changed["flags"] = good.flags | changed.get("flags", 0)
        yield name, replace(good, **changed).pack(), reason


def wrong_bytes(data: bytes) -> Iterator[Tuple[str, bytes, str]]:
    """Frames with wrong bytes."""
    yield "nothing", b"", "short|length"
    yield "half a header", data[:24], "short|length"
    yield "cut", data[:-1], "short|length"
    yield "a byte more", data + b"\0", "long|length"
    yield "magic", b"XGC" + data[3:], "magic"
    yield "version", data[:3] + b"\2" + data[4:], "version"
    yield "CRC", data[:44] + bytes([data[44] ^ 1]) + data[45:], "CRC|checksum"
    yield "a flipped bit", data[:-1] + bytes([data[-1] ^ 1]), "CRC|checksum"


def refused(action: Callable[[], Any]) -> Optional[str]:
    """The reason with which something is refused, or None."""
    try:
        action()
    except FrameError as error:
        return str(error)
    return None
