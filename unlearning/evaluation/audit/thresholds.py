"""Thresholds of the challenge's attacks, counted without being tried.

The rates of an attack change only where a threshold passes a model's confidence. So of a grid of thousands at most
N + N' + 1 thresholds differ, and a window between two of them holds the difference of what lies above its ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unlearning.evaluation.audit.confidences import Matrix

THRESHOLDS_PER_UNIT = 100
BUFFER = 2.0
_MOST_THRESHOLDS = 1_000_000
"""Reached only by confidences ten thousand units apart, which a diverged model has; the grid is coarser then."""
Ranks = NDArray[np.int64]
Held = NDArray[np.int32]


@dataclass(frozen=True)
class Grid:
    """Equally spaced thresholds of each sample, (k, 1) each: never written out, only counted."""

    low: Matrix
    step: Matrix
    size: Ranks
    high: Matrix

    @classmethod
    def over(cls, low: Matrix, high: Matrix) -> Grid:
        """Return the grid with 100 thresholds per unit, both ends included."""
        size = np.clip(np.ceil((high - low) * THRESHOLDS_PER_UNIT), 2, _MOST_THRESHOLDS).astype(np.int64)
        step = (high - low) / (size - 1)
        return cls(low, np.where(step > 0, step, 1.0), size, high)

    def threshold(self, index: Ranks) -> Matrix:
        """Return the threshold at each index, the last one exact."""
        return np.where(index == self.size - 1, self.high, self.low + index * self.step)

    def passed(self, x: Matrix, side: Literal["left", "right"]) -> Ranks:
        """Return how many thresholds t have t <= x ("left": x is in from t on) or t < x ("right": x is beyond t)."""
        guess = np.clip(np.floor((x - self.low) / self.step), -1, self.size - 1).astype(np.int64)
        above, at = self.threshold(guess + 1), self.threshold(guess)  # a division may be off by one
        more, less = (above <= x, at > x) if side == "left" else (above < x, at >= x)
        more &= guess + 1 < self.size
        less &= guess >= 0
        return guess + 1 + more - less


@dataclass(frozen=True)
class Cuts:
    """The thresholds of each sample's grid where a count changes, (k, N + N' + 1) each; some twice, which is harmless.

    Attributes:
        starts: First index of the run of thresholds with the same counts.
        ends: Last index of the run; below its start for a run that is empty.
        above: How many models lie above, both counts in one number: (N' + 1) times the unlearned ones plus the
            retrained ones. A window holds the difference of two of them.
    """

    starts: Ranks
    ends: Ranks
    above: Ranks

    @classmethod
    def at(cls, grid: Grid, u: Matrix, r: Matrix, side: Literal["left", "right"]) -> Cuts:
        """Return the cuts of u (k, N) and r (k, N'), sorted: as left ends (phi >= t) or beyond right ends (phi > t)."""
        first, second = grid.passed(u, side), grid.passed(r, side)
        starts = np.sort(np.concatenate([np.zeros((len(u), 1), np.int64), first, second], axis=1))
        ends = np.concatenate([starts[:, 1:], grid.size], axis=1) - 1
        in_u, in_r = (_larger(passed, starts) for passed in (first, second))
        return cls(starts, ends, in_u * (r.shape[1] + 1) + in_r)


def _larger(passed: Ranks, starts: Ranks) -> Ranks:
    """Return how many of each row of `passed` (sorted) are larger than each of `starts`."""
    rows = zip(passed, starts, strict=True)
    larger: Ranks = passed.shape[1] - np.stack([np.searchsorted(row, start, "right") for row, start in rows])
    return larger


def held_by_all_windows(left: Cuts, right: Cuts) -> Held:
    """Return what every window holds, (k, S, S).

    If the left end lies beyond the right one, both counts fall, and their difference is set to "none of either": such
    an attack never says yes and is discarded.
    """
    difference: Held = left.above.astype(np.int32)[:, :, None] - right.above.astype(np.int32)[:, None]
    return np.maximum(difference, 0, out=difference)


def held_by_narrow_windows(u: Matrix, r: Matrix, peaky: Matrix) -> Held:
    """Return the same for the windows that the released code tries, and none of either for all others.

    Right ends r_j within 2 of the peaky population's largest value, and for each of them as many left ends within 2 of
    r_j - width. Both grids have the same step, so left end k of right end j is the (j + k)-th of one common grid.

    Args:
        u: Sorted confidences (k, N).
        r: Sorted confidences (k, N').
        peaky: Smallest and largest value of the population with the smaller range (2, k).
    """
    count = round(2 * BUFFER * THRESHOLDS_PER_UNIT)
    smallest, largest = peaky[..., None]
    step = np.full_like(largest, 2 * BUFFER / (count - 1))
    right = Cuts.at(_spaced(largest - BUFFER, step, count), u, r, "right")
    left = Cuts.at(_spaced(smallest - 2 * BUFFER, step, 2 * count - 1), u, r, "left")
    tried = (left.ends[:, :, None] >= right.starts[:, None]) & (left.starts[:, :, None] - right.ends[:, None] < count)
    tried &= (left.ends >= left.starts)[:, :, None] & (right.ends >= right.starts)[:, None]
    return np.where(tried, held_by_all_windows(left, right), 0)


def _spaced(low: Matrix, step: Matrix, count: int) -> Grid:
    return Grid(low, step, np.full(low.shape, count), low + (count - 1) * step)
