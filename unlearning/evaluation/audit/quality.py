"""The public challenge's metric as measures: epsilon, the forgetting quality F, and the final score."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import OptionOutOfRange, ShapeError
from unlearning.evaluation.audit.challenge import EPSILON_CAP, Windows, challenge_epsilons, forgetting_quality
from unlearning.evaluation.audit.confidences import Matrix, Vector, checked_populations
from unlearning.evaluation.audit.findings import Findings
from unlearning.evaluation.audit.resampling import RESAMPLES, checked_resamples, drawn, halves, interval
from unlearning.evaluation.measure import Direction, Measure

Counts = NDArray[np.int64]
_NAMED: tuple[tuple[str, Direction, float], ...] = (
    ("challenge_epsilon", "lower", EPSILON_CAP),
    ("challenge_epsilon_median", "lower", EPSILON_CAP),
    ("challenge_quality", "higher", 1.0),
    ("challenge_score", "higher", math.inf),
)
_CEILING = ("challenge_quality_ceiling", "challenge_shortfall")
_LEAST_FOR_HALVES = 6


@dataclass(frozen=True)
class Accuracies:
    """Retain and test accuracy of each model of both populations.

    Attributes:
        unlearned: (N, 2) between 0 and 1: accuracy on retained training samples, accuracy on test samples.
        retrained: (N', 2), no column of zeros.
    """

    unlearned: NDArray[np.float64]
    retrained: NDArray[np.float64]

    def checked(self, models: tuple[int, int]) -> Accuracies:
        """Return the same for populations of so many models.

        Raises:
            ShapeError: there are not two accuracies for each model.
            OptionOutOfRange: one is not between 0 and 1, or a retrained model's is 0.
        """
        for name, rates, number in zip(
            ("unlearned", "retrained"), (self.unlearned, self.retrained), models, strict=True
        ):
            if rates.shape != (number, 2):
                raise ShapeError(f"accuracies of the {name} models", f"({number}, 2)", rates.shape)
            if not ((rates >= 0) & (rates <= 1)).all():
                raise OptionOutOfRange(
                    f"accuracies of the {name} models", "between 0 and 1", f"{rates.min()} to {rates.max()}"
                )
        if not self.retrained.all():
            raise OptionOutOfRange("accuracies of the retrained models", "above 0", self.retrained.min())
        return self

    def ratio(self, unlearned: Counts, retrained: Counts) -> float:
        """Return (RA_u / RA_r) (TA_u / TA_r) over means of the models that are counted so often."""
        return float(
            np.prod(
                np.average(self.unlearned, axis=0, weights=unlearned)
                / np.average(self.retrained, axis=0, weights=retrained)
            )
        )


def challenge_measures(
    unlearned: NDArray[Any],
    retrained: NDArray[Any],
    *,
    seed: int,
    accuracies: Accuracies | None = None,
    windows: Windows = "all",
    resamples: int = RESAMPLES,
) -> Findings:
    """Return the public challenge's numbers, and the best that so many models allow.

    Args:
        unlearned: phi (N, n) of models trained with the samples, then unlearned, N >= 4, n >= 10.
        retrained: phi (N', n) of models trained without them, N' >= 4.
        seed: Seed of the resampling and of the halves.
        accuracies: Of each model on retained and on test samples, for the final score.
        windows: Family of windows, see `challenge_epsilons`.
        resamples: Resamples behind each interval.

    Returns:
        `challenge_epsilon` (mean over samples) and `challenge_epsilon_median`, lower is better; `challenge_quality` (F,
        in [0, 1], higher is better); `challenge_score` = F (RA_u / RA_r) (TA_u / TA_r), absent without accuracies.
        F depends on the number of models and is far below 1 even for a perfect method, therefore
        `challenge_quality_ceiling`: F between two disjoint halves of the retrained models; and `challenge_shortfall`:
        how much lower F is between as many unlearned models and the second half; 0 when unlearning equals retraining.
        The last two are absent below 6 retrained models.

    Raises:
        OptionOutOfRange: too few models or samples, or an accuracy outside [0, 1].

    Note:
        `ShapeError` and `NonFinite` for matrices that do not fit. Efficiency is no part of the score.

    References:
        Triantafillou et al., arXiv 2406.09073.
    """
    u, r = checked_populations(unlearned, retrained)
    known = None if accuracies is None else accuracies.checked((len(u), len(r)))
    found = _whole(u, r, known, windows, seed, resamples)
    if known is None:
        found = found.joined(Findings((), {"challenge_score": "Expected the models' accuracies, got none."}))
    return found.joined(_ceiling(u, r, windows, seed, resamples))


def _whole(u: Matrix, r: Matrix, known: Accuracies | None, windows: Windows, seed: int, resamples: int) -> Findings:
    models, n = (len(u), len(r)), u.shape[1]

    def numbers(first: Counts, second: Counts, samples: Any) -> list[float]:
        a, b = np.repeat(u, first, axis=0), np.repeat(r, second, axis=0)
        epsilons = challenge_epsilons(a, b, windows=windows)[samples]
        quality = forgetting_quality(epsilons, min(models))
        score = [] if known is None else [quality * known.ratio(first, second)]
        return [float(epsilons.mean()), float(np.median(epsilons)), quality, *score]

    values = numbers(np.ones(len(u), np.int64), np.ones(len(r), np.int64), slice(None))
    draws = drawn(models, n, seed=seed, count=checked_resamples(resamples))
    columns = np.array([numbers(draw.unlearned, draw.retrained, draw.samples) for draw in draws]).T
    measures = []
    for (name, direction, highest), value, column in zip(_NAMED[: len(values)], values, columns, strict=True):
        ends = interval(value, column, min(models), 0.0, highest)
        measures.append(Measure(name, value, *ends, n, seed, direction))
    return Findings(tuple(measures))


def _ceiling(u: Matrix, r: Matrix, windows: Windows, seed: int, resamples: int) -> Findings:
    if len(r) < _LEAST_FOR_HALVES or len(u) < _LEAST_FOR_HALVES // 2:
        reason = f"Expected at least {_LEAST_FOR_HALVES} retrained models for two halves, got {len(r)}."
        return Findings((), dict.fromkeys(_CEILING, reason))
    n, models, rng = u.shape[1], min(len(u), len(r)), np.random.default_rng(seed)
    found, spread = [], []
    for i, first, second in halves((len(u), len(r)), seed=seed, count=resamples):
        equal, other = (challenge_epsilons(side, r[second], windows=windows) for side in (r[first], u[i]))
        samples = rng.integers(n, size=n)
        found.append(_shortfall(equal, other, len(second)))
        spread.append(_shortfall(equal[samples], other[samples], len(second)))
    (ceiling, shortfall), (of_ceiling, of_shortfall) = np.mean(found, axis=0), np.array(spread).T
    ends = interval(float(ceiling), of_ceiling, models, 0.0, 1.0), interval(float(shortfall), of_shortfall, models)
    return Findings((
        Measure(_CEILING[0], float(ceiling), *ends[0], n, seed, "higher"),
        Measure(_CEILING[1], float(shortfall), *ends[1], n, seed, "lower"),
    ))


def _shortfall(equal: Vector, other: Vector, num_models: int) -> tuple[float, float]:
    ceiling = forgetting_quality(equal, num_models)
    return ceiling, ceiling - forgetting_quality(other, num_models)
