"""The pieces of the NumPy twins: random numbers, checksums, sums, codes, values, frames."""

from dataclasses import replace
import math

from byteps_gc.compressors import frame as frames
from byteps_gc.compressors.coding import (
    BitReader,
    read_codes,
    read_numbers,
    rice_parameter,
    write_codes,
    write_numbers,
)
from byteps_gc.compressors.crc32c import crc32c
from byteps_gc.compressors.dithering import Dithering
from byteps_gc.compressors.frame import Frame
from byteps_gc.compressors.onebit import Onebit
from byteps_gc.compressors.options import option_texts
from byteps_gc.compressors.ordered_sums import s1, s2
from byteps_gc.compressors.partition import Partition, options_digest
from byteps_gc.compressors.random import Draw, stream_number, words
from byteps_gc.compressors.randomk import RandomK
from byteps_gc.compressors.refusals import FrameError, Refusal
from byteps_gc.compressors.sparse_entries import Entries, union
from byteps_gc.compressors.topk import TopK
from byteps_gc.compressors.values import is_unit, read_values, write_values
from byteps_gc.compressors.wrappers import ErrorFeedback, Momentum
from byteps_gc.errors import CompressionError
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    "key, counter, expected",
    [
        ((0, 0), (0, 0, 0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((ONES, ONES), (ONES, ONES, ONES, ONES), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            (0xA4093822, 0x299F31D0),
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(key, counter, expected):
    n, *others = counter
    found = words(*key, np.array([n, 5]), *others)
    assert found.dtype == np.uint32 and found.shape == (2, 4)
    assert " ".join(f"{word:08x}" for word in found[0]) == expected


def test_crc32c():
    assert crc32c(b"") == 0
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"56789", crc32c(b"1234")) == 0xE3069283


def test_streams_of_partitions_differ():
    assert stream_number("a", 0) == crc32c(b"a")
    assert len({stream_number(name, index) for name in "ab" for index in range(100)}) == 200


def lanes(values, add):
    """The sums of docs/wire_format.md, one element at a time."""
    total = 0.0
    for begin in range(0, len(values), 4096):
        sums = [add(0)] * 32
        for at, value in enumerate(values[begin : begin + 4096]):
            sums[at % 32] = add(sums[at % 32] + add(value))
        doubles = [float(one) for one in sums]
        for half in (16, 8, 4, 2, 1):
            for j in range(half):
                doubles[j] += doubles[j + half]
        total += doubles[0]
    return total


@pytest.mark.parametrize("d", [1, 31, 32, 33, 4095, 4096, 4097, 9000])
def test_sums_add_in_the_order_of_the_document(d):
    x = (np.random.default_rng(d).standard_normal(d) * 1e3).astype(np.float32)
    assert s1(x) == lanes(np.abs(x), np.float32)
    assert s2(x) == lanes(x.astype(np.float64) ** 2, np.float64)


def test_a_sum_that_overflows_float32_is_added_again_in_double():
    x = np.full(9000, 3e38, np.float32)
    assert s1(x) == pytest.approx(9000 * float(x[0]))
    x[5000] = np.inf
    assert s1(x) == math.inf
    x[5000] = np.nan
    assert math.isnan(s1(x))


def test_rice_parameter():
    assert rice_parameter(10**6, 1000) == 9  # k = 0.1 %
    assert rice_parameter(10, 0) == rice_parameter(10, 10) == 0


entry_lists = st.integers(1, 5000).flatmap(
    lambda d: st.tuples(st.just(d), st.sets(st.integers(0, d - 1), max_size=60), st.integers(0, 2**20))
)


@given(entry_lists)
@settings(max_examples=200, deadline=None)
def test_codes_read_back(drawn):
    d, chosen, most = drawn
    indices = np.array(sorted(chosen), np.int64)
    rng = np.random.default_rng(d)
    signs = rng.random(indices.size) < 0.5 if most else None
    levels = rng.integers(1, most + 1, indices.size) if most > 1 else None
    data, length = write_codes(indices, d, signs, levels)
    assert len(data) == (length + 31) // 32 * 4
    found = read_codes(data, d, indices.size, most)
    assert np.array_equal(found[0], indices)
    assert signs is None or np.array_equal(found[1], signs)
    assert levels is None or np.array_equal(found[2], levels)


def test_the_bits_of_one_entry():
    # d = 100, one entry: t = 68, b = 6; gap 70: one zero, a one, 000110 (low bit first); then the sign, and 5 as gamma
    data, length = write_codes(np.array([70]), 100, np.array([True]), np.array([5]))
    assert rice_parameter(100, 1) == 6
    written = "".join(str(bit) for bit in np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little"))
    assert written == "01" + "011000" + "1" + "001" + "10" + "0" * 18
    assert length == 14


def test_many_codes_are_read_as_they_were_written():
    indices, levels = np.arange(100000) * 99, np.arange(100000) % 1000 + 1
    data, _ = write_codes(indices, 10**7, indices % 2 == 0, levels)
    found = read_codes(data, 10**7, indices.size, 1000)
    for one, wanted in zip(found, (indices, indices % 2 == 0, levels)):
        assert np.array_equal(one, wanted)


def refused(action):
    """The code with which something is refused."""
    with pytest.raises(FrameError) as found:
        action()
    return found.value.code


def test_a_reader_stays_in_its_stream():
    reader = BitReader(bytes(8) + b"\1\0\0\0")
    assert reader.zeros() == 64
    assert reader.number(31) == 0
    for action in (reader.zeros, lambda: reader.number(1)):
        assert refused(action) == Refusal.CODE
    assert refused(lambda: BitReader(b"123")) == Refusal.PAYLOAD


def test_numbers_read_back():
    numbers = np.arange(50) % 7
    data = write_numbers(numbers, 3)
    assert len(data) == 20
    for stream, padded in ((data, True), (data[:-1] + b"\x80", False)):
        found = read_numbers(stream, 50, 3)
        assert np.array_equal(found[0], numbers) and found[1] == padded
    assert refused(lambda: read_numbers(data, 60, 3)) == Refusal.PAYLOAD


@pytest.mark.parametrize("largest", [1.4e-45, 1e-38, 1e-30, 0.7, 1.0, 1.99999, 65520, 3.4e38, 3.4019e38])
def test_half_values_use_the_range_of_float16(largest):
    values = np.array([largest, -largest / 3, 0], np.float32)
    payload, scale, flags = write_values(values, frames.HALF)
    assert flags == frames.HALF and math.frexp(scale)[0] == 0.5
    found = read_values(payload, 3, scale, frames.HALF)
    assert np.allclose(found, values, rtol=2**-11, atol=0)
    assert largest < 2.0**-111 or 2**14 <= np.frombuffer(payload, "<f2")[0] <= 2**15
    assert write_values(np.zeros(2, np.float32), frames.HALF) == (bytes(4), 1.0, frames.HALF)


def test_the_limits_of_half_values():
    limit = np.float32(4095 * 2.0**116)
    below = np.nextafter(limit, np.float32(0))
    payload, scale, _ = write_values(np.array([below], np.float32), frames.HALF)
    assert scale == 2.0**113 and read_values(payload, 1, scale, frames.HALF) == np.float32(2047 * 2.0**117)
    assert write_values(np.array([-limit], np.float32), frames.HALF) is None
    assert write_values(np.array([np.nan], np.float32), frames.HALF) is None
    assert write_values(np.array([limit], np.float32), 0)[1:] == (1.0, 0)
    assert [exponent for exponent in range(-149, 128) if is_unit(2.0**exponent)] == list(range(-126, 114))
    assert not is_unit(0.0) and not is_unit(3.0)
    assert refused(lambda: read_values(np.array([2.0**15], "<f2").tobytes(), 1, 2.0**113, frames.HALF)) == Refusal.VALUE


@pytest.mark.parametrize("sign", [1, -1])
def test_bfloat16_is_the_nearest_value_of_two_the_even_one(sign):
    rng = np.random.default_rng(7)
    bits = np.concatenate(
        [rng.integers(0, 0x7F7F8000, 20000), np.arange(0, 0x7F7F0000, 0x8000), [1, 0x7FFF, 0x7F7F7FFF]]
    )
    values = sign * bits.astype(np.uint32).view(np.float32)
    payload, scale, flags = write_values(values, frames.BFLOAT16)
    assert (scale, flags, len(payload)) == (1.0, frames.BFLOAT16, 2 * values.size)
    below = values.view(np.uint32) & np.uint32(0xFFFF0000)  # towards zero
    low, high = (
        below.view(np.float32).astype(np.float64),
        (below + np.uint32(0x10000)).view(np.float32).astype(np.float64),
    )
    up = np.abs(values - low) > np.abs(high - values)
    even = (np.abs(values - low) == np.abs(high - values)) & (below >> np.uint32(16) & np.uint32(1) == 1)
    expected = np.where(up | even, high, low).astype(np.float32)
    assert read_values(payload, values.size, 1.0, frames.BFLOAT16).tobytes() == expected.tobytes()


def test_the_limits_of_bfloat16_values():
    limit = np.float32(511 * 2.0**119)
    assert write_values(np.array([np.nextafter(limit, np.float32(0))], np.float32), frames.BFLOAT16) is not None
    for wrong in (limit, -limit, np.inf, np.nan):
        assert write_values(np.array([wrong], np.float32), frames.BFLOAT16) is None
    assert refused(lambda: read_values(b"\x80\x7f", 1, 1.0, frames.BFLOAT16)) == Refusal.VALUE


def test_a_union_adds_in_order_and_keeps_a_single_minus_zero():
    def entries(indices, values):
        return Entries(np.array(indices), np.array(values, np.float32))

    total = union([entries([1, 4], [1e8, -0.0]), entries([1, 2], [1, 5]), entries([1], [-1e8])])
    assert total.indices.tolist() == [1, 2, 4]
    assert total.values.tobytes() == np.array([0, 5, -0.0], np.float32).tobytes()


FRAME = Frame(1, 0, 0, 8, 8, 3, 1, 2, 5, 6, 0.5, 1.0, b"\x0f")


def test_the_layout_of_a_frame():
    data = FRAME.pack()
    assert data[:44].hex() == (
        "42474301010000000800000008000000030000000100020005000000060000000000003f0000803f01000000"
    )
    assert int.from_bytes(data[44:48], "little") == crc32c(data[:44] + data[48:])
    assert data[48:] == b"\x0f"
    assert Frame.unpack(data) == FRAME


@pytest.mark.parametrize(
    "changed, code",
    [
        ({"flags": 256}, Refusal.UNKNOWN_FLAGS),
        ({"eta": math.nan}, Refusal.INVALID_ETA),
        ({"scale": -1.0}, Refusal.INVALID_SCALE),
        ({"scale": -1.0, "eta": -0.0, "flags": 256}, Refusal.UNKNOWN_FLAGS),
        ({"flags": frames.NONFINITE}, Refusal.NONFINITE),
        ({"flags": frames.NONFINITE | frames.ERROR}, Refusal.NONFINITE),
        ({"flags": frames.ERROR, "count": 0, "scale": 0.0}, Refusal.ERROR),
        ({"flags": frames.ERROR | frames.REPLY | frames.SKIPPED, "count": 0, "scale": 0.0}, Refusal.ERROR),
    ],
)
def test_a_frame_that_no_partition_has(changed, code):
    assert refused(lambda: Frame.unpack(replace(FRAME, **changed).pack())) == code


def test_the_digest_covers_all_options():
    texts = option_texts(TopK(k=0.001), 0.9, True)
    assert texts == {"codec": "topk", "ef": "vanilla", "half": "false", "k": "0.001", "mu": "0.9", "version": "1"}
    assert options_digest(texts) == crc32c(b"codec=topk;ef=vanilla;half=false;k=0.001;mu=0.9;version=1;")
    assert option_texts(TopK(k=5), None, False)["k"] == "5"


def test_which_partitions_travel_raw():
    assert Partition(Onebit(), 64, "float32", 1).raw is False  # 48 + 8 <= 256 - 128
    assert Partition(Onebit(), 32, "float32", 1).raw is True  # 48 + 4 > 128 - 128
    assert Partition(Onebit(), 65, "float32", 1).registered == 384
    for registered in (256, 300, 512):
        with pytest.raises(CompressionError, match="registered"):
            Partition(Onebit(), 65, "float32", 1, registered=registered)


@pytest.mark.parametrize("k, count", [(0.001, 1), (0.0149, 1), (0.015, 2), (0.999, 100), (1, 1), (99, 99), (101, 100)])
def test_the_number_of_entries(k, count):
    assert TopK(k=k).count(100) == RandomK(k=k).count(100) == count


def test_topk_takes_the_lower_of_equal_magnitudes():
    x = np.array([1, -2, 2, 0, -2, 3], np.float32)
    found = TopK(k=3).encode(x, Draw(), True)
    assert TopK(k=3).entries(found, 6, Draw()).indices.tolist() == [1, 2, 5]


def test_randomk_draws_every_subset_alike():
    one = RandomK(k=2, seed=1)
    counts = {}
    for step in range(3000):
        chosen = tuple(one.indices(4, Draw(7, step, worker=step % 3)))
        counts[chosen] = counts.get(chosen, 0) + 1
    assert len(counts) == 6
    assert all(abs(count - 500) < 5 * math.sqrt(500 * 5 / 6) for count in counts.values())


def test_randomk_follows_floyd_with_64_bit_numbers():
    d, k, draw = 1000, 601, Draw(3, 11)
    drawn = words(5, 3, np.arange(301), 11, 0, 1).reshape(-1, 2).tolist()
    chosen = set()
    for t in range(k):
        j = d - k + t
        r = (drawn[t][0] + (drawn[t][1] << 32)) * (j + 1) >> 64
        chosen.add(j if r in chosen else r)
    assert RandomK(k=k, seed=5).indices(d, draw).tolist() == sorted(chosen)


@pytest.mark.parametrize("partition", ["linear", "natural"])
def test_dithering_follows_the_document_one_element_at_a_time(partition):
    one, d, f = Dithering(k=3, partition=partition, bucket=512, seed=4), 700, np.float32
    x = np.random.default_rng(1).standard_normal(d).astype(f)
    draw = Draw(2, 9, 1)
    bytes_, lower = words(4, 2, np.arange(44), 9, 1, 2).tolist(), words(4, 2, np.arange(175), 9, 1, 3).tolist()
    expected = []
    for i in range(d):
        norm = np.abs(x[i // 512 * 512 : i // 512 * 512 + 512]).max()
        y = abs(x[i]) / norm
        if partition == "linear":
            level = math.floor(y * f(3))
            fraction = y * f(3) - f(level)
        elif y >= f(0.25):
            exponent = math.floor(math.log2(y))
            level, fraction = 3 + exponent, y * f(2.0**-exponent) - f(1)
        else:
            level, fraction = 0, y * f(4)
        upper = bytes_[i // 16][i % 16 // 4] >> 8 * (i % 4) & 255
        level += (upper << 23 | lower[i // 4][i % 4] >> 9) < int(fraction * f(2.0**31))
        value = f(level) * (norm / f(3)) if partition == "linear" else norm * f(2.0 ** (level - 3)) * (level > 0)
        expected.append(math.copysign(value, x[i]) if level else 0)
    encoded = one.encode(x, draw, False)
    assert encoded.scale == 1
    assert np.array_equal(one.decode(encoded, d, draw), np.array(expected, f))


def test_the_factor_of_dithering_with_error_feedback():
    assert Dithering(k=10).alpha(100) == np.float32(1 / (1 + min(100 / 400, 1)))
    assert Dithering(k=1, bucket=512).alpha(100) == np.float32(1 / (1 + math.sqrt(512)))
    assert Dithering(k=3, partition="natural").alpha(64) == np.float32(1 / (1 + 1 / 8 + min(64 / 64, 8 / 4)))


def test_dithering_takes_the_shorter_coding():
    draw = Draw()
    few = Dithering(k=4).encode(np.eye(1, 1000, 7, np.float32)[0], draw, False)
    many = Dithering(k=4).encode(np.linspace(0.5, 1, 1000, dtype=np.float32), draw, False)
    assert (few.flags, many.flags) == (0, frames.DENSE)
    assert len(few.payload) < 12 and len(many.payload) == 4 + 500


def test_wrappers_take_a_step_back_once():
    momentum, feedback = Momentum(0.9, 2), ErrorFeedback(2)
    one = np.array([1, -2], np.float32)
    assert np.array_equal(momentum.apply(one), one + np.float32(0.9) * one)
    before = momentum.m.copy()
    momentum.apply(one)
    for _ in range(2):
        momentum.take_back()
        assert np.array_equal(momentum.m, before)
    eta = np.float32(0.5)
    assert np.array_equal(feedback.apply(one, eta), one)
    feedback.keep(one, one / 2, eta)
    assert np.array_equal(feedback.apply(one, eta / 2), one + 2 * (one / 2))
    assert feedback.apply(one, np.float32(0)) is one
    feedback.keep(one, one, np.float32(0))
    assert np.array_equal(feedback.e, one / 2) and feedback.eta == eta
    feedback.take_back()
    assert np.array_equal(feedback.e, one / 2)
