"""How far a model is from a reference: differences, unlearned minus reference, with their intervals.

A retrained model is not blank (a probe reads much of a class that it never saw), so what a test finds is judged by the
difference. Where both models were judged on the same samples the difference is paired: what the samples have in common
does not widen its interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.accuracy import wilson_interval
from unlearning.evaluation.intervals import Estimate, paired_correlation, square_and_add
from unlearning.evaluation.measure import Direction, Measure
from unlearning.evaluation.outcomes import Outcome, spread_of_draws


def gap(name: str, ours: Measure, reference: Measure, *, direction: Direction = "two-sided") -> Measure:
    """Return ours minus reference from the two measures alone, as if they stood on different samples.

    Too wide, never too narrow, where both were judged on the same samples and agree on which are hard; prefer
    `paired_gap` there.

    Args:
        name: Name of the difference.
        ours: Measured on the unlearned model.
        reference: The same, on the reference.
        direction: Which direction of the difference is good.

    Returns:
        The difference with the interval of `square_and_add`; without one if either measure has none. n is the smaller
        of the two.
    """
    value, n = ours.value - reference.value, min(ours.n, reference.n)
    limits = ours.low, ours.high, reference.low, reference.high
    if any(end is None for end in limits):
        return Measure(name, value, None, None, n, ours.seed, direction)
    low, high = square_and_add(_estimate(ours), _estimate(reference))
    return Measure(name, value, low, high, n, ours.seed, direction)


def paired_gap(
    name: str,
    ours: NDArray[Any],
    reference: NDArray[Any],
    *,
    seed: int | None = None,
    direction: Direction = "two-sided",
) -> Measure:
    """Return the share of right samples, ours minus reference, for outcomes on the same samples.

    For one row of outcomes this is Newcombe's method 10, as in `paired_drop`. Several rows are random choices of an
    attack, made alike for both models: then each sample counts by its share of right rows, and the spread of the
    differences over the choices is added.

    Args:
        name: Name of the difference.
        ours: Right or wrong, bool (n,) or (draws, n).
        reference: The same samples in the same order, and the same draws.
        seed: Seed of the choices.
        direction: Which direction of the difference is good.

    Returns:
        The difference in [-1, 1].

    Raises:
        ShapeError: the two have different shapes.
        EmptySide: there are no samples.

    References:
        Newcombe, "Improved confidence intervals for the difference between binomial proportions based on paired data",
        Statistics in Medicine 17, 1998.
    """
    if ours.ndim not in {1, 2} or ours.shape != reference.shape:
        raise ShapeError("two arrays of outcomes", f"{reference.shape}", ours.shape)
    if not ours.size:
        raise EmptySide("paired")
    rows = [np.atleast_2d(array).astype(np.float64) for array in (ours, reference)]
    a, b = (array.mean(axis=0) for array in rows)
    low, high = square_and_add(_share(a), _share(b), paired_correlation(a, b))
    spread = spread_of_draws((rows[0].mean(axis=1) - rows[1].mean(axis=1)).tolist())
    value = float(a.mean() - b.mean())
    below, above = math.hypot(max(0.0, value - low), spread), math.hypot(max(0.0, high - value), spread)
    return Measure(name, value, max(-1.0, value - below), min(1.0, value + above), len(a), seed, direction)


def recovery_gaps(
    ours: Iterable[Outcome], reference: Iterable[Outcome], *, direction: Direction = "two-sided"
) -> tuple[Measure, ...]:
    """Return `<attack>_gap` for each attack that was made on both models, with the same samples and seed.

    Args:
        ours: Of `recovery_outcomes` on the unlearned model.
        reference: The same on the reference.
        direction: Which direction of the differences is good.
    """
    known = {outcome.name: outcome for outcome in reference}
    return tuple(
        paired_gap(f"{one.name}_gap", one.right, known[one.name].right, seed=one.seed, direction=direction)
        for one in ours
        if one.name in known
    )


def retain_accuracy_gap(
    ours: NDArray[np.bool_], reference: NDArray[np.bool_], *, name: str = "retain_accuracy_gap"
) -> Measure:
    """Return the accuracy on the retained classes' test samples, ours minus reference, paired by sample.

    Args:
        ours: Is each retained sample right? bool (n,).
        reference: The same samples, judged by the reference.
        name: Name of the measure.
    """
    return paired_gap(name, ours, reference)


def _estimate(measure: Measure) -> Estimate:
    low, high = (measure.value if end is None else end for end in (measure.low, measure.high))
    return measure.value, low, high


def _share(scores: NDArray[np.float64]) -> Estimate:
    mean, n = float(scores.mean()), len(scores)
    low, high = wilson_interval(round(float(scores.sum())), n)
    return mean, min(mean, low), max(mean, high)
