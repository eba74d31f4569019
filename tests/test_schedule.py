"""The learning rate of every step, and the accuracy that is counted."""

from byteps_gc.training.schedule import schedule
from byteps_gc.training.validation import hits
import numpy as np
import pytest


def rates(*steps, **options):
    made = schedule(10, 10, 1.0, **options)
    return [made(step) for step in steps]


def test_warm_up_and_steps():
    got = rates(0, 10, 19, 20, 49, 50, 99, warmup_epochs=2, warmup_rate=0.1, decay_epochs=[1, 5, 12])
    assert got == pytest.approx([0.1, 0.1 + 0.9 * 10 / 19, 1.0, 1.0, 1.0, 0.1, 0.1])


def test_cosine_and_poly():
    assert rates(0, 33, 99, mode="cosine") == pytest.approx([1.0, 0.75, 0.0])
    assert rates(0, 33, 99, mode="poly") == pytest.approx([1.0, (2 / 3) ** 2, 0.0])


@pytest.mark.parametrize("mode", ["step", "poly", "cosine"])
@pytest.mark.parametrize("epochs, batches, warmup", [(1, 1, 0), (1, 1, 1), (2, 1, 1), (3, 1, 5), (1, 7, 1)])
def test_short_runs(mode, epochs, batches, warmup):
    made = schedule(epochs, batches, 0.5, warmup_epochs=warmup, warmup_rate=0.1, mode=mode)
    assert all(0 <= made(step) <= 0.5 for step in range(epochs * batches + 2))


def test_hits_among_the_best_scores():
    scores = np.float32([[0, 3, 2, 1], [9, 8, 7, 6], [1, 1, 1, 1]])
    assert hits(scores, np.array([1, 2, 1]), (1, 2, 3)) == [1, 2, 3]


def test_what_is_not_a_number_is_no_better_than_chance():
    scores = np.full((4, 4), np.nan, np.float32)
    assert hits(scores, np.arange(4), (1, 4)) == [1, 4]
    assert hits(np.float32([[np.nan, -1.0]]), np.array([1]), (1,)) == [1]
