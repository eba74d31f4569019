"""What the conformance suite (test_laws.py) runs over: compressors, implementations, lengths, values, wrong frames.

A new compressor adds one :class:`Row` to ROWS for each set of options worth a run.
"""

from dataclasses import dataclass, field, replace
from functools import partial
import math
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple, Union

from byteps_gc.compressors import Compressor
from byteps_gc.compressors import frame as frames
from byteps_gc.compressors.coding import pack_bits, rice_parameter, write_codes, write_numbers
from byteps_gc.compressors.crc32c import crc32c
from byteps_gc.compressors.dithering import Dithering
from byteps_gc.compressors.frame import Frame
from byteps_gc.compressors.identity import Identity
from byteps_gc.compressors.int8 import Int8
from byteps_gc.compressors.onebit import Onebit
from byteps_gc.compressors.partition import encoded_of
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.randomk import RandomK
from byteps_gc.compressors.reference import ReferenceServer, ReferenceWorker
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.topk import TopK
from byteps_gc.compressors.values import size_of
import numpy as np

Faults = Iterator[Tuple[str, Frame, Refusal]]


@dataclass(frozen=True)
class Implementation:
    """Worker and Server classes with the interface of byteps_gc.compressors.reference.

    keywords: arguments that all of its objects are made with; fast: it also runs what takes the reference minutes. One
    implementation does, because all give the same bits.
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
        found.append(Implementation(isa, native.Worker, native.Server, isa == best_isa(), {"isa": isa}))
    return found


class Cluster:
    """Some workers and a server of one partition, all of one implementation; options: mu, ef and dtype."""

    def __init__(
        self, implementation: Implementation, compressor: Compressor, d: int, workers: int = 1, **options: Any
    ):
        common = dict(workers=workers, **options, **implementation.keywords)
        self.workers = [
            implementation.Worker(compressor, d, worker=worker, stream=5, **common) for worker in range(workers)
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
        return value.tobytes() if value.view(np.uint8).any() else b""
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
        return 1 - one.count(x.size) / x.size + (2**-20 if one.half else 2**-16 if one.bfloat16 else 0)

    return Row(one, loss=loss, again="exactly", faults=_sparse_faults)


def _randomk(**options: Any) -> Row:
    one = RandomK(**options)

    def loss(x: np.ndarray) -> float:
        return 1 - one.count(x.size) / x.size + (2**-20 if one.half else 2**-16 if one.bfloat16 else 0)

    return Row(one, True, loss, "mean", shared=True, faults=_value_faults)


def _dithering(lattice: float = 0, **options: Any) -> Row:
    one = Dithering(**options)
    if one.rounding == "nearest":
        again = "exactly" if one.k == 1 or one.partition == "natural" else "nearly"
        return Row(one, loss=partial(_nearest_loss, one), again=again, lattice=lattice, faults=_dithering_faults)
    return Row(one, True, lambda x: 1 - one.alpha(x.size), "mean", lattice=lattice, faults=_dithering_faults)


def _nearest_loss(one: Dithering, x: np.ndarray) -> float:
    """An element of a bucket of n loses at most half of a step, and the largest nothing."""
    n = one.size(x.size)
    steps = n / (4 * one.k**2) if one.partition == "linear" else 1 / 9 + n * 4.0**-one.k
    return min(steps, 1 - 1 / n) + 2**-20


def _onebit_loss(x: np.ndarray) -> float:
    x = x.astype(np.float64)
    return 1 - np.abs(x).sum() ** 2 / (x.size * (x @ x))


def _onebit_faults(row: Row, frame: Frame) -> Faults:
    if not row.compressor.scaling:
        yield from _scale_faults(frame)
    yield "padding", replace(frame, payload=frame.payload[:-1] + bytes([frame.payload[-1] | 0x80])), Refusal.PADDING
    yield "payload too long", replace(frame, payload=frame.payload + b"\0"), Refusal.PAYLOAD
    yield from _count_faults(frame)


def _count_faults(frame: Frame, code: Optional[Refusal] = Refusal.COUNT) -> Faults:
    """Wrong counts. A reader that cannot know the count finds the fault elsewhere: ``code`` is None."""
    for count in {0, frame.count - 1, frame.count + 1, 2**32 - 1} - {frame.count}:
        yield (
            f"count {count} for {frame.count}",
            replace(frame, count=count),
            code if count <= frame.d else Refusal.COUNT,
        )


def _with_values(frame: Frame, value: float, form: int) -> Frame:
    """The frame with another last value, in this form."""
    tail = np.array([value], "<f2" if form == frames.HALF else "<f4").tobytes()
    tail = tail[2:] if form == frames.BFLOAT16 else tail
    return replace(frame, payload=frame.payload[: -len(tail)] + tail)


def _scale_faults(frame: Frame) -> Faults:
    """Scales that a compressor's frame does not have, and values that are not finite times the largest."""
    scales = [0.0, 3.0, 2.0**-127]
    if frame.flags & frames.HALF:
        scales += [2.0**114, 2.0**127]
        for value in (2.0**15, 65504.0):
            yield (
                f"{value} times 2^113",
                replace(_with_values(frame, value, frames.HALF), scale=2.0**113),
                Refusal.VALUE,
            )
    else:
        scales += [0.5, 2.0, 2.0**127]
    for scale in scales:
        yield f"scale {scale}", replace(frame, scale=scale), Refusal.SCALE


def _value_faults(row: Row, frame: Frame) -> Faults:
    form = frame.flags & (frames.HALF | frames.BFLOAT16)
    yield from _scale_faults(frame)
    for value in (math.nan, math.inf, -math.inf):
        yield f"value {value}", _with_values(frame, value, form), Refusal.VALUE
    yield "payload too short", replace(frame, payload=frame.payload[:-2]), Refusal.PAYLOAD
    yield "payload too long", replace(frame, payload=frame.payload + b"\0\0"), Refusal.PAYLOAD
    yield from _count_faults(frame)


def _stream_faults(frame: Frame, begin: int, end: int) -> Faults:
    """Faults of a stream of Rice codes at payload[begin:end]."""

    def streamed(stream: bytes) -> Frame:
        return replace(frame, payload=frame.payload[:begin] + stream + frame.payload[end:])

    stream = frame.payload[begin:end]
    yield "codes without end", streamed(bytes(len(stream))), Refusal.CODE
    yield "no codes", streamed(b""), Refusal.CODE
    yield "stream too long", streamed(stream + bytes(4)), Refusal.PADDING
    yield "stream cut", streamed(stream[:-4]), Refusal.CODE
    yield "half a word", streamed(stream + bytes(2)), Refusal.PAYLOAD
    first = [0] * (frame.d >> rice_parameter(frame.d, frame.count)) + [1] * 64
    yield "gap past the end", streamed(pack_bits(np.array(first, np.uint8))), Refusal.CODE


def _sparse_faults(row: Row, frame: Frame) -> Faults:
    form = frame.flags & (frames.HALF | frames.BFLOAT16)
    yield from _scale_faults(frame)
    for value in (math.nan, math.inf):
        yield f"value {value}", _with_values(frame, value, form), Refusal.VALUE
    yield from _count_faults(frame)
    length = len(frame.payload) - frame.count * size_of(form)
    yield from _stream_faults(frame, 0, length)
    entries = row.compressor.entries(encoded_of(frame), frame.d, Draw())
    if write_codes(entries.indices, frame.d)[1] % 32:
        last = frame.payload[: length - 1] + bytes([frame.payload[length - 1] | 0x80])
        yield "padding", replace(frame, payload=last + frame.payload[length:]), Refusal.PADDING


def _dithering_faults(row: Row, frame: Frame) -> Faults:
    one = row.compressor
    norms = 4 * -(-frame.d // one.size(frame.d))
    yield from _scale_faults(frame)
    for value in (math.nan, math.inf, -1.0, -0.0):
        payload = np.array([value], "<f4").tobytes() + frame.payload[4:]
        yield f"norm {value}", replace(frame, payload=payload), Refusal.NORM
    yield "no norms", replace(frame, payload=b""), Refusal.PAYLOAD
    yield from _count_faults(frame, None)
    if not frame.flags & frames.DENSE:
        yield from _stream_faults(frame, norms, len(frame.payload))
    width = (2 * one.k).bit_length()
    codes = np.ones(frame.d, np.int64)
    good = replace(frame, flags=frame.flags | frames.DENSE, count=frame.d)
    stream = write_numbers(codes, width)
    yield "dense too long", replace(good, payload=frame.payload[:norms] + stream + bytes(4)), Refusal.PAYLOAD
    if 2 * one.k + 1 < 2**width:
        codes[3] = 2 * one.k + 1
        above = write_numbers(codes, width)
        yield "dense level above s", replace(good, payload=frame.payload[:norms] + above), Refusal.CODE
    if frame.d * width % 32:
        last = stream[:-1] + bytes([stream[-1] | 0x80])
        yield "dense padding", replace(good, payload=frame.payload[:norms] + last), Refusal.PADDING
    if one.k > 1:
        high = write_codes(np.array([2]), frame.d, np.array([False]), np.array([one.k + 1]))[0]
        one_entry = replace(frame, flags=frame.flags & ~frames.DENSE, count=1)
        yield "level above s", replace(one_entry, payload=frame.payload[:norms] + high), Refusal.CODE


def _int8(**options: Any) -> Row:
    one = Int8(**options)

    def loss(x: np.ndarray) -> float:
        return min(one.bucket, x.size) / 254**2

    if one.rounding == "stochastic":
        return Row(one, unbiased=True, loss=loss, sense="mean", faults=_int8_faults)
    return Row(one, loss=loss, again="exactly", faults=_int8_faults)


def _int8_faults(row: Row, frame: Frame) -> Faults:
    yield from _scale_faults(frame)
    yield from _count_faults(frame)
    for value in (math.nan, math.inf, -1.0, -0.0):
        payload = np.array([value], "<f4").tobytes() + frame.payload[4:]
        yield f"norm {value}", replace(frame, payload=payload), Refusal.NORM
    yield "code -128", replace(frame, payload=frame.payload[:-1] + b"\x80"), Refusal.CODE
    yield "payload too short", replace(frame, payload=frame.payload[:-1]), Refusal.PAYLOAD
    yield "payload too long", replace(frame, payload=frame.payload + b"\0"), Refusal.PAYLOAD


def union_faults(frame: Frame) -> Faults:
    """Faults of a union of entries, the lossless reply of topk and dithering."""
    yield from _scale_faults(frame)
    for value in (math.nan, math.inf):
        yield f"value {value}", _with_values(frame, value, 0), Refusal.VALUE
    yield from _count_faults(frame, None)
    yield from _stream_faults(frame, 0, len(frame.payload) - 4 * frame.count)


ROWS = [
    Row(Onebit(), again="exactly", faults=_onebit_faults),
    Row(Onebit(scaling=True), loss=_onebit_loss, sense="equal", again="nearly", faults=_onebit_faults),
    _topk(k=0.1),
    _topk(k=5),
    _topk(k=0.3, half=True),
    _topk(k=10**9),
    _topk(k=10**9, half=True),
    _topk(k=0.3, bfloat16=True),
    _randomk(k=0.25),
    _randomk(k=7, seed=2**32 - 1),
    _randomk(k=0.5, seed=3, half=True),
    _randomk(k=0.5, seed=3, bfloat16=True),
    _dithering(k=1, normalize="l2"),
    _dithering(k=2),
    _dithering(k=4, lattice=1 / 4, seed=9),
    _dithering(k=127, bucket=512),
    _dithering(k=5, normalize="l2", bucket=1000),
    _dithering(k=2**20),
    _dithering(k=4, partition="natural", normalize="l2", bucket=512, seed=1),
    _dithering(k=8, partition="natural", lattice=1 / 128),
    _dithering(k=30, partition="natural"),
    _dithering(k=2, normalize="l2", bucket=512, reply="encoded"),
    _dithering(k=4, partition="natural", seed=2, reply="encoded"),
    _dithering(k=1, bucket=128, rounding="nearest", reply="encoded"),
    _dithering(k=3, rounding="nearest"),
    _dithering(k=6, partition="natural", bucket=64, rounding="nearest", lattice=1 / 32),
    Row(Identity()),
    Row(Identity(half=True), again="exactly", faults=_value_faults),
    Row(Identity(bfloat16=True), again="exactly", faults=_value_faults),
    _int8(),
    _int8(bucket=100, rounding="stochastic", seed=7),
]

# Lengths and values

LENGTHS = (1, 7, 8, 31, 32, 33, 63, 64, 65, 1023, 4096, 4097)
LONG = (65535, 65536, 65537)  # around a multiple of all blocks, and the end of 16 bits
LONGEST = 1024001  # just above BytePS's default partition


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


MAX = float(np.finfo(np.float32).max)
# values at the ends of float32's range: what is decoded of them is finite, or the step is not
EXTREMES: Dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "largest": lambda rng, d: MAX * rng.choice([-1, 1], d),
    "one of the largest": lambda rng, d: np.where(np.arange(d) == d // 2, -MAX, rng.standard_normal(d)),
    "just below the limit of float16": lambda rng, d: np.where(np.arange(d) % 7 == 0, 4094.99 * 2.0**116, 1e38),
    "the limit of float16": lambda rng, d: np.where(np.arange(d) % 7 == 0, 4095 * 2.0**116, 1e38),
    "just below the limit of bfloat16": lambda rng, d: np.where(np.arange(d) % 7 == 0, 510.99 * 2.0**119, 1e38),
    "the limit of bfloat16": lambda rng, d: np.where(np.arange(d) % 7 == 0, 511 * 2.0**119, 1e38),
    "half of the largest": lambda rng, d: MAX / 2 * rng.choice([-1, 1], d) * rng.uniform(0.99, 1, d),
    "smallest": lambda rng, d: 2.0**-149 * rng.choice([-1, 0, 1], d),
    "around the smallest normal": lambda rng, d: 2.0**-126 * rng.uniform(-2, 2, d),
    "both ends": lambda rng, d: np.where(rng.random(d) < 0.5, MAX, 2.0**-149) * rng.choice([-1, 1], d),
    "zeros": lambda rng, d: np.where(rng.random(d) < 0.5, 0.0, -0.0),
}


def extremes(values: str, d: int, workers: int, step: int = 0) -> List[np.ndarray]:
    """The workers' gradients of one step, of EXTREMES; the same for the same arguments."""
    rng = np.random.default_rng([d, workers, step, list(EXTREMES).index(values)])
    return [EXTREMES[values](rng, d).astype(np.float32) for _ in range(workers)]


def gradients(values: str, d: int, workers: int, step: int = 0, dtype: str = "float32") -> List[np.ndarray]:
    """The workers' gradients of one step; the same for the same arguments."""
    found = []
    for worker in range(workers):
        rng = np.random.default_rng([d, worker, step, list(VALUES).index(values)])
        with np.errstate(over="ignore"):
            found.append(VALUES[values](rng, d).astype(np.float32).astype(dtype))
    return found


# Frames that are refused, whatever the codec: name, how to make it of a good one, the code

FIELDS = [
    ("codec", {"codec": 9}, Refusal.CODEC),
    ("dtype", {"dtype": 1}, Refusal.DTYPE),
    ("another dtype", {"dtype": 2}, Refusal.DTYPE),
    ("d", {"d": 10**6}, Refusal.ELEMENTS),
    ("d + 1", {"d": 301}, Refusal.ELEMENTS),
    ("workers", {"workers": 3}, Refusal.WORKERS),
    ("digest", {"digest": 1}, Refusal.OPTIONS),
    ("unknown flag", {"flags": 256}, Refusal.UNKNOWN_FLAGS),
    ("ERROR with entries", {"flags": frames.ERROR}, Refusal.ERROR),
    ("NONFINITE with entries", {"flags": frames.NONFINITE}, Refusal.NONFINITE),
    ("eta nan", {"eta": math.nan}, Refusal.INVALID_ETA),
    ("eta inf", {"eta": math.inf}, Refusal.INVALID_ETA),
    ("eta negative", {"eta": -0.5}, Refusal.INVALID_ETA),
    ("eta -0", {"eta": -0.0}, Refusal.INVALID_ETA),
    ("scale nan", {"scale": math.nan}, Refusal.INVALID_SCALE),
    ("scale inf", {"scale": math.inf}, Refusal.INVALID_SCALE),
    ("scale negative", {"scale": -1.0}, Refusal.INVALID_SCALE),
    ("scale -0", {"scale": -0.0}, Refusal.INVALID_SCALE),
]
EMPTY = {"count": 0, "scale": 0.0, "payload": b""}
PUSH_FIELDS = [
    ("unknown worker", {"worker": 7}, Refusal.WORKER),
    ("the server's", {"worker": frames.SERVER}, Refusal.WORKER),
    ("second push", {"worker": 0}, Refusal.SECOND),
    ("another eta", {"eta": 0.25}, Refusal.ETA),
    ("another step", {"step": 10**6}, Refusal.STEP),
    ("served step", {"step": 0}, Refusal.COMPLETE),
    ("last step", {"step": 2**32 - 1}, Refusal.COMPLETE),
    ("another stream", {"stream": 77}, Refusal.STREAM),
    ("REPLY", {"flags": frames.REPLY}, Refusal.FLAGS),
    ("an ERROR", {"flags": frames.ERROR | frames.REPLY, **EMPTY}, Refusal.FLAGS),
    ("SKIPPED alone", {"flags": frames.SKIPPED}, Refusal.SKIPPED),
    ("RESET alone", {"flags": frames.RESET}, Refusal.RESET),
]
REPLY_FIELDS = [
    ("a worker's", {"worker": 0}, Refusal.WORKER),
    ("another eta", {"eta": 0.25}, Refusal.ETA),
    ("another step", {"step": 10**6}, Refusal.STEP),
    ("another stream", {"stream": 77}, Refusal.STREAM),
    ("SKIPPED", {"flags": frames.SKIPPED}, Refusal.FLAGS),
    ("RESET", {"flags": frames.RESET}, Refusal.FLAGS),
]


# where a header's fields stand, and numbers that are extreme as integers or as float32
HEADER_FIELDS = [(3, 1), (4, 1), (5, 1), (6, 2), (8, 4), (12, 4), (16, 4), (20, 2), (22, 2), (24, 4), (28, 4), (32, 4)]
HEADER_FIELDS += [(36, 4)] * 3 + [(12, 4)] * 2
NUMBERS = [0, 1, 2, 16, 32, 64, 0xFFFF, 0x80000000, 0xFFFFFFFF, 0x7F800000, 0x7FC00000, 0x7F7FFFFF, 0x7F000000]
NUMBERS += [0x78000000, 0x78800000, 0x00800000, 0x00400000, 0x3F800000, 0x3F000000]


def wrong_fields(good: Frame, fields: Sequence[tuple]) -> Faults:
    """Frames with one wrong field; flags are added to those that the frame has."""
    for name, changed, code in fields:
        changed = dict(changed)
        added = changed.get("flags", 0)
        changed["flags"] = added if added == frames.ERROR | frames.REPLY else good.flags | added
        yield name, replace(good, **changed), code


def packed(one: Union[bytes, Frame]) -> bytes:
    """The bytes of a wrong frame."""
    return one if isinstance(one, bytes) else one.pack()


def wrong_bytes(data: bytes) -> Iterator[Tuple[str, bytes, Refusal]]:
    """Frames with wrong bytes."""
    yield "nothing", b"", Refusal.SHORT
    yield "half a header", data[:24], Refusal.SHORT
    yield "cut", data[:-1], Refusal.LENGTH
    yield "a byte more", data + b"\0", Refusal.LENGTH
    yield "magic", b"XGC" + data[3:], Refusal.MAGIC
    yield "version", data[:3] + b"\2" + data[4:], Refusal.VERSION
    yield "CRC", data[:44] + bytes([data[44] ^ 1]) + data[45:], Refusal.CHECKSUM
    yield "a flipped bit", data[:-1] + bytes([data[-1] ^ 1]), Refusal.CHECKSUM


def mutated(rng: np.random.Generator, good: bytes) -> bytes:
    """A frame with one to three random changes to fields, payload or length; its checksum is mostly right."""
    data = bytearray(good)
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(8)
        if kind < 3:
            at, size = HEADER_FIELDS[rng.integers(len(HEADER_FIELDS))]
            old = int.from_bytes(data[at : at + size], "little")
            new = (old + int(rng.integers(-2, 3)), int(rng.choice(NUMBERS)), old ^ 1 << int(rng.integers(8 * size)))[
                kind
            ]
            data[at : at + size] = (new & (1 << 8 * size) - 1).to_bytes(size, "little")
        elif kind < 6 and len(data) > frames.SIZE:
            at = int(rng.integers(frames.SIZE, len(data)))
            data[at] = (data[at] ^ 1 << int(rng.integers(8)), 0xFF, 0)[kind - 3]
        elif kind == 6:
            del data[len(data) - int(rng.integers(1, 9)) :]
        else:
            data += bytes([0, 0xFF][rng.integers(2)] for _ in range(rng.integers(1, 9)))
    if len(data) < frames.SIZE:
        return bytes(data)
    if rng.integers(16):
        data[40:44] = (len(data) - frames.SIZE).to_bytes(4, "little")
    if rng.integers(16):
        data[44:48] = crc32c(bytes(data[frames.SIZE :]), crc32c(bytes(data[:44]))).to_bytes(4, "little")
    return bytes(data)


def refused(action: Callable[[], Any]) -> Optional[FrameError]:
    """The error with which a frame is refused, or None."""
    try:
        action()
    except FrameError as error:
        return error
    return None
