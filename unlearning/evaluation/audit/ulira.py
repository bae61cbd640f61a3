"""U-LiRA: for each sample, is this a model that was trained with it and unlearned, or one that never saw it?

For each sample a normal distribution is fitted to the confidences of the unlearned models and one to those of the
retrained models; the attack's score of a target model is

    Lambda = log N(phi; mu_u, v_u) - log N(phi; mu_r, v_r),

never exponentiated. A method that forgets leaves 0.5; both directions away from it are bad.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearning.evaluation.audit.confidences import Matrix, checked_populations, checked_released
from unlearning.evaluation.audit.findings import Findings
from unlearning.evaluation.audit.pairs import (
    Counts,
    Named,
    PairScores,
    low_rates,
    measured,
    most_targets,
    over_samples,
    targets,
)
from unlearning.evaluation.audit.resampling import RESAMPLES, Resample, checked_resamples, drawn

VARIANCE_FLOOR = 1e-4
"""No variance below (0.01)^2: confidences 0.01 apart are never more than a standard deviation apart."""
OWN_VARIANCE_FROM = 32
"""From so many fitted models on a sample has its own variance; below, all samples share their mean variance."""
_MOST_SCORES = 1 << 20


def u_lira_measures(
    unlearned: NDArray[Any],
    retrained: NDArray[Any],
    *,
    seed: int,
    released: NDArray[Any] | None = None,
    resamples: int = RESAMPLES,
) -> Findings:
    """Return how well single samples tell unlearned from retrained models.

    Every pair of an unlearned and a retrained model is a pair of targets once, attacked with normal distributions
    fitted on all other models: no model is scored by a fit it took part in, and no threshold is chosen on the scores it
    is judged by, except where a rate of false positives defines it.

    Args:
        unlearned: phi (N, n) of models trained with the samples, then unlearned, N >= 4, n >= 10.
        retrained: phi (N', n) of models trained without them, N' >= 4.
        seed: Seed of the resampling, and of the choice of targets when there are too many models.
        released: phi (n,) of the model that is about to be released; it is no shadow model.
        resamples: Resamples behind each interval.

    Returns:
        `u_lira_auc` (mean over samples; two-sided), `u_lira_balanced_accuracy` (threshold zero; two-sided),
        `u_lira_tpr_at_1pct_fpr`, `u_lira_tpr_at_01pct_fpr` (all samples under one threshold; absent below 1,000 and
        10,000 negative scores),
        `u_lira_sample_auc_p90` and `u_lira_sample_auc_max` (the most exposed samples; on equal populations these lie
        above 0.5 by what few targets scatter), and with `released` `u_lira_released_auc`: the released model against
        held-out retrained ones (its interval is about this one model, not about the method). Intervals resample samples
        and models, fits included; the maximum has none.

    Raises:
        OptionOutOfRange: too few models or samples.

    Note:
        `ShapeError` and `NonFinite` for matrices that do not fit. Variances: the mean over samples of the variances of
        single samples while fewer than 32 models are fitted, each sample's own from 32 on (as LiRA does with few and
        many shadow models), never below `VARIANCE_FLOOR`. Costs O(N N' n) per resample.

    References:
        Hayes, Shumailov, Triantafillou, Khalifa, Papernot, "Inexact unlearning needs more careful evaluations to avoid
        a false sense of privacy", SaTML 2025 (arXiv 2403.01218); Carlini et al., S&P 2022 (LiRA, global variance).
    """
    u, r = checked_populations(unlearned, retrained)
    attack = _Attack.on(u, r, seed)
    models, n = (len(u), len(r)), u.shape[1]
    rates, absent = low_rates("u_lira", len(attack.targets[1]) * n)
    found = measured(
        [*_NAMED, *rates],
        attack.pairs(),
        ((attack.pairs(draw), draw) for draw in _draws(models, n, seed, resamples)),
        models=min(models),
        seed=seed,
    ).joined(Findings((), absent))
    if released is None:
        return found
    row = checked_released(released, n)
    return found.joined(
        measured(
            [Named("u_lira_released_auc", over_samples(PairScores.auc, np.mean), "two-sided")],
            attack.against(row),
            ((attack.against(row, draw), draw) for draw in _draws(models, n, seed, resamples)),
            models=min(models),
            seed=seed,
        )
    )


_NAMED = (
    Named("u_lira_auc", over_samples(PairScores.auc, np.mean), "two-sided"),
    Named("u_lira_balanced_accuracy", over_samples(PairScores.balanced_accuracy, np.mean), "two-sided"),
    Named("u_lira_sample_auc_p90", over_samples(PairScores.auc, lambda auc: np.quantile(auc, 0.9)), "lower"),
    Named("u_lira_sample_auc_max", over_samples(PairScores.auc, np.max), "lower", with_interval=False),
)


def _draws(models: tuple[int, int], n: int, seed: int, resamples: int) -> Iterator[Resample]:
    # Three different models: one may be held out and two are left for a variance.
    return drawn(models, n, seed=seed, count=checked_resamples(resamples), distinct=3)


@dataclass(frozen=True)
class _Normals:
    """A normal distribution per fit and sample: (k, n) or (1, n)."""

    mean: Matrix
    variance: Matrix

    def log_density(self, phi: Matrix) -> Matrix:
        """Return log N up to the constant that both sides share; the fits' dimension must be ready to broadcast."""
        log_density: Matrix = -((phi - self.mean) ** 2) / (2 * self.variance) - np.log(self.variance) / 2
        return log_density

    def at(self, index: Any) -> _Normals:
        return _Normals(self.mean[index], self.variance[index])


def _fitted(phi: Matrix, counts: Counts, left_out: Counts) -> _Normals:
    """Fit to `phi` counted `counts` times, once without each of the models `left_out` (all its copies)."""
    d, total = phi - (counts @ phi) / counts.sum(), counts.sum()
    w = counts[left_out][:, None]
    rest = total - w
    shift = -w * d[left_out] / rest
    square = (counts @ d**2 - w * d[left_out] ** 2) / rest - shift**2
    return _normals((counts @ phi) / total + shift, square * rest / (rest - 1), len(phi) - 1)


def _fitted_on_all(phi: Matrix, counts: Counts) -> _Normals:
    total = counts.sum()
    mean = (counts @ phi) / total
    square = counts @ (phi - mean) ** 2 / (total - 1)
    return _normals(mean[None], square[None], len(phi))


def _normals(mean: Matrix, variance: Matrix, models: int) -> _Normals:
    if models < OWN_VARIANCE_FROM:
        variance = np.broadcast_to(variance.mean(axis=1, keepdims=True), variance.shape)
    return _Normals(mean, np.maximum(variance, VARIANCE_FLOOR))


@dataclass(frozen=True)
class _Attack:
    """Both populations and which of their models are targets."""

    unlearned: Matrix
    retrained: Matrix
    targets: tuple[Counts, Counts]

    @classmethod
    def on(cls, unlearned: Matrix, retrained: Matrix, seed: int) -> _Attack:
        rng, most = np.random.default_rng(seed), most_targets(unlearned.shape[1], _MOST_SCORES)
        return cls(unlearned, retrained, (targets(len(unlearned), most, rng), targets(len(retrained), most, rng)))

    def pairs(self, draw: Resample | None = None) -> PairScores:
        """Score all pairs of targets, each by a fit without the two."""
        (all_u, all_r), (i, j) = self._counted(draw)
        u, r = self.unlearned, self.retrained
        without_u, without_r = _fitted(u, all_u, i), _fitted(r, all_r, j)
        rows, columns = (slice(None), None), (None, slice(None))
        return PairScores(
            without_u.log_density(u[i])[rows] - without_r.at(columns).log_density(u[i][rows]),
            without_u.at(rows).log_density(r[j][columns]) - without_r.log_density(r[j])[columns],
            (all_u[i], all_r[j]),
        )

    def against(self, released: Matrix, draw: Resample | None = None) -> PairScores:
        """Score the released model and each retrained target, by a fit without the two."""
        (all_u, all_r), (_, j) = self._counted(draw)
        r = self.retrained[j]
        fit_u, without_r = _fitted_on_all(self.unlearned, all_u), _fitted(self.retrained, all_r, j)
        return PairScores(
            (fit_u.log_density(released) - without_r.log_density(released))[None],
            (fit_u.log_density(r) - without_r.log_density(r))[None],
            (np.ones(1, np.int64), all_r[j]),
        )

    def _counted(self, draw: Resample | None) -> tuple[tuple[Counts, Counts], tuple[Counts, Counts]]:
        """Return how often each model counts, and the targets that do."""
        if draw is None:
            ones = np.ones(len(self.unlearned), np.int64), np.ones(len(self.retrained), np.int64)
            return ones, self.targets
        i, j = self.targets
        return (draw.unlearned, draw.retrained), (i[draw.unlearned[i] > 0], j[draw.retrained[j] > 0])
