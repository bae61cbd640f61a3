"""What a deletion costs single classes: an average over all retained ones hides a class that paid for the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_classes, checked_count, checked_labels
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.accuracy import paired_drop, wilson_interval
from unlearning.evaluation.intervals import normal_quantile
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.routing import retained_probabilities

Labels = Iterable[int] | NDArray[Any] | Tensor


def class_drops(
    before: NDArray[np.bool_], after: NDArray[np.bool_], labels: Labels, *, z: float | None = None
) -> dict[int, Measure]:
    """Return the paired drop in accuracy of each class that has samples, by class index.

    Args:
        before: Was each sample right before? bool (n,).
        after: Is it right after? bool (n,), the same samples.
        labels: Their classes (n,).
        z: Normal quantile of the intervals' level; None for 95 % over all classes together (Bonferroni).

    Raises:
        ShapeError: outcomes and labels do not fit.
    """
    y = checked_labels(labels)
    if before.shape != y.shape or after.shape != y.shape:
        raise ShapeError("outcomes", f"({len(y)},)", before.shape if before.shape != y.shape else after.shape)
    present = np.unique(y)
    quantile = normal_quantile(1 - 0.025 / len(present)) if z is None else z
    return {
        int(c): paired_drop(before[y == c], after[y == c], name=f"accuracy_drop_class_{c}", z=quantile) for c in present
    }


def worst_class_drop(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    labels: Labels,
    *,
    among: Collection[int] | None = None,
    name: str = "worst_class_drop",
) -> Measure:
    """Return the largest drop in accuracy of any class, original minus unlearned.

    The interval is the one of the largest drop there really is: from the largest lower end to the largest upper end of
    intervals that hold for all classes together (Bonferroni). The interval of the class that looks worst would be too
    low at its lower end, because it was picked for looking so, and would miss that another class, with fewer samples,
    may have lost more.

    Args:
        before: Was each sample right before? bool (n,).
        after: Is it right after? bool (n,), the same samples.
        labels: Their classes (n,).
        among: Classes to look at: the retained ones, or `nearest_classes`; None for all that have samples.
        name: Name of the measure.

    Returns:
        A drop in [-1, 1], negative when every class gained; n is the number of samples of the class it was found in.

    Raises:
        EmptySide: none of the classes has samples.
        ShapeError: outcomes and labels do not fit.
    """
    y = checked_labels(labels)
    chosen = np.ones(len(y), dtype=bool) if among is None else np.isin(y, list(among))
    if not chosen.any():
        raise EmptySide("retain")
    if before.shape != y.shape or after.shape != y.shape:
        raise ShapeError("outcomes", f"({len(y)},)", before.shape if before.shape != y.shape else after.shape)
    drops = class_drops(before[chosen], after[chosen], y[chosen]).values()
    worst = max(drops, key=lambda drop: drop.value)
    low = max(drop.low for drop in drops if drop.low is not None)
    high = max(drop.high for drop in drops if drop.high is not None)
    return Measure(name, worst.value, low, high, worst.n, None, "lower")


def accuracy_among(
    right: NDArray[np.bool_], labels: Labels, classes: Collection[int], *, name: str = "nearest_class_accuracy"
) -> Measure:
    """Return the accuracy on the samples of some classes, `nearest_classes` normally, with Wilson's interval.

    Args:
        right: Is each sample right? bool (n,).
        labels: Their classes (n,).
        classes: The classes to look at.
        name: Name of the measure.

    Raises:
        ShapeError: outcomes and labels do not fit.
        EmptySide: none of the classes has samples.
    """
    y = checked_labels(labels)
    if right.shape != y.shape:
        raise ShapeError("outcomes", f"({len(y)},)", right.shape)
    chosen = right[np.isin(y, list(classes))]
    if not len(chosen):
        raise EmptySide("retain")
    hits, n = int(chosen.sum()), len(chosen)
    return Measure(name, hits / n, *wilson_interval(hits, n), n, None, "higher")


def nearest_classes(forget_logits: Tensor, gone: Collection[int], k: int = 3) -> tuple[int, ...]:
    """Return the retained classes that the original confuses the forgotten ones with most, nearest first.

    By the probability that the original gives them on samples of the forgotten classes, when those are left out: where
    it would send these samples. Counting mistakes instead would leave an accurate model without any neighbour.

    Args:
        forget_logits: The original's outputs (n, K) on samples of the forgotten classes.
        gone: The forgotten classes.
        k: How many; all retained ones if there are fewer.

    Raises:
        EmptySide: there are no samples.
    """
    if not len(forget_logits):
        raise EmptySide("forget")
    missing = checked_classes(gone, forget_logits.shape[1])
    kept = [index for index in range(forget_logits.shape[1]) if index not in missing]
    mean = retained_probabilities(forget_logits, gone).mean(dim=0)
    order = torch.argsort(mean, descending=True, stable=True)[: checked_count("k", k)]
    return tuple(kept[place] for place in order.tolist())
