"""The membership attack at every threshold: the curve behind the area, for plots with logarithmic axes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_count, checked_labels
from unlearning.errors import EmptySide
from unlearning.evaluation.membership import PRIMARY_SCORE, membership_scores

Labels = Iterable[int] | NDArray[Any] | Tensor
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Roc:
    """Points of a curve, all of one length; shares in [0, 1].

    Attributes:
        fpr: Share of non-members that the attack calls members, rising.
        tpr: Share of members that it calls so at that price.
        low: Lower end of the 95 % bootstrap band of `tpr`.
        high: Its upper end.
        n: Members and non-members behind it.
        seed: Of the bootstrap.
    """

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    n: int
    seed: int

    def as_dict(self) -> dict[str, list[float] | int]:
        """Return the fields as plain JSON types."""
        curve = {"fpr": self.fpr, "tpr": self.tpr, "low": self.low, "high": self.high}
        return {**{name: list(values) for name, values in curve.items()}, "n": self.n, "seed": self.seed}


def membership_roc(
    members: tuple[Tensor, Labels],
    others: tuple[Tensor, Labels],
    *,
    points: int = 60,
    score: str = PRIMARY_SCORE,
    resamples: int = 200,
    seed: int,
) -> Roc:
    """Return how many members the attack finds at each price in false alarms, at most `points` of them.

    Samples are compared within their class, as in `membership_auc`: each class has thresholds of its own, and the curve
    is the mean over classes, weighted by their numbers of pairs. The prices are evenly spaced on a logarithmic scale,
    from one false alarm among the non-members of the smallest class to all of them.

    Args:
        members: Outputs (n, K) on training samples, and their classes.
        others: The same of samples of these classes that were never trained on.
        points: Most points.
        score: Which of `membership_scores`.
        resamples: Bootstrap resamples, drawn within members and non-members of each class.
        seed: Of the bootstrap.

    Raises:
        EmptySide: no class has both members and non-members.

    Note:
        A point is a share over samples: the curve tells the score of none of them.
    """
    checked_count("points", points)
    groups = _groups(members, others, score)
    if not groups:
        raise EmptySide("non-member")
    grid = np.unique(np.geomspace(1 / max(2, min(len(outside) for _, outside in groups)), 1.0, points))
    weights = np.array([len(inside) * len(outside) for inside, outside in groups], dtype=np.float64)
    weights /= weights.sum()
    rng = np.random.default_rng(seed)

    def curve(drawn: list[tuple[Vector, Vector]]) -> Vector:
        curves = [_found(*group, grid) for group in drawn]
        return np.asarray(weights @ np.stack(curves))

    again = [
        curve([(rng.choice(inside, len(inside)), rng.choice(outside, len(outside))) for inside, outside in groups])
        for _ in range(checked_count("resamples", resamples))
    ]
    low, high = np.quantile(np.stack(again), [0.025, 0.975], axis=0)
    n = sum(len(inside) + len(outside) for inside, outside in groups)
    fpr, tpr, below, above = (tuple(values.tolist()) for values in (grid, curve(groups), low, high))
    return Roc(fpr, tpr, below, above, n, seed)


def _groups(members: tuple[Tensor, Labels], others: tuple[Tensor, Labels], score: str) -> list[tuple[Vector, Vector]]:
    """Return the scores of members and of non-members, class by class."""
    sides = [(membership_scores(*side)[score], checked_labels(side[1])) for side in (members, others)]
    (inside, y_in), (outside, y_out) = sides
    both = sorted(set(y_in.tolist()) & set(y_out.tolist()))
    return [(inside[y_in == c], outside[y_out == c]) for c in both]


def _found(inside: Vector, outside: Vector, grid: Vector) -> Vector:
    """Return the share of members above the lowest threshold that costs no more than each price."""
    descending = -np.sort(-outside)
    allowed = np.floor(grid * len(outside) + 1e-9).astype(np.int64)
    # One more false alarm than allowed stands at this place; members must lie above it.
    thresholds = np.append(descending, -np.inf)[np.minimum(allowed, len(outside))]
    ascending = np.sort(inside)
    above = len(inside) - np.searchsorted(ascending, thresholds, side="right")
    return np.asarray(above / len(inside), dtype=np.float64)
