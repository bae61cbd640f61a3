"""KLOM: the divergence of the unlearned models' margins from the retrained models', sample by sample.

For each sample the margins of both populations, between -100 and 100, are counted in 20 bins over their common range:

    KLOM = sum_b p_b log(p_b / q_b)   with p from the unlearned, q from the retrained models, its empty bins at 1e-5.

A histogram of few models is mostly chance: two populations of 16 that are equal give a KLOM well above zero. What the
number of models alone gives is therefore measured too (the floor).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearning.checks import checked_count
from unlearning.evaluation.audit.confidences import Matrix, Vector, checked_populations, clipped_margin
from unlearning.evaluation.audit.findings import Findings
from unlearning.evaluation.audit.resampling import RESAMPLES, checked_resamples, drawn, halves, interval
from unlearning.evaluation.measure import Measure

BINS = 20
LEAST_PROBABILITY = 1e-5


def klom_per_sample(unlearned: NDArray[Any], retrained: NDArray[Any], *, bins: int = BINS) -> Vector:
    """Return KLOM of each sample, (n,) in nats.

    The bins of a sample are equal parts of the range of both populations' margins on it, its largest margin included in
    the last. q is raised where p is not zero and renormalised, so KLOM is never negative and at most about log 1e5.

    Args:
        unlearned: phi (N, n) of the models trained with the samples, then unlearned.
        retrained: phi (N', n) of the models trained without them.
        bins: Bins per sample.

    References:
        Georgiev, Rinberg et al., "Attribute-to-delete: machine unlearning via datamodel matching", ICLR 2025
        (arXiv 2410.23232).

    Example:
        >>> two = np.array([[0.0], [1.0]])
        >>> klom_per_sample(two, two).tolist()
        [0.0]
    """
    u, r = checked_populations(unlearned, retrained, least_models=1, least_samples=1)
    counts = checked_count("bins", bins)
    return _divergence(*(side.mean(axis=0) for side in _binned(u, r, counts)))


def klom_measures(
    unlearned: NDArray[Any], retrained: NDArray[Any], *, seed: int, resamples: int = RESAMPLES
) -> Findings:
    """Return KLOM over all samples, and what equal populations of as many models would give.

    Args:
        unlearned: phi (N, n) of models trained with the samples, then unlearned, N >= 4, n >= 10.
        retrained: phi (N', n) of models trained without them, N' >= 4.
        seed: Seed of the resampling and of the halves.
        resamples: Resamples behind each interval.

    Returns:
        `klom` (mean over samples), `klom_median`, `klom_p95`: lower is better, but comparable only between audits with
        the same number of models. `klom_floor`: the mean between two disjoint halves of the retrained models, which is
        the best that half as many models allow. `klom_excess`: the mean between as many unlearned models and the second
        half, minus the floor: 0 when unlearning equals retraining, whatever the number of models.
        Intervals of the first three resample samples and models; of the last two they show the spread over random
        halves and resampled samples.

    Raises:
        OptionOutOfRange: too few models or samples.

    Note:
        `ShapeError` and `NonFinite` for matrices that do not fit.
    """
    u, r = checked_populations(unlearned, retrained)
    return _whole(u, r, seed, checked_resamples(resamples)).joined(_floor(u, r, seed, resamples))


def _whole(u: Matrix, r: Matrix, seed: int, resamples: int) -> Findings:
    (num_u, n), num_r = u.shape, len(r)
    cells = [side.reshape(len(side), -1) for side in _binned(u, r, BINS)]
    draws = []
    for draw in drawn((num_u, num_r), n, seed=seed, count=resamples):
        p, q = (
            (w @ side / w.sum()).reshape(n, BINS)
            for w, side in zip((draw.unlearned, draw.retrained), cells, strict=True)
        )
        draws.append(_summaries(_divergence(p, q)[draw.samples]))
    values = _summaries(klom_per_sample(u, r))
    names, models = ("klom", "klom_median", "klom_p95"), min(num_u, num_r)
    return Findings(
        tuple(
            Measure(name, value, *interval(value, column, models, 0.0), n, seed, "lower")
            for name, value, column in zip(names, values, np.array(draws).T, strict=True)
        )
    )


def _floor(u: Matrix, r: Matrix, seed: int, resamples: int) -> Findings:
    n, models, rng = u.shape[1], min(len(u), len(r)), np.random.default_rng(seed)
    floors, excesses, spread = [], [], []
    for i, first, second in halves((len(u), len(r)), seed=seed, count=resamples):
        floor = klom_per_sample(r[first], r[second])
        excess = klom_per_sample(u[i], r[second]) - floor
        samples = rng.integers(n, size=n)
        floors.append(floor.mean())
        excesses.append(excess.mean())
        spread.append((floor[samples].mean(), excess[samples].mean()))
    of_floor, of_excess = np.array(spread).T
    low, high = float(np.mean(floors)), float(np.mean(excesses))
    return Findings((
        Measure("klom_floor", low, *interval(low, of_floor, models, 0.0), n, seed, "lower"),
        Measure("klom_excess", high, *interval(high, of_excess, models), n, seed, "lower"),
    ))


def _summaries(klom: Vector) -> tuple[float, float, float]:
    return float(klom.mean()), float(np.median(klom)), float(np.quantile(klom, 0.95))


def _binned(u: Matrix, r: Matrix, bins: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return for each model and sample which bin the margin is in, (N, n, bins) with a single one."""
    margins = [clipped_margin(side) for side in (u, r)]
    low = np.minimum(*(side.min(axis=0) for side in margins))
    width = np.maximum(*(side.max(axis=0) for side in margins)) - low
    scale = np.divide(bins, width, out=np.zeros_like(width), where=width > 0)
    first, second = (np.minimum((side - low) * scale, bins - 1).astype(np.int64) for side in margins)
    ones = np.eye(bins)
    return ones[first], ones[second]


def _divergence(p: Matrix, q: Matrix) -> Vector:
    """Return KL(p || q) of each row."""
    raised = np.where(p > 0, np.maximum(q, LEAST_PROBABILITY), q)
    raised /= raised.sum(axis=1, keepdims=True)
    ratio = np.divide(p, raised, out=np.ones_like(p), where=p > 0)
    klom: Vector = np.maximum((p * np.log(ratio)).sum(axis=1), 0.0)
    return klom
