"""dithering: quantization to few levels, by stochastic or nearest rounding, entropy coded."""

from dataclasses import dataclass
import math
from typing import ClassVar, Optional, Tuple

from byteps_gc.compressors.base import Compressor, Examples, option
from byteps_gc.compressors.coding import read_codes, read_numbers, write_codes, write_numbers
from byteps_gc.compressors.frame import DENSE, REPLY
from byteps_gc.compressors.ordered_sums import s2
from byteps_gc.compressors.random import Draw
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.registry import register
from byteps_gc.compressors.sparse_entries import Encoded, Entries, check_count
from byteps_gc.compressors.values import finite
from byteps_gc.errors import CompressionError
import numpy as np

BYTE_DOMAIN, WORD_DOMAIN = 2, 3
NATURAL_MOST = 30
BUCKET_LEAST = 64
HALF = 2**30  # of 2**31


@register
@dataclass(frozen=True)
class Dithering(Compressor):
    """Rounding of x / ||x|| to levels, by default unbiased (Alistarh et al., arXiv 1610.02132).

    ``partition`` "linear" has k levels at equal distances, "natural" k levels at
    powers of two (Horvath et al., arXiv 1905.10988); ``normalize`` chooses the
    norm, which is that of the partition or, with ``bucket``, of every ``bucket`` elements.
    ``rounding`` "nearest" takes the nearest level instead of a random one of the two next to x. It is biased, and
    loses much less: with k=1, error feedback and buckets this is ternary quantization of about one bit.
    ``reply`` "encoded": the server quantizes the sum, too (bidirectional compression).
    With error feedback and stochastic rounding all values are multiplied by 1 / (1 + omega), omega being a bound
    of E||Q(x) - x||^2 / ||x||^2, which makes C a contraction in expectation. Nearest rounding with the max norm is
    one as it is: the largest element of a bucket is exact.

    >>> Dithering(k=1, bucket=128, rounding="nearest", reply="encoded").options()  # doctest: +NORMALIZE_WHITESPACE
    {'k': 1, 'partition': 'linear', 'normalize': 'max', 'bucket': 128, 'rounding': 'nearest', 'seed': 0,
     'reply': 'encoded'}
    """

    name: ClassVar[str] = "dithering"
    codec: ClassVar[int] = 4
    optional_flags: ClassVar[int] = DENSE
    examples: ClassVar[Examples] = (
        {"k": 2, "partition": "linear", "normalize": "l2"},
        {"k": 2, "partition": "linear", "normalize": "l2", "bucket": 512},
        {"k": 4, "partition": "natural", "normalize": "max"},
        {"k": 16, "partition": "linear", "normalize": "l2", "bucket": 512, "reply": "encoded"},
        {"k": 1, "partition": "linear", "normalize": "max", "bucket": 128, "rounding": "nearest", "reply": "encoded"},
    )
    k: int = option(int, "number of levels", least=1, most=2**20)
    partition: str = option(str, "spacing of the levels", default="linear", choices=("linear", "natural"))
    normalize: str = option(str, "norm that scales the levels", default="max", choices=("max", "l2"))
    bucket: int = option(
        int, "number of elements that share a norm, 64 to 8192, or 0 for all", default=0, least=0, most=8192
    )
    rounding: str = option(
        str, "how to round to a level", default="stochastic", choices=("stochastic", "nearest"), later=True
    )
    seed: int = option(int, "seed for the rounding", default=0, least=0, most=2**32 - 1)
    reply: str = option(
        str,
        "how servers send the sum: lossless, or encoded like a push",
        default="lossless",
        choices=("lossless", "encoded"),
    )

    @property
    def lossless_reply(self) -> bool:
        return self.reply == "lossless"

    def check(self) -> None:
        if self.partition == "natural" and self.k > NATURAL_MOST:
            raise CompressionError(f"dithering: k={self.k} is not at most {NATURAL_MOST}, as partition=natural needs")
        if 0 < self.bucket < BUCKET_LEAST:
            raise CompressionError(f"dithering: bucket={self.bucket} is neither 0 nor an integer from 64 to 8192")
        if self.rounding == "nearest" and self.normalize != "max":
            raise CompressionError(
                "dithering: rounding=nearest needs normalize=max: an l2 norm is too large to round to"
            )

    def advice(self, feedback: bool) -> str:
        if feedback or self.lossless_reply and self.rounding == "stochastic":
            return ""
        if self.rounding == "nearest":
            return "dithering with rounding=nearest without error feedback is biased; use ef=vanilla"
        return "dithering with reply=encoded without error feedback rounds twice and may diverge; use ef=vanilla"

    def size(self, d: int) -> int:
        """The number of elements of a bucket."""
        return self.bucket or d

    def has_scale(self, scale: float, flags: int, d: int, feedback: bool) -> bool:
        encoded = not (flags & REPLY and self.lossless_reply)
        return scale == (self.alpha(d) if feedback and encoded else 1)

    def max_payload(self, d: int) -> int:
        return 4 * -(-d // self.size(d)) + 4 * ((d * (2 * self.k).bit_length() + 31) // 32)

    def alpha(self, d: int) -> float:
        """What the values are multiplied by with error feedback."""
        n, s = self.size(d), self.k
        if self.rounding == "nearest":
            return 1.0
        if self.partition == "linear":
            omega = min(n / (4 * s * s), math.sqrt(n) / s)
        else:
            omega = 1 / 8 + min(n * 4.0 ** (1 - s) / 4, math.sqrt(n) * 2.0 ** (1 - s))
        return float(np.float32(1 / (1 + omega)))

    def encode(self, p: np.ndarray, draw: Draw, feedback: bool) -> Optional[Encoded]:
        d, s = p.size, self.k
        alpha = self.alpha(d) if feedback else 1.0
        norms = self._norms(p)
        if not np.isfinite(norms).all():
            return None
        levels = self._levels(p, np.repeat(norms, self.size(d))[:d], draw)
        indices = np.flatnonzero(levels)
        signs, entries = p[indices] < 0, levels[indices]
        if not np.isfinite(self._values(indices, signs, entries, norms, alpha, d)).all():
            return None
        stream, bits = write_codes(indices, d, signs, entries if s > 1 else None)
        width, flags = (2 * s).bit_length(), 0
        if d * width < bits:
            stream, flags = write_numbers(np.where(levels > 0, 2 * levels - 1 + (p < 0), 0), width), DENSE
        return Encoded(indices.size, norms.astype("<f4").tobytes() + stream, alpha, flags)

    def entries(self, encoded: Encoded, d: int, draw: Draw) -> Entries:
        check_count(encoded, 0, d)
        norms, stream = self._split(encoded.payload, d)
        if encoded.flags & DENSE:
            codes, padded = read_numbers(stream, d, (2 * self.k).bit_length())
            if codes.max() > 2 * self.k:
                raise FrameError(Refusal.CODE)
            indices = np.flatnonzero(codes)
            if indices.size != encoded.count:
                raise FrameError(Refusal.ENTRIES, f"{indices.size} instead of {encoded.count}")
            if not padded:
                raise FrameError(Refusal.PADDING)
            signs, levels = codes[indices] & 1 == 0, (codes[indices] + 1) >> 1
        else:
            indices, signs, levels = read_codes(stream, d, encoded.count, self.k)
        return Entries(indices, finite(self._values(indices, signs, levels, norms, encoded.scale, d)))

    def _norms(self, p: np.ndarray) -> np.ndarray:
        """The norm of each bucket: float32[buckets]."""
        begins = range(0, p.size, self.size(p.size))
        if self.normalize == "max":
            return np.maximum.reduceat(np.abs(p), begins)
        roots = [math.sqrt(s2(p[begin : begin + self.size(p.size)])) for begin in begins]
        with np.errstate(over="ignore"):
            return np.array(roots).astype(np.float32)

    def _levels(self, p: np.ndarray, norm: np.ndarray, draw: Draw) -> np.ndarray:
        """The level of every element: int64[d]."""
        s, one = self.k, np.float32(1)
        y = np.divide(np.abs(p), norm, out=np.zeros_like(p), where=norm != 0)
        if self.partition == "linear":
            y = y * np.float32(s)
            level = np.floor(y)
            fraction = y - level
        else:
            log = np.frexp(y)[1] - 1
            above = y >= np.float32(2.0 ** (1 - s))
            level = np.where(above, s + log, 0)
            fraction = np.where(above, np.ldexp(y, -log) - one, y * np.float32(2.0 ** (s - 1)))
        threshold = (fraction * np.float32(2.0**31)).astype(np.int64)
        up = threshold >= HALF if self.rounding == "nearest" else self._uniform(p.size, draw) < threshold
        return level.astype(np.int64) + up

    def _uniform(self, d: int, draw: Draw) -> np.ndarray:
        """A number of 31 bits for every element: int64[d]."""
        words = draw.own(self.seed, np.arange((d + 15) // 16), BYTE_DOMAIN)
        upper = words.astype("<u4").reshape(-1).view(np.uint8)[:d].astype(np.int64)
        lower = draw.own(self.seed, np.arange((d + 3) // 4), WORD_DOMAIN).reshape(-1)[:d].astype(np.int64) >> 9
        return upper << 23 | lower

    def _split(self, payload: bytes, d: int) -> Tuple[np.ndarray, bytes]:
        """The norms float32[buckets] of a payload, and the stream after them."""
        length = 4 * -(-d // self.size(d))
        if not length <= len(payload) <= self.max_payload(d) or len(payload) % 4:
            raise FrameError(Refusal.PAYLOAD, f"{len(payload)} bytes")
        norms = np.frombuffer(payload[:length], "<f4").astype(np.float32)
        if not np.isfinite(norms).all() or np.signbit(norms).any():
            raise FrameError(Refusal.NORM)
        return norms, payload[length:]

    def _values(
        self, indices: np.ndarray, signs: np.ndarray, levels: np.ndarray, norms: np.ndarray, alpha: float, d: int
    ) -> np.ndarray:
        """float32[count] of indices int64[count], signs bool[count] (True: negative) and levels int64[count]."""
        norm = norms[indices // self.size(d)]
        with np.errstate(over="ignore", invalid="ignore"):
            if self.partition == "linear":
                values = levels.astype(np.float32) * (norm / np.float32(self.k) * np.float32(alpha))
            else:
                values = norm * np.float32(alpha) * (2.0 ** (levels - self.k)).astype(np.float32)
        return np.where(signs, -values, values)
