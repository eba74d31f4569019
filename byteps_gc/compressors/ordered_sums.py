"""Sums of a float32 array in the order that docs/wire_format.md fixes, so that every implementation rounds alike.

Blocks of 4096 elements; in a block 32 lanes add every 32nd element in order; the lanes are added as a tree in
double; the blocks in order in double.
"""

import numpy as np

BLOCK = 4096
LANES = 32


def _rows(x: np.ndarray) -> np.ndarray:
    """x[d] as [blocks, rows, LANES], filled up with zeros, which add nothing."""
    length = BLOCK if x.size > BLOCK else -(-x.size // LANES) * LANES
    blocks = -(-x.size // length)
    filled = np.zeros(blocks * length, x.dtype)
    filled[: x.size] = x
    return filled.reshape(blocks, length // LANES, LANES)


def _lane_sums(rows: np.ndarray, dtype: type) -> np.ndarray:
    """Each lane of each block added in order from 0 with the precision of ``dtype``: float64[blocks, LANES]."""
    lanes = np.zeros((rows.shape[0], LANES), dtype)
    for row in range(rows.shape[1]):
        lanes += rows[:, row]
    return lanes.astype(np.float64)


def _tree(lanes: np.ndarray) -> np.ndarray:
    """The lanes of each block added pairwise: float64[blocks]."""
    half = LANES // 2
    while half:
        lanes[:, :half] += lanes[:, half : 2 * half]
        half //= 2
    return lanes[:, 0]


def _in_order(blocks: np.ndarray) -> float:
    """The sum of the blocks' sums, from the first to the last."""
    total = 0.0
    for block in blocks.tolist():
        total += block
    return total


def s1(x: np.ndarray) -> float:
    """The sum of |x| of a float32[d], d >= 1. Lanes are float32; a block that overflows is added again in double.

    The result is finite if and only if every element is.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        rows = _rows(np.abs(x))
        blocks = _tree(_lane_sums(rows, np.float32))
        again = ~np.isfinite(blocks)
        if again.any():
            blocks[again] = _tree(_lane_sums(rows[again], np.float64))
        return _in_order(blocks)


def s2(x: np.ndarray) -> float:
    """The sum of x * x of a float32[d], d >= 1, in double throughout."""
    with np.errstate(over="ignore", invalid="ignore"):
        rows = _rows(x).astype(np.float64)
        return _in_order(_tree(_lane_sums(rows * rows, np.float64)))
