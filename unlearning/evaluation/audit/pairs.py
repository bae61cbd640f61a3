"""Held-out pairs: an unlearned and a retrained target, scored by one attack that saw neither of them.

Why pairs: if each target is left out alone, the attack that scores an unlearned target has one unlearned model fewer
than the attack that scores a retrained one, and its mean has moved away from the target. On equal populations that
alone puts the AUC well below 0.5 (a test shows it), which would read as over-unlearning. Two targets left out together,
and scored by the same fit, can be exchanged when the populations are equal: the expected AUC is 0.5 exactly, whatever
the number of models.

References:
    Airola et al., "A comparison of AUC estimators in small-sample studies", JMLR W&CP 8, 2010 (leave-pair-out).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unlearning.evaluation.audit.confidences import Vector
from unlearning.evaluation.audit.findings import Findings
from unlearning.evaluation.audit.resampling import Resample, interval
from unlearning.evaluation.measure import Direction, Measure

Scores = NDArray[np.float64]
Counts = NDArray[np.int64]
_LEAST_TARGETS = 16
_FALSE_POSITIVES = 10
"""A rate of false positives is only as sure as their number; fewer than this many do not make a threshold."""


@dataclass(frozen=True)
class PairScores:
    """Scores of every held-out pair: the larger, the more the attack takes a target for an unlearned model.

    Attributes:
        unlearned: (a, b, n), the score of unlearned target i on a sample when retrained target j is held out too.
        retrained: (a, b, n), the score of retrained target j by the same attack.
        weights: How often each of the a and of the b targets counts.
    """

    unlearned: Scores
    retrained: Scores
    weights: tuple[Counts, Counts]

    def auc(self) -> Vector:
        """Return for each sample how often the unlearned target scores above the retrained one, equal ones half."""
        return self._mean(self.wins())

    def wins(self) -> Scores:
        """Return (a, b, n): 1 where the unlearned target scores above the retrained one, 0 below, 1/2 at equality."""
        wins: Scores = (self.unlearned > self.retrained) + 0.5 * (self.unlearned == self.retrained)
        return wins

    def balanced_accuracy(self) -> Vector:
        """Return for each sample the rate of right answers of the threshold zero, which no data have chosen."""
        signs = np.sign(self.unlearned) - np.sign(self.retrained)
        return self._mean(0.5 + signs / 4)

    def rates(self, fpr: float, resample: Resample | None = None) -> float:
        """Return the true-positive rate at a rate of false positives, over all pairs, or over a drawing of them."""
        if resample is None:
            return tpr_at(fpr, self.unlearned.ravel(), self.retrained.ravel())
        rng = np.random.default_rng(resample.seed)
        rows, columns = (np.repeat(np.arange(len(weights)), weights) for weights in self.weights)
        cells = rows, np.resize(rng.permutation(columns), len(rows))
        return tpr_at(fpr, *(side[cells][:, resample.samples].ravel() for side in (self.unlearned, self.retrained)))

    def _mean(self, values: Scores) -> Vector:
        first, second = (weights / weights.sum() for weights in self.weights)
        mean: Vector = np.tensordot(second, np.tensordot(first, values, axes=1), axes=1)
        return mean


def targets(num_models: int, most: int, rng: np.random.Generator) -> Counts:
    """Return which models are attacked: all, or `most` of them drawn at random; the others only teach the attack."""
    return np.sort(rng.choice(num_models, min(num_models, most), replace=False)).astype(np.int64)


def most_targets(num_samples: int, most_scores: int) -> int:
    """Return for how many targets of each population all pairs' scores are about `most_scores` numbers; at least 16."""
    return max(_LEAST_TARGETS, math.isqrt(most_scores // num_samples))


def tpr_at(fpr: float, positives: Vector, negatives: Vector) -> float:
    """Return the share of positives above the smallest threshold that at most a share `fpr` of negatives exceeds."""
    allowed = int(fpr * len(negatives))
    threshold = np.partition(negatives, len(negatives) - 1 - allowed)[len(negatives) - 1 - allowed]
    return float((positives > threshold).mean())


Statistic = Callable[[PairScores, Resample | None], float]


@dataclass(frozen=True)
class Named:
    """A statistic of pairs, and how it is reported; without an interval where resampling cannot give one."""

    name: str
    statistic: Statistic
    direction: Direction
    with_interval: bool = True


def over_samples(per_sample: Callable[[PairScores], Vector], summary: Callable[[Vector], float]) -> Statistic:
    """Return the statistic that summarises a number per sample, on the drawn samples when there is a drawing."""

    def statistic(pairs: PairScores, resample: Resample | None) -> float:
        values = per_sample(pairs)
        return float(summary(values if resample is None else values[resample.samples]))

    return statistic


def at_rate(fpr: float) -> Statistic:
    """Return the statistic "true-positive rate at this false-positive rate"."""
    return lambda pairs, resample: pairs.rates(fpr, resample)


def low_rates(prefix: str, cells: int) -> tuple[list[Named], dict[str, str]]:
    """Return the true-positive rates at 1 % and 0.1 % that so many negative scores allow, and why not the others."""
    wanted = {f"{prefix}_tpr_at_1pct_fpr": 0.01, f"{prefix}_tpr_at_01pct_fpr": 0.001}
    named, absent = [], {}
    for name, fpr in wanted.items():
        least = round(_FALSE_POSITIVES / fpr)
        if cells >= least:
            named.append(Named(name, at_rate(fpr), "lower"))
        else:
            absent[name] = f"Expected at least {least} pairs of a sample and a retrained model, got {cells}."
    return named, absent


def measured(
    named: list[Named],
    whole: PairScores,
    resampled: Iterator[tuple[PairScores, Resample]],
    *,
    models: int,
    seed: int,
) -> Findings:
    """Return each statistic of the whole with its interval from the resamples."""
    n = whole.unlearned.shape[-1]
    draws = np.array([[one.statistic(pairs, draw) for one in named] for pairs, draw in resampled])
    measures = []
    for one, column in zip(named, draws.T, strict=True):
        value = one.statistic(whole, None)
        low, high = interval(value, column, models, 0.0, 1.0) if one.with_interval else (None, None)
        measures.append(Measure(one.name, value, low, high, n, seed, one.direction))
    return Findings(tuple(measures))
