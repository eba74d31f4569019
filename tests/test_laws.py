"""The laws that every compressor keeps in every implementation, and that all implementations give the same bytes.

The rows, lengths, values and wrong frames are in laws.py; one law is one test here.
"""

from dataclasses import replace
from functools import partial, reduce
from itertools import permutations
import math
import re

from byteps_gc import compressors
from byteps_gc.compressors import frame as frames
from byteps_gc.compressors.coding import rice_parameter
from byteps_gc.compressors.frame import Frame
from byteps_gc.compressors.identity import Identity
from byteps_gc.compressors.onebit import Onebit
from byteps_gc.compressors.partition import Partition
from byteps_gc.compressors.refusals import Refusal
from byteps_gc.compressors.topk import TopK
from byteps_gc.errors import CompressionError
import laws
from laws import REFERENCE, ROWS, Cluster, decoded, gradients, refused, same_states
import numpy as np
import pytest

from conftest import ROOT

IMPLEMENTATIONS = laws.implementations()
OTHERS = [one for one in IMPLEMENTATIONS if one is not REFERENCE]
D = 300

every_row = pytest.mark.parametrize("row", ROWS, ids=str)
every_implementation = pytest.mark.parametrize("implementation", IMPLEMENTATIONS, ids=lambda one: one.name)
other_implementations = pytest.mark.parametrize("implementation", OTHERS, ids=lambda one: one.name)
# for lengths of messages, because all implementations send the same bytes
FASTEST = next((one for one in IMPLEMENTATIONS if one.fast), REFERENCE)


def rows(wanted):
    """Parametrise over the rows that a law holds for."""
    return pytest.mark.parametrize("row", [row for row in ROWS if wanted(row)], ids=str)


def is_raw(row, d=D, dtype="float32"):
    return Partition(row.compressor, d, dtype, 1).raw


def framed(row):
    return not is_raw(row)


def answered_framed(row):
    """Whether the reply to two workers is a frame, too; a union may be longer than the partition."""
    if not framed(row):
        return False
    cluster = Cluster(REFERENCE, row.compressor, D, ef=True, workers=2)
    cluster.step(gradients("mostly zeros", D, 2, 0), 0.1)
    return len(cluster.reply) < 4 * D


def lossless(row):
    return framed(row) and row.compressor.lossless_reply


def encoded(row):
    return framed(row) and not row.compressor.lossless_reply


@pytest.mark.parametrize("name", compressors.known())
def test_every_compressor_has_a_row(name):
    assert name in {row.compressor.name for row in ROWS}, f"ROWS in tests/laws.py has no row of {name}"


# 1 Without error feedback: the mean of what is decoded is what was sent, and workers draw for themselves


def draws(implementation, row, x, steps, worker=0):
    """What a reader decodes of x in ``steps`` steps: float64[steps, d]."""
    one = implementation.Worker(row.compressor, x.size, worker=worker, workers=2, stream=3, **implementation.keywords)
    return np.array([decoded(row.compressor, bytes(one.compress(x, 0.1))) for _ in range(steps)], np.float64)


def assert_mean(found, x):
    """Five standard errors: with the coordinates of all rows together a false alarm has a chance below 1e-3."""
    error = np.abs(found.mean(axis=0) - x)
    allowed = 5 * found.std(axis=0) / math.sqrt(found.shape[0]) + 1e-6 * np.abs(x).max()
    assert (error <= allowed).all(), f"largest {np.max(error / allowed):.2f} of what is allowed"


@rows(lambda row: row.unbiased)
@every_implementation
def test_unbiased(implementation, row):
    values = np.random.default_rng(1).standard_normal(16).astype(np.float32)
    found = draws(implementation, row, np.tile(values, 256), 40).reshape(-1, 16)  # 10^4 draws of each value
    assert_mean(found, values)
    if implementation.fast:
        x = np.random.default_rng(2).standard_normal(64).astype(np.float32)
        assert_mean(draws(implementation, row, x, 2500), x)


@rows(lambda row: row.unbiased)
@every_implementation
def test_the_noise_of_two_workers(implementation, row):
    x = np.random.default_rng(3).standard_normal(4096).astype(np.float32)
    one, other = (draws(implementation, row, x, 5, worker).reshape(-1) - np.tile(x, 5) for worker in (0, 1))
    if row.shared:
        assert np.array_equal(one, other)
    elif one.any():
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(one.size)


# 2 With error feedback: a contraction


@rows(lambda row: row.loss and framed(row))
@every_implementation
def test_contraction(implementation, row):
    x = (np.random.default_rng(4).standard_normal(D) ** 3).astype(np.float32)
    worker = implementation.Worker(row.compressor, D, ef=True, **implementation.keywords)
    zeros = np.zeros(D, np.float32)
    losses = []
    for step in range(200 if row.sense == "mean" else 1):
        worker.load_state({"step": step, "eta": 0.1, "momentum": None, "residual": zeros})
        lost = decoded(row.compressor, bytes(worker.compress(x, 0.1))).astype(np.float64) - x
        losses.append(lost @ lost / (x.astype(np.float64) @ x))
    most = row.loss(x)
    assert most < 1, "error feedback does not converge"
    if row.sense == "equal":
        assert losses[0] == pytest.approx(most, rel=1e-5)
    else:
        assert np.mean(losses) <= most + 5 * np.std(losses) / math.sqrt(len(losses)) + 1e-6


# 3 Telescoping: the parameters and what is still to come are those of uncompressed Nesterov SGDM


def learning_rate(step, steps):
    """A warm-up from 0, then a cosine to 0."""
    if step < 20:
        return 0.1 * step / 20
    return max(0.05 * (1 + math.cos(math.pi * (step - 20) / (steps - 21))), 0.0)


@pytest.mark.parametrize("workers", [1, 2, 8])
@every_row
@every_implementation
def test_telescoping(implementation, row, workers):
    d, mu, steps = 128, np.float32(0.9), 200 if implementation.fast else 60
    cluster = Cluster(implementation, row.compressor, d, mu=0.9, ef=True, workers=workers)
    rng = np.random.default_rng(workers)
    x, free, m = np.zeros(d), np.zeros(d), np.zeros(d)
    for step in range(steps):
        eta = np.float32(learning_rate(step, steps))
        gs = rng.standard_normal((workers, d)).astype(np.float32)
        x -= float(eta) / workers * cluster.step(gs, eta).astype(np.float64)
        g = gs.mean(axis=0, dtype=np.float64)
        m = mu * m + g
        free -= float(eta) * (g + mu * m)
        if step % 20 == 19:
            states = [state for state in cluster.states() if state.get("residual") is not None]
            owed = sum(state["eta"] * state["residual"].astype(np.float64) for state in states) / workers
            assert np.linalg.norm(x - owed - free) <= 1e-5 * np.linalg.norm(free), f"step {step}"


# 5 Compressing again changes nothing


@rows(lambda row: row.again)
@every_implementation
def test_again(implementation, row):
    x = np.random.default_rng(5).standard_normal(1000).astype(np.float32)
    worker = implementation.Worker(row.compressor, x.size, **implementation.keywords)
    once = decoded(row.compressor, bytes(worker.compress(x, 0.1)))
    twice = decoded(row.compressor, bytes(worker.compress(once, 0.1)))
    assert np.allclose(once, twice, rtol=1e-6, atol=0) if row.again == "nearly" else np.array_equal(once, twice)


@rows(lambda row: row.lattice)
@every_implementation
def test_lattice_points_stay(implementation, row):
    rng = np.random.default_rng(6)
    powers = row.compressor.partition == "natural"
    level = 2.0 ** rng.integers(0, row.compressor.k, D) if powers else rng.integers(0, row.compressor.k + 1, D)
    x = (level * row.lattice * rng.choice([-1, 1], D)).astype(np.float32)
    x[D // 2] = 1
    assert np.array_equal(draws(implementation, row, x, 3), np.tile(x, (3, 1)))


# 6 The server


@rows(lossless)
@every_implementation
def test_the_reply_is_the_sum_of_what_was_sent(implementation, row):
    cluster = Cluster(implementation, row.compressor, D, workers=3)
    for step in range(4):
        found = cluster.step(gradients("normal", D, 3, step), 0.1)
        assert np.array_equal(found, reduce(np.add, (decoded(row.compressor, push) for push in cluster.pushes)))


@rows(lambda row: encoded(row) and row.unbiased)
@every_implementation
def test_an_encoded_reply_is_unbiased(implementation, row):
    """Without error feedback: its mean is the sum of the gradients, and servers draw for themselves."""
    values = np.random.default_rng(7).standard_normal((2, 16)).astype(np.float32)
    cluster = Cluster(implementation, row.compressor, 16 * 256, workers=2)
    tiled = [np.tile(x, 256) for x in values]
    found = np.array([cluster.step(tiled, 0.1) for _ in range(40)], np.float64).reshape(-1, 16)
    assert_mean(found, values.sum(axis=0, dtype=np.float64))


@pytest.mark.parametrize("workers", [2, 4])
@rows(encoded)
def test_an_encoded_reply_is_as_short_as_a_push(row, workers):
    """At most 1.2 times the mean length of the pushes, with and without error feedback."""
    for ef in (False, True):
        cluster = Cluster(FASTEST, row.compressor, 4096, ef=ef, workers=workers)
        pushes = replies = 0
        for step in range(20):
            cluster.step(gradients("normal", 4096, workers, step), 0.1)
            pushes += sum(len(push) for push in cluster.pushes) / workers
            replies += len(cluster.reply)
        assert replies <= 1.2 * pushes


@every_row
@every_implementation
def test_the_order_of_arrival_does_not_matter(implementation, row):
    clusters = [Cluster(implementation, row.compressor, D, ef=True, workers=3) for _ in range(6)]
    for step in range(3):
        replies = set()
        for cluster, order in zip(clusters, permutations(range(3))):
            cluster.compress(gradients("normal", D, 3, step), 0.1)
            cluster.pushes = [cluster.pushes[worker] for worker in order]
            cluster.exchange()
            replies.add(cluster.reply)
        assert len(replies) == 1


@every_row
@every_implementation
def test_all_workers_read_the_same_and_a_fast_worker_alters_no_reply(implementation, row):
    cluster = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for step in range(3):
        found = cluster.step(gradients("normal", D, 2, step), 0.1)
        first = cluster.reply
    slow, fast = cluster.workers
    cluster.server.push(bytes(fast.compress(gradients("normal", D, 2, 3)[1], 0.1)))
    assert slow.decompress(first).tobytes() == found.tobytes()
    cluster.server.push(bytes(slow.compress(gradients("normal", D, 2, 3)[0], 0.1)))
    reply = bytes(cluster.server.reply())
    assert slow.decompress(reply).tobytes() == fast.decompress(reply).tobytes() != found.tobytes()


@rows(lambda row: row.shared and framed(row))
@every_implementation
def test_workers_and_server_draw_the_same_elements(implementation, row):
    d = 64
    x = np.arange(1, d + 1, dtype=np.float32)
    cluster = Cluster(implementation, row.compressor, d, ef=True, workers=2)
    seen = set()
    for _ in range(10**4 if implementation.fast else 1000):
        zeros = {"step": cluster.workers[0].state()["step"], "eta": 0.0, "momentum": None, "residual": x * 0}
        for worker in cluster.workers:
            worker.load_state(zeros)
        found = cluster.step([x, x], 0.1)
        chosen = np.flatnonzero(found)
        assert np.allclose(found[chosen], 2 * x[chosen], rtol=2**-10)
        seen.add(chosen.tobytes())
    assert chosen.size == row.compressor.count(d) and len(seen) > 900


# 7 Size


@every_row
def test_a_frame_is_smaller_than_its_partition_and_no_larger_than_promised(row):
    for dtype in ("float32", "float16"):
        for d in (*laws.LENGTHS, D, 2000):
            partition = Partition(row.compressor, d, dtype, 2)
            for ef, values in ((False, "normal"), (True, "normal"), (True, "outlier"), (True, "zeros")):
                cluster = Cluster(FASTEST, row.compressor, d, ef=ef, dtype=dtype, workers=2)
                cluster.step(gradients(values, d, 2, dtype=dtype), 0.1)
                for push in cluster.pushes:
                    if partition.raw:
                        assert len(push) == partition.bytes
                    else:
                        assert len(push) < partition.bytes
                        assert len(push) <= frames.SIZE + row.compressor.max_payload(d)
                assert len(cluster.reply) <= partition.bytes


# 8 Checkpoints


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@every_row
@every_implementation
def test_a_loaded_state_continues_bit_for_bit(implementation, row, dtype):
    def cluster():
        return Cluster(implementation, row.compressor, D, mu=0.9, ef=True, dtype=dtype, workers=2)

    one, other = cluster(), cluster()
    for step in range(4):
        one.step(gradients("normal", D, 2, step, dtype), 0.1 / (step + 1))
    other.load(one.states())
    for step in range(4, 16):
        gs = gradients("normal", D, 2, step, dtype)
        assert one.step(gs, 0.1 / (step + 1)).tobytes() == other.step(gs, 0.1 / (step + 1)).tobytes()
        assert (one.pushes, one.reply) == (other.pushes, other.reply)
    assert same_states(one.states(), other.states())


# 9 Gradients that are not finite, skipped steps, resets


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@every_row
@every_implementation
def test_a_gradient_that_is_not_finite_leaves_no_trace(implementation, row, bad):
    one = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    other = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for step in range(3):
        gs = gradients("normal", D, 2, step)
        one.step(gs, 0.1)
        other.step(gs, 0.1)
    before = one.workers[1].state()
    gs = gradients("outlier", D, 2, 9)
    gs[1][D // 2] = bad
    found = one.step(gs, 0.3)
    assert not np.isfinite(found).all()
    assert same_states([one.workers[1].state()], [before], but=["step"])
    assert same_states([one.server.state()], [other.server.state()], but=["step"])
    if framed(row):
        assert np.isnan(found).all()
        for data in (one.pushes[1], one.reply):
            frame = Frame.unpack(data)
            assert frame.flags & frames.NONFINITE and (frame.count, frame.scale, frame.payload) == (0, 0, b"")
    for worker in other.workers:  # the same random numbers, as if there had been no such step
        state = worker.state()
        worker.load_state(dict(state, step=state["step"] + 1))
    for step in range(3, 8):
        gs = gradients("normal", D, 2, step)
        found = one.step(gs, 0.05, skipped=step == 3)
        assert found.tobytes() == other.step(gs, 0.05).tobytes()
        assert same_states(one.states()[:2], other.states()[:2])
        assert same_states(one.states()[2:], other.states()[2:], but=["step"])
    if framed(row):
        assert [Frame.unpack(push).flags & frames.SKIPPED for push in one.pushes] == [0, 0]


@every_row
@every_implementation
def test_a_skipped_step_is_taken_back(implementation, row):
    """As a trainer skips when a step was finite here, but not in another gradient."""
    one = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    other = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for cluster in (one, other):
        cluster.step(gradients("normal", D, 2, 0), 0.1)
    one.step(gradients("outlier", D, 2, 1), 0.3)
    for worker in other.workers:
        worker.load_state(dict(worker.state(), step=2))
    for step, skipped in ((2, True), (3, False)):
        gs = gradients("normal", D, 2, step)
        assert one.step(gs, 0.2, skipped).tobytes() == other.step(gs, 0.2).tobytes()
        if framed(row):
            assert [Frame.unpack(push).flags & frames.SKIPPED for push in one.pushes] == [8 * skipped] * 2
    assert same_states(one.states()[:2], other.states()[:2])


@every_row
@every_implementation
def test_a_reset_starts_from_zero(implementation, row):
    """As a trainer does when it loads a checkpoint: on workers and on the server, but for the count of steps."""
    one = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for step in range(2):
        one.step(gradients("outlier", D, 2, step), 0.3)
    other = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for worker in other.workers:
        worker.load_state(dict(worker.state(), step=2))
    for step, reset in ((2, True), (3, False)):
        gs = gradients("normal", D, 2, step)
        assert one.step(gs, 0.2, reset=reset).tobytes() == other.step(gs, 0.2).tobytes()
        if framed(row):
            assert [Frame.unpack(push).flags & frames.RESET for push in one.pushes] == [frames.RESET * reset] * 2
    assert same_states(one.states()[:2], other.states()[:2])
    assert same_states(one.states()[2:], other.states()[2:], but=["step"])


@every_row
@every_implementation
def test_a_learning_rate_of_zero_leaves_the_residual(implementation, row):
    cluster = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for step, eta in enumerate((0.0, 0.1, 0.0, 0.0, 0.2)):
        before = cluster.states()
        cluster.step(gradients("normal", D, 2, step), eta)
        assert same_states(cluster.states(), before, but=["step", "momentum"]) or eta
        assert not same_states(cluster.states(), before, but=["step", "residual", "eta"])


# 10 What is refused


def assert_refused(action, code, name):
    """``code``: None for any."""
    found = refused(action)
    assert found is not None, f"{name} is not refused"
    assert code in (None, found.code), f"{name} is refused for another reason: {found}"
    assert str(found).startswith(found.code.text) and "\n" not in str(found)


def wrong_pushes(row, good):
    """All wrong frames that can take the place of a good push, as :func:`laws.packed` takes them."""
    frame = Frame.unpack(good)
    yield from laws.wrong_bytes(good)
    yield from laws.wrong_fields(frame, laws.FIELDS + laws.PUSH_FIELDS)
    yield "half or not", replace(frame, flags=frame.flags ^ frames.HALF), Refusal.FLAGS
    yield "bfloat16 or not", replace(frame, flags=frame.flags ^ frames.BFLOAT16), Refusal.FLAGS
    for flag in (frames.HALF, frames.BFLOAT16):
        nonfinite = dict(laws.EMPTY, flags=frames.NONFINITE | flag)
        yield f"a NONFINITE with {flag}", replace(frame, **nonfinite), Refusal.FLAGS
    yield from row.faults(row, frame)


@rows(framed)
@every_implementation
def test_a_wrong_push_is_refused_and_the_next_step_is_served(implementation, row):
    cluster = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    common = dict(mu=0.9, ef=True, workers=2, **implementation.keywords)
    control = implementation.Server(row.compressor, D, **common)  # sees no wrong frame
    cases = [name for name, _, _ in wrong_pushes(row, cluster.compress(gradients("normal", D, 2), 0.1)[1])]
    cluster.exchange()
    for push in cluster.pushes:
        control.push(push)
    control.reply()
    assert len(cases) > 30
    for case in range(len(cases)):
        first, second = cluster.compress(gradients("normal", D, 2, case), 0.1)
        wrongs = list(wrong_pushes(row, second))
        name, wrong, code = wrongs[case % len(wrongs)]
        wrong = laws.packed(wrong)
        before = cluster.server.state()
        pair = [wrong, first] if case % 2 and name not in RELATIVE else [first, wrong]
        for push in pair:
            if push is wrong:
                assert_refused(lambda: cluster.server.push(wrong), code, name)  # noqa: B023
            else:
                cluster.server.push(push)
        reply = bytes(cluster.server.reply())
        assert same_states([cluster.server.state()], [before])
        assert Frame.unpack(reply).flags == frames.REPLY | frames.ERROR, name
        for worker in cluster.workers:
            assert_rejected(worker, reply, code)
        cluster.step(gradients("normal", D, 2, case + 1), 0.1)
        for push in cluster.pushes:
            control.push(push)
        assert cluster.reply == bytes(control.reply()), f"after {name}"


@rows(framed)
@every_implementation
def test_an_absent_worker_counts_as_zeros(implementation, row):
    """The sum is that of the others, as in a cluster without the absent one, which comes back at the next step."""
    three, two = (Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=count) for count in (3, 2))
    for step in range(2):
        gs = gradients("normal", D, 3, step)
        expected = two.step(gs[:2], 0.1)
        for worker, gradient in list(zip(three.workers, gs))[:2]:
            three.server.push(bytes(worker.compress(gradient, 0.1)))
        reply = bytes(three.server.reply(absent=1))
        for worker in three.workers[:2]:
            assert worker.decompress(reply).tobytes() == expected.tobytes()
    three.workers[2].load_state(dict(three.workers[2].state(), step=2))
    assert np.isfinite(three.step(gradients("normal", D, 3, 2), 0.1)).all()


@rows(framed)
@every_implementation
def test_a_step_without_any_push_is_refused(implementation, row):
    cluster = Cluster(implementation, row.compressor, D, workers=2)
    cluster.step(gradients("normal", D, 2), 0.1)
    cluster.compress(gradients("normal", D, 2), 0.1)
    assert_rejected(cluster.workers[0], bytes(cluster.server.reply(absent=2)), Refusal.MISSING)


def assert_rejected(worker, reply, code):
    """A worker reads the server's reason for a refused step. ``code``: None for any."""
    found = refused(lambda: worker.decompress(reply))
    text = str(found).split(": ", 1)[1]
    assert found.code == Refusal.REJECTED and any(text.startswith(one.text) for one in (code and [code]) or Refusal)


# wrong only after the other worker's push
RELATIVE = ("second push", "another eta", "another step", "another stream", "SKIPPED alone", "RESET alone")


@rows(framed)
@every_implementation
def test_a_refused_step_that_the_workers_skip(implementation, row):
    """The server has nothing to take back: its last step is the one before."""
    one = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    other = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for cluster in (one, other):
        cluster.step(gradients("normal", D, 2), 0.1)
    one.server.push(one.compress(gradients("normal", D, 2, 1), 0.1)[0])
    reply = bytes(one.server.reply())  # a worker's push is missing
    assert_rejected(one.workers[0], reply, Refusal.MISSING)
    for worker in other.workers:
        worker.load_state(dict(worker.state(), step=2))
    gs = gradients("normal", D, 2, 2)
    assert one.step(gs, 0.2, skipped=True).tobytes() == other.step(gs, 0.2).tobytes()
    assert same_states(one.states(), other.states())


@rows(answered_framed)
@every_implementation
def test_a_wrong_reply_is_refused(implementation, row):
    cluster = Cluster(implementation, row.compressor, D, mu=0.9, ef=True, workers=2)
    for step in range(2):
        found = cluster.step(gradients("mostly zeros", D, 2, step), 0.1)
    good = Frame.unpack(cluster.reply)
    wrong = [*laws.wrong_bytes(cluster.reply), *laws.wrong_fields(good, laws.FIELDS)]
    wrong += laws.wrong_fields(good, laws.REPLY_FIELDS)
    if lossless(row) or not row.compressor.optional_flags & frames.DENSE:
        wrong.append(("DENSE", replace(good, flags=good.flags | frames.DENSE), Refusal.FLAGS))
    wrong.append(("no REPLY", replace(good, flags=good.flags & ~frames.REPLY), Refusal.FLAGS))
    union = lossless(row) and type(row.compressor).encode_sum is compressors.Compressor.encode_sum
    wrong += laws.union_faults(good) if union else row.faults(row, good)
    for name, data, code in wrong:
        assert_refused(lambda data=data: cluster.workers[0].decompress(laws.packed(data)), code, name)
    assert cluster.workers[0].decompress(cluster.reply).tobytes() == found.tobytes()


@every_implementation
def test_a_raw_push_of_another_length_is_refused(implementation):
    row = next(row for row in ROWS if is_raw(row))
    cluster = Cluster(implementation, row.compressor, D, workers=2)
    for step in range(2):
        cluster.compress(gradients("normal", D, 2, step), 0.1)
        cluster.pushes[step] = cluster.pushes[step][:-4]
        errors = [refused(lambda push=push: cluster.server.push(push)) for push in cluster.pushes]
        assert {error.code for error in errors if error} == {Refusal.RAW_LENGTH}
        assert np.isnan(cluster.workers[0].decompress(bytes(cluster.server.reply()))).all()
        gs = gradients("normal", D, 2, step)
        assert np.array_equal(cluster.step(gs, 0.1), (gs[0].astype(float) + gs[1]).astype(np.float32))


# All lengths and values; all implementations give the reference's bytes


def assert_agreement(implementations, row, d, values, dtype="float32", steps=3, workers=2, **wrap):
    """Frames, replies, results and states are the reference's; the fourth step takes the third back.

    Returns the results of all steps, and the reference's cluster.
    """
    results = []
    reference, *others = (
        Cluster(one, row.compressor, d, dtype=dtype, workers=workers, **wrap) for one in (REFERENCE, *implementations)
    )
    for step in range(steps):
        gs, eta = gradients(values, d, workers, step, dtype), (0.1, 0.03, 0.0, 0.2)[step % 4]
        expected = reference.step(gs, eta, skipped=step == 3)
        results.append(expected)
        for implementation, one in zip(implementations, others):
            where = f"{implementation.name}, {values}, {dtype}, {wrap}, step {step}"
            found = one.step(gs, eta, skipped=step == 3)
            for push, other in zip((*one.pushes, one.reply), (*reference.pushes, reference.reply)):
                assert push == other, difference(where, push, other)
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
            assert found.tobytes() == expected.tobytes(), where
            assert same_states(one.states(), reference.states(), ["step"] if is_raw(row, d, dtype) else []), where
    return results, reference


def difference(where, one, other):
    """The first difference of two messages, in words."""
    at = next((at for at, pair in enumerate(zip(one, other)) if pair[0] != pair[1]), min(len(one), len(other)))
    return f"{where}: {len(one)} and {len(other)} bytes, different from byte {at} on: {one[:60]} {other[:60]}"


@pytest.mark.parametrize("d", laws.LENGTHS)
@every_row
def test_all_lengths_and_values(row, d):
    for values in laws.VALUES:  # to take a step back copies states, whatever the values
        steps = 5 if values == "normal" else 2
        results, cluster = assert_agreement(OTHERS, row, d, values, mu=0.9, ef=True, steps=steps)
        for found in results:
            assert found.dtype == np.float32 and found.shape == (d,)
            assert np.isfinite(found).all() or values == "wide", values
            assert found.any() or values not in ("normal", "equal", "sorted", "outlier"), values
        for state in cluster.states():
            assert state.get("residual") is None or np.isfinite(state["residual"]).all(), values
    for wrap in ({}, {"mu": 0.5}, {"ef": True}):
        assert_agreement(OTHERS, row, d, "normal", **wrap)
        assert_agreement(OTHERS, row, d, "wide", steps=2, **wrap)
    assert_agreement(OTHERS, row, d, "normal", dtype="float16", mu=0.9, ef=True)
    assert_agreement(OTHERS, row, d, "outlier", steps=2, dtype="float16")


@pytest.mark.parametrize("d", laws.LONG)
@every_row
@pytest.mark.skipif(not OTHERS, reason="there is nothing but the reference")
def test_agreement_of_long_partitions(row, d):
    steps = 2 if d == laws.LONG[1] else 1
    assert_agreement(OTHERS, row, d, "normal", mu=0.9, ef=True, steps=steps, workers=1)


@pytest.mark.parametrize("row", {row.compressor.name: row for row in ROWS}.values(), ids=str)
@pytest.mark.skipif(not OTHERS, reason="there is nothing but the reference")
def test_agreement_of_the_longest_partition(row):
    """For the last row of each compressor, because the reference takes seconds."""
    assert_agreement(OTHERS, row, laws.LONGEST, "normal", mu=0.9, ef=True, steps=1, workers=1)


@every_row
@other_implementations
def test_agreement_about_what_is_not_finite(implementation, row):
    one, reference = (
        Cluster(kind, row.compressor, D, mu=0.9, ef=True, workers=2) for kind in (implementation, REFERENCE)
    )
    for step in range(6):
        gs = gradients("normal", D, 2, step)
        if step in (2, 3):
            gs[step % 2][7] = math.nan
        for cluster in (one, reference):
            cluster.step(gs, 0.1, skipped=step in (3, 4), reset=step == 5)
        assert (one.pushes, one.reply) == (reference.pushes, reference.reply)
        assert same_states(one.states(), reference.states(), ["step"])


def outcome(action):
    """What a reader makes of a frame: the code of a refusal, or the bits of what it returns."""
    found = []
    error = refused(lambda: found.append(action()))
    return error.code.name if error else "accepted" if found[0] is None else found[0].tobytes()


def is_nonfinite(data):
    """Whether a frame is NONFINITE."""
    return bool(Frame.unpack(data).flags & frames.NONFINITE)


# 11 Values at the ends of float32's range: what is decoded is finite, or the step is not


@pytest.mark.parametrize("workers", [1, 3])
@every_row
def test_what_is_sent_of_extreme_values_is_accepted(row, workers):
    """No encoder writes what a decoder refuses, and what is decoded is finite, or all NaN."""
    for values in laws.EXTREMES:
        for ef in (False, True):
            reference, *others = (
                Cluster(one, row.compressor, D, ef=ef, workers=workers) for one in (REFERENCE, *OTHERS)
            )
            for step in range(3):
                gs = laws.extremes(values, D, workers, step)
                expected = reference.step(gs, 0.1, skipped=step == 2)
                if not is_raw(row):
                    raw_reply = len(reference.reply) == expected.nbytes
                    assert np.isfinite(expected).all() or np.isnan(expected).all() or raw_reply, values
                    for push in reference.pushes:
                        assert is_nonfinite(push) or np.isfinite(decoded(row.compressor, push)).all(), values
                for implementation, one in zip(OTHERS, others):
                    found, where = one.step(gs, 0.1, skipped=step == 2), f"{implementation.name}, {values}"
                    assert (one.pushes, one.reply) == (reference.pushes, reference.reply), where
                    assert found.tobytes() == expected.tobytes(), where
                for state in (state for one in (reference, *others) for state in one.states()):
                    assert state.get("residual") is None or np.isfinite(state["residual"]).all(), values


@rows(lambda row: framed(row) and row.compressor.fixed_flags() & (frames.HALF | frames.BFLOAT16))
@every_implementation
def test_the_largest_values_that_travel_in_16_bits(implementation, row):
    """Values that float16 in its unit, or bfloat16, rounds to infinity make the step not finite."""
    found = []
    dtype = "float16" if row.compressor.half else "bfloat16"
    for values in (f"just below the limit of {dtype}", f"the limit of {dtype}", "one of the largest"):
        worker = implementation.Worker(row.compressor, D, ef=True, **implementation.keywords)
        if row.shared:  # drawn, not chosen: all elements have to be as large
            gradient = np.full(D, np.abs(laws.extremes(values, D, 1)[0]).max(), np.float32)
        else:
            gradient = laws.extremes(values, D, 1)[0]
        found.append(is_nonfinite(bytes(worker.compress(gradient, 0.1))))
    assert found == [False, True, True]


@pytest.mark.parametrize("option", ["half", "bfloat16"])
@other_implementations
def test_each_value_is_rounded_in_the_unit_of_the_largest(implementation, option):
    """The largest may stand anywhere, and be larger or smaller than the last step's."""
    compressor, d = Identity(**{option: True}), 5 * 4096 + 9
    rng = np.random.default_rng(5)
    one, other = (kind.Worker(compressor, d, ef=True, **kind.keywords) for kind in (implementation, REFERENCE))
    for place in (0, 4095, 4096, 12000, d - 1):
        for size in (3e-39, 1e-4, 1.0, 1e-4, 4e4, 3e38, 0.0):
            gradient = (rng.standard_normal(d) * 1e-4 * size).astype(np.float32)
            gradient[place] = size
            assert bytes(one.compress(gradient, 0.1)) == other.compress(gradient, 0.1), (place, size)
    assert np.array_equal(one.state()["residual"], other.state()["residual"])


@every_implementation
def test_float16_gradients_are_rounded_as_numpy_does(implementation):
    """Every float16, denormal, infinite and NaN included, and sums that are no float16."""
    every = np.arange(2**16).astype(np.uint16).view(np.float16)
    for other in (np.zeros_like(every), np.roll(every, 1), np.roll(every, 12345), every[::-1].copy()):
        server = implementation.Server(Identity(), every.size, dtype="float16", workers=2, **implementation.keywords)
        for one in (every, other):
            server.push(one.tobytes())
        found = np.frombuffer(server.reply(), np.float16)
        with np.errstate(over="ignore", invalid="ignore"):
            expected = (every.astype(np.float64) + other.astype(np.float64)).astype(np.float32).astype(np.float16)
        assert np.array_equal(np.isnan(found), np.isnan(expected))
        numbers = ~np.isnan(expected)
        assert np.array_equal(found[numbers].view(np.uint16), expected[numbers].view(np.uint16))


@every_row
@every_implementation
def test_zeros_and_denormals_are_never_skipped(implementation, row):
    for values in ("smallest", "around the smallest normal", "zeros"):
        cluster = Cluster(implementation, row.compressor, D, ef=True, workers=3)
        for step in range(3):
            assert np.isfinite(cluster.step(laws.extremes(values, D, 3, step), 0.1)).all()


# 12 All implementations refuse the same frames, with the same codes


@pytest.mark.parametrize("seed", range(2))
@rows(framed)
def test_random_changes_of_a_push(row, seed):
    """Each is refused with one code, or decoded to the same bits."""
    rng = np.random.default_rng(seed)
    clusters = [Cluster(one, row.compressor, D, ef=bool(seed % 2), workers=2) for one in (REFERENCE, *OTHERS)]
    reference = clusters[0]
    for cluster in clusters:
        cluster.step(gradients("normal", D, 2), 0.1)
    states, codes = reference.states(), set()
    for case in range(120):
        values = ("normal", "mostly zeros", "wide", "zeros")[case % 4]
        first, second = reference.compress(gradients(values, D, 2, case), 0.1)
        wrong = laws.mutated(rng, second)
        pushes = (first, wrong) if case % 2 else (wrong, first)
        expected, *others = [answers(cluster.server, pushes) for cluster in clusters]
        for implementation, found in zip(OTHERS, others):
            assert found == expected, f"{implementation.name}, case {case}"
        codes.update(expected[:-1])
        for cluster in clusters:
            cluster.load(states)
    assert len(codes) > 8


def answers(server, pushes):
    """What a server makes of each push, and the step's reply; of an ERROR that it is one."""
    outcomes = [outcome(partial(server.push, push)) for push in pushes]
    reply = bytes(server.reply())
    return [*outcomes, reply[:3] == frames.MAGIC and Frame.unpack(reply).flags & frames.ERROR or reply]


@pytest.mark.parametrize("b", range(10))
def test_random_changes_of_a_long_stream(b):
    """With every Rice parameter, the codes are refused with one code, or decoded to the same bits."""
    rng, count = np.random.default_rng(b), 150
    topk, d = TopK(k=count), count + (count * 21 << b) // 10
    assert rice_parameter(d, count) == b
    x = rng.standard_normal(d).astype(np.float32) * np.linspace(1, 3, d, dtype=np.float32)
    push = Frame.unpack(bytes(REFERENCE.Worker(topk, d).compress(x, 0.1)))
    codes = set()
    for case in range(50):
        stream, values = bytearray(push.payload[: -4 * count]), push.payload[-4 * count :]
        at, size = int(rng.integers(len(stream))), 4 * int(rng.integers(1, 3))
        if case % 5 == 1:
            stream[at] ^= 1 << int(rng.integers(8))
        elif case % 5 == 2:
            stream[at:] = rng.bytes(len(stream) - at)
        elif case % 5 == 3:
            del stream[at // 4 * 4 : at // 4 * 4 + size]
        elif case % 5 == 4:
            stream[at:at] = bytes([case % 2 * 255]) * size
        wrong = replace(push, payload=bytes(stream) + values).pack()
        expected, *others = [answers(one.Server(topk, d, **one.keywords), [wrong]) for one in (REFERENCE, *OTHERS)]
        for implementation, found in zip(OTHERS, others):
            assert found == expected, f"{implementation.name}, case {case}"
        codes.add(expected[0])
    assert {"CODE", "PADDING"} < codes


@pytest.mark.parametrize("seed", range(2))
@rows(answered_framed)
def test_random_changes_of_a_reply(row, seed):
    """Each is refused with one code, or decoded to the same bits, all finite or all NaN."""
    rng = np.random.default_rng(seed)
    clusters = [Cluster(one, row.compressor, D, ef=bool(seed % 2), workers=2) for one in (REFERENCE, *OTHERS)]
    codes = set()
    for case in range(30):
        values = ("mostly zeros", "zeros", "one")[case % 3]
        for cluster in clusters:
            cluster.step(gradients(values, D, 2, case), 0.1)
        for _ in range(6):
            wrong = laws.mutated(rng, clusters[0].reply)
            if len(wrong) == 4 * D:
                continue  # a raw reply, whatever it holds
            expected, *others = [outcome(partial(cluster.workers[0].decompress, wrong)) for cluster in clusters]
            for implementation, found in zip(OTHERS, others):
                assert found == expected, f"{implementation.name}, case {case}"
            codes.add(expected if isinstance(expected, str) else "accepted")
            if isinstance(expected, bytes):
                decoded_values = np.frombuffer(expected, np.float32)
                assert np.isfinite(decoded_values).all() or np.isnan(decoded_values).all()
    assert len(codes) > 6


@other_implementations
def test_the_library_has_the_codes_of_refusals(implementation):
    from byteps_gc import native

    assert native.refusals(**implementation.keywords) == {int(one): f"{one.name} {one.text}" for one in Refusal}


def test_the_document_has_the_codes_of_refusals():
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", (ROOT / "docs" / "wire_format.md").read_text(), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(int(one), one.name) for one in Refusal]


@pytest.mark.parametrize("eta", [math.nan, math.inf, -0.1, 3.5e38])
@every_implementation
def test_a_learning_rate_that_no_frame_can_have_is_rejected(implementation, eta):
    worker = implementation.Worker(Onebit(), D, **implementation.keywords)
    with pytest.raises(CompressionError, match="finite"):
        worker.compress(np.zeros(D, np.float32), eta)
    assert Frame.unpack(bytes(worker.compress(np.zeros(D, np.float32), -0.0))).eta == 0
