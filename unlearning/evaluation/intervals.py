"""Intervals that several measures share: closed forms where there are some, a seeded bootstrap where there is none."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_count
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.measure import Direction, Measure

Vector = NDArray[np.float64]
Estimate = tuple[float, float, float]
"""A value with the lower and the upper end of its interval."""

Z95 = 1.959963984540054
_NUMBERS_AT_ONCE = 1 << 21
"""Resamples are drawn in blocks of about this many numbers."""


def normal_quantile(level: float) -> float:
    """Return the quantile of the standard normal distribution, 0 < level < 1."""
    return float(torch.special.ndtri(torch.tensor(level, dtype=torch.float64)))


def chi_square_quantile(level: float, degrees: float) -> float:
    """Return the quantile of the chi-square distribution by bisection of its distribution function.

    Args:
        level: Between 0 and 1, both excluded.
        degrees: Degrees of freedom, above 0; need not be whole.

    Raises:
        OptionOutOfRange: level or degrees of freedom are outside.

    Example:
        >>> round(chi_square_quantile(0.95, 3), 3)
        7.815
    """
    if not (0 < level < 1 and degrees > 0):
        raise OptionOutOfRange("level and degrees", "between 0 and 1, and above 0", (level, degrees))
    shape = torch.tensor(degrees / 2, dtype=torch.float64)
    low, high = 0.0, degrees + 50 * math.sqrt(degrees) + 50
    for _ in range(200):
        middle = (low + high) / 2
        below = float(torch.special.gammainc(shape, torch.tensor(middle / 2, dtype=torch.float64))) < level
        low, high = (middle, high) if below else (low, middle)
    return (low + high) / 2


def square_and_add(first: Estimate, second: Estimate, correlation: float = 0.0) -> tuple[float, float]:
    """Return the interval of first minus second from the intervals of both (MOVER, "square and add").

    Each end lies as far from the difference as the two distances that move it there, added like standard errors. Unlike
    the normal interval it keeps the asymmetry of intervals near 0 and 1; for two proportions with Wilson's limits it is
    Newcombe's interval (method 10 for independent samples; for paired ones `correlation` is that of the outcomes).

    Args:
        first: (value, low, high).
        second: The same.
        correlation: Of the two estimates, in [-1, 1].

    References:
        Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    below = _added(a - a_low, b_high - b, correlation)
    above = _added(a_high - a, b - b_low, correlation)
    return a - b - below, a - b + above


def multiplied(first: Estimate, second: Estimate) -> tuple[float, float]:
    """Return the interval of the product of two shares that stand on different samples (MOVER).

    What each of them moves the product by is added like standard errors. At the upper end each counts with the other's
    upper limit, so that the interval keeps a width when both are 0.

    Args:
        first: (value, low, high), none below 0.
        second: The same.

    References:
        Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008.
    """
    (a, a_low, a_high), (b, b_low, b_high) = first, second
    below = math.hypot(b * (a - a_low), a * (b - b_low))
    above = math.hypot(b_high * (a_high - a), a_high * (b_high - b))
    return max(0.0, a * b - below), min(1.0, a * b + above)


def _added(one: float, other: float, correlation: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))


def paired_correlation(first: NDArray[np.generic], second: NDArray[np.generic]) -> float:
    """Return the correlation of paired scores in [0, 1]; positive ones with Newcombe's continuity correction.

    For outcomes (right or wrong) it is phi of the two-by-two table; 0 where one side does not vary.
    """
    a, b = first.astype(np.float64), second.astype(np.float64)
    n = len(a)
    spread = (n * (a * a).sum() - a.sum() ** 2) * (n * (b * b).sum() - b.sum() ** 2)
    if spread <= 0:
        return 0.0
    shared = float(n * (a * b).sum() - a.sum() * b.sum())
    corrected = max(shared - n / 2, 0.0) if shared > 0 else shared
    return corrected / math.sqrt(float(spread))


def mean_measure(
    name: str, values: Tensor | Vector, *, direction: Direction, within: tuple[float, float] = (0.0, 1.0)
) -> Measure:
    """Return the mean of one value per sample with the normal 95 % interval of a mean.

    Args:
        name: Name of the measure.
        values: (n,).
        direction: Which direction is good.
        within: What a value can be; the interval is clipped to it, and is all of it after a single sample.

    Raises:
        EmptySide: there are no values.
        ShapeError: they are no vector.
    """
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1:
        raise ShapeError("values", "(n,)", x.shape)
    if not len(x):
        raise EmptySide("evaluated")
    mean, n = float(x.mean()), len(x)
    half = Z95 * float(x.std(ddof=1)) / math.sqrt(n) if n > 1 else within[1] - within[0]
    return Measure(name, mean, max(within[0], mean - half), min(within[1], mean + half), n, None, direction)


def resampled_means(values: Vector, rng: np.random.Generator, resamples: int) -> Vector:
    """Return the means of bootstrap resamples of the rows, (resamples, c) for values (n, c).

    The columns of a row are drawn together, so that differences and ratios of columns are paired.
    """
    n = len(values)
    means = np.empty((checked_count("resamples", resamples), values.shape[1]))
    step = max(1, _NUMBERS_AT_ONCE // n)
    for start in range(0, resamples, step):
        part = means[start : start + step]
        part[:] = rng.multinomial(n, np.full(n, 1 / n), len(part)) @ values / n
    return means
