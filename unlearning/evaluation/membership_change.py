"""Does a deletion make retained samples easier to recognise as training samples?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_labels
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.intervals import Z95, Vector
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.membership import PRIMARY_SCORE, membership_scores

Labels = Iterable[int] | NDArray[Any] | Tensor


def membership_change(
    members: tuple[Tensor, Tensor],
    others: tuple[Tensor, Tensor],
    member_labels: Labels,
    other_labels: Labels,
    *,
    score: str = PRIMARY_SCORE,
    name: str = "retain_membership_change",
) -> Measure:
    """Return the attack's AUC on the unlearned model minus its AUC on the original, on the same samples.

    Members are the retained classes' training samples, non-members their test samples; as in `membership_measures`
    samples are compared within their class, and the AUC is the mean over classes, weighted by pairs. The interval is
    DeLong's for two AUCs on the same samples: closed form, and paired, since what makes a sample easy to recognise is
    much the same in both models.

    Args:
        members: Outputs (n, K) of (original, unlearned) on the training samples.
        others: The same on the test samples.
        member_labels: Classes of the training samples.
        other_labels: Classes of the test samples.
        score: Which of `membership_scores`.
        name: Name of the measure.

    Returns:
        Unlearned minus original, in [-1, 1]; lower is better.

    Raises:
        EmptySide: no class has two training and two test samples.
        ShapeError: outputs and labels do not fit.

    References:
        DeLong, DeLong, Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
        characteristic curves", Biometrics 44, 1988.
    """
    y_in, y_out = checked_labels(member_labels), checked_labels(other_labels)
    inside, outside = _scores(members, y_in, score), _scores(others, y_out, score)
    change, variance, pairs, n = 0.0, 0.0, 0.0, 0
    for c in sorted(set(y_in.tolist()) & set(y_out.tolist())):
        a, b = inside[:, y_in == c], outside[:, y_out == c]
        if a.shape[1] < 2 or b.shape[1] < 2:
            continue
        weight = float(a.shape[1] * b.shape[1])
        before, after = (_placements(a[model], b[model]) for model in (0, 1))
        by_member, by_other = after[0] - before[0], after[1] - before[1]
        change += weight * float(by_member.mean())
        spread = by_member.var(ddof=1) / len(by_member) + by_other.var(ddof=1) / len(by_other)
        variance += weight**2 * float(spread)
        pairs, n = pairs + weight, n + a.shape[1] + b.shape[1]
    if not pairs:
        raise EmptySide("non-member")
    value, half = change / pairs, Z95 * math.sqrt(variance) / pairs
    return Measure(name, value, max(-1.0, value - half), min(1.0, value + half), n, None, "lower")


def _scores(outputs: tuple[Tensor, Tensor], labels: NDArray[np.int64], score: str) -> Vector:
    """Return (2, n): the score of each sample in the original and in the unlearned model."""
    before, after = outputs
    if before.shape != after.shape:
        raise ShapeError("two outputs", f"{tuple(before.shape)}", after.shape)
    return np.stack([membership_scores(logits, labels)[score] for logits in (before, after)])


def _placements(members: Vector, others: Vector) -> tuple[Vector, Vector]:
    """Return for each member the share of others below it, and for each other the share of members above it."""
    low, high = np.sort(others), np.sort(members)
    below = (np.searchsorted(low, members, "left") + np.searchsorted(low, members, "right")) / (2 * len(others))
    above = 1 - (np.searchsorted(high, others, "left") + np.searchsorted(high, others, "right")) / (2 * len(members))
    return below, above
