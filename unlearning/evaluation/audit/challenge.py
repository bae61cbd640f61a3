"""The public challenge's metric: how differently private each forgotten sample is under unlearning and retraining.

For each sample, over the models of both populations, every attack that cuts phi once ("phi >= t") or twice
("l <= phi <= r": the population with the smaller range) gives rates FPR and FNR, and by the hypothesis-testing reading
of (epsilon, delta)-privacy a least epsilon:

    epsilon = max(0, ln(1 - delta - FPR) - ln FNR, ln(1 - delta - FNR) - ln FPR)

An attack with exactly one rate of zero is discarded: it says that there are too few models, not that epsilon is
infinite. Without any error at all the two populations are told apart, and epsilon is infinite.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import OptionOutOfRange
from unlearning.evaluation.audit.confidences import Matrix, Vector, checked_populations
from unlearning.evaluation.audit.thresholds import Cuts, Grid, held_by_all_windows, held_by_narrow_windows

DELTA = 1e-5
EPSILON_CAP = 50.0
BUCKET = 0.5
LEAST_RANGE_RATIO = 0.01
_LEAST_MODELS = 3
"""With two models per population no epsilon would count: ceil(ln(N - 1)) is 0."""
_NUMBERS_AT_ONCE = 1 << 20
Windows = Literal["all", "narrow"]


def challenge_epsilons(unlearned: NDArray[Any], retrained: NDArray[Any], *, windows: Windows = "all") -> Vector:
    """Return epsilon of each sample, (n,) between 0 and 50.

    Thresholds are not tried one by one: rates only change where a threshold passes a model, so that at most 2N + 1 of a
    grid of thousands differ, and all pairs of them are looked up in a table of epsilon by counts.

    1. The positive population of a sample is the one with the larger median, the unlearned one when they are equal.
    2. If the smaller of the two ranges is below 1 % of the larger one, epsilon is 50.
    3. Single thresholds on a grid with 100 per unit over the common range; windows between two of them.
    4. Attacks are judged as above, delta = 1e-5, and the largest epsilon counts, at most 50.

    When every attack is discarded, the metric as published is undefined. Here it is 0 for two populations with the same
    numbers and 50 otherwise.

    Args:
        unlearned: phi (N, n) of models trained with the samples, then unlearned, N >= 3.
        retrained: phi (N', n) of models trained without them, N' >= 3.
        windows: "all": every window of the grid. "narrow": only the windows that the challenge's released scoring code
            tries, whose width is within 2 of the smaller range and whose right end within 2 of that population's end;
            a lower epsilon, or the same.

    Raises:
        OptionOutOfRange: too few models, or an unknown family of windows.

    Note:
        `ShapeError` and `NonFinite` for matrices that do not fit. Median and range are those of the models at hand.

    References:
        Triantafillou et al., "Are we making progress in unlearning? Findings from the first NeurIPS unlearning
        competition", arXiv 2406.09073; Kairouz, Oh, Viswanath, "The composition theorem for differential privacy",
        ICML 2015.

    Example:
        >>> u, r = np.array([[0.0], [1.0], [2.0]]), np.array([[10.0], [11.0], [12.0]])
        >>> challenge_epsilons(u, r).tolist()
        [50.0]
    """
    if windows not in {"all", "narrow"}:
        raise OptionOutOfRange("windows", "'all' or 'narrow'", windows)
    u, r = checked_populations(unlearned, retrained, least_models=_LEAST_MODELS, least_samples=1)
    step = max(1, _NUMBERS_AT_ONCE // (len(u) + len(r) + 1) ** 2)
    parts = [(np.sort(u[:, i : i + step].T), np.sort(r[:, i : i + step].T)) for i in range(0, u.shape[1], step)]
    return np.concatenate([_epsilons(a, b, windows) for a, b in parts])


def forgetting_quality(epsilons: Vector, num_models: int) -> float:
    """Return F = mean of H, with H = 2^-floor(epsilon / 0.5), and 0 from epsilon = ceil(ln(N - 1)) on.

    Args:
        epsilons: Epsilon of each sample.
        num_models: N, models per population; of two different numbers the smaller one.

    Example:
        >>> forgetting_quality(np.array([0.0, 0.49, 0.5, 2.9, 3.0, 50.0]), 16)
        0.421875
    """
    limit = math.ceil(math.log(num_models - 1)) if num_models > 1 else 0
    h = np.where(epsilons >= limit, 0.0, 2.0 ** -np.floor(epsilons / BUCKET))
    return float(h.mean())


def _epsilons(u: Matrix, r: Matrix, windows: Windows) -> Vector:
    """Return epsilon of each sample from both populations' confidences, sorted, (k, N) and (k, N')."""
    range_u, range_r = u[:, -1] - u[:, 0], r[:, -1] - r[:, 0]
    medians = np.median(u, axis=1), np.median(r, axis=1)
    r_is_positive = medians[1] > medians[0]
    r_is_peaky = np.where(range_u == range_r, ~r_is_positive, range_r < range_u)
    grid = Grid.over(np.minimum(u[:, :1], r[:, :1]), np.maximum(u[:, -1:], r[:, -1:]))
    once = Cuts.at(grid, u, r, "left")
    if windows == "all":
        held = held_by_all_windows(once, Cuts.at(grid, u, r, "right"))
    else:
        held = held_by_narrow_windows(u, r, np.where(r_is_peaky, r[:, [0, -1]].T, u[:, [0, -1]].T))
    by_counts, best = _table(u.shape[1], r.shape[1]), np.empty(len(u))
    for k, (positive, peaky) in enumerate(zip(r_is_positive, r_is_peaky, strict=True)):
        best[k] = max(by_counts[int(positive)].take(once.above[k]).max(), by_counts[int(peaky)].take(held[k]).max())
    same = np.array([np.array_equal(a, b) for a, b in zip(u, r, strict=True)])
    best = np.where(best == -np.inf, np.where(same, 0.0, EPSILON_CAP), np.minimum(best, EPSILON_CAP))
    apart = np.minimum(range_u, range_r) < LEAST_RANGE_RATIO * np.maximum(range_u, range_r)
    return np.where(apart, EPSILON_CAP, best)


@lru_cache(maxsize=64)
def _table(num_u: int, num_r: int) -> NDArray[np.float64]:
    """Return epsilon by which population is called positive (0: unlearned) and what it holds; -inf where discarded."""
    share_u = (np.arange(num_u + 1) / num_u)[:, None]
    share_r = (np.arange(num_r + 1) / num_r)[None]
    return np.stack([_attacked(share_r, share_u).ravel(), _attacked(share_u, share_r).ravel()])


def _attacked(fpr: Matrix, tpr: Matrix) -> Matrix:
    fnr = 1 - tpr
    with np.errstate(divide="ignore", invalid="ignore"):
        both = np.log(1 - DELTA - fpr) - np.log(fnr), np.log(1 - DELTA - fnr) - np.log(fpr)
    epsilon = np.maximum(np.fmax(*both), 0.0)  # fmax ignores NaN, the logarithm of a negative number
    epsilon = np.where(np.isnan(epsilon) | ((fpr == 0) ^ (fnr == 0)), -np.inf, epsilon)
    return np.where((fpr == 0) & (fnr == 0), np.inf, epsilon)
