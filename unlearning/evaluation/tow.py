"""Tug of war: one number for how close a model's accuracies are to the reference's, on all sides at once."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import EmptySide
from unlearning.evaluation.accuracy import paired_drop
from unlearning.evaluation.intervals import normal_quantile
from unlearning.evaluation.measure import Measure

_SMALLEST = 1e-12


def tow(sides: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]], *, name: str = "tow") -> Measure:
    """Return ToW = product over the sides S of 1 - |acc_S(u) - acc_S(r)|.

    On each side both models are judged on the same samples, so each difference d has Newcombe's paired interval. The
    lower end adds the sides' distances in the logarithm like standard errors (MOVER): the sides are different samples.
    The upper end cannot: |d| is never below 0, so equal models look different on every side at once, and errors do not
    cancel. There each side comes as close to equality as an interval allows that holds for all sides together
    (Bonferroni). No resampling, which would be biased at the same corner.

    Args:
        sides: By name, the outcomes (right or wrong, bool (n,)) of the unlearned and of the reference model on the same
            samples: forget test, retain test and retain train, say.
        name: Name of the measure.

    Returns:
        In [0, 1], higher is better; 1 for equal accuracies. n counts the samples of all sides.

    Raises:
        EmptySide: there is no side.

    References:
        Zhao et al., "What makes unlearning hard and what to do about it", NeurIPS 2024; Zou and Donner, Statistics in
        Medicine 27, 2008.
    """
    if not sides:
        raise EmptySide("compared")
    z = normal_quantile(1 - 0.025 / len(sides))
    logs, below, above, n = 0.0, 0.0, 0.0, 0
    for ours, reference in sides.values():
        farthest, together = paired_drop(ours, reference), paired_drop(ours, reference, z=z)
        value = _log(1 - abs(farthest.value))
        below += (value - _log(1 - max(abs(farthest.low or 0.0), abs(farthest.high or 0.0)))) ** 2
        above += _log(1 - max(0.0, together.low or 0.0, -(together.high or 0.0)))
        logs, n = logs + value, n + farthest.n
    low, high = math.exp(logs - math.sqrt(below)), math.exp(max(logs, above))
    return Measure(name, math.exp(logs), low, high, n, None, "higher")


def _log(share: float) -> float:
    return math.log(max(share, _SMALLEST))
