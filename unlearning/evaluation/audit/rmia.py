"""RMIA, offline: is the model surer of this sample, compared with models that never saw it, than it is of others?

With p(x) the probability of the true class under the target, pbar(x) what models give it on average, and z from a
population that no model was trained on:

    score(x) = share of z with  (p(x) / pbar(x)) / (p(z) / pbar(z)) > gamma
    pbar(x)  = (1 + a) / 2 * mean over retrained models of p(x) + (1 - a) / 2

Everything is computed from log-probabilities, so that a probability of 1e-300 is still compared and not lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearning.errors import OptionOutOfRange, ShapeError
from unlearning.evaluation.audit.confidences import (
    Matrix,
    checked_populations,
    checked_released,
    log_probability,
)
from unlearning.evaluation.audit.findings import Findings
from unlearning.evaluation.audit.pairs import (
    Counts,
    Named,
    PairScores,
    Scores,
    measured,
    most_targets,
    over_samples,
    targets,
)
from unlearning.evaluation.audit.resampling import RESAMPLES, Resample, checked_resamples, drawn

GRID = tuple(step / 10 for step in range(11))
"""Values of a that are tried; a = 1 takes the retrained models' mean as it is, a = 0 halves the way to certainty."""
_MOST_SCORES = 1 << 18


def rmia_measures(
    unlearned: NDArray[Any],
    retrained: NDArray[Any],
    unlearned_z: NDArray[Any],
    retrained_z: NDArray[Any],
    *,
    seed: int,
    released: tuple[NDArray[Any], NDArray[Any]] | None = None,
    gamma: float = 1.0,
    resamples: int = RESAMPLES,
) -> Findings:
    """Return how well RMIA tells unlearned from retrained models.

    Targets are held-out pairs; the references are all retrained models but the target. For each pair of targets `a` is
    the value of the grid whose AUC on all other pairs is farthest from 0.5 (either way: a method that overdoes it must
    not be tuned back to 0.5), so no pair chooses the attack it is judged by.

    Args:
        unlearned: phi (N, n) of models trained with the samples, then unlearned, N >= 4, n >= 10.
        retrained: phi (N', n) of models trained without them, N' >= 4.
        unlearned_z: phi (N, m) of the first models on population samples, m >= 10: not in the training set of any
            model, and of the same classes as the samples under audit (others are no yardstick for a forgotten class).
        retrained_z: phi (N', m) of the second ones.
        seed: Seed of the resampling, and of the choice of targets when there are too many models.
        released: phi (n,) and (m,) of the model that is about to be released; it is no shadow model.
        gamma: How many times the ratio of a population sample must be exceeded; above 0.
        resamples: Resamples behind each interval; they keep the chosen `a`, and the population samples.

    Returns:
        `rmia_auc` (mean over samples; two-sided: below 0.5 unlearned models are less sure than retrained ones), and
        with `released` `rmia_released_auc`: the released model against held-out retrained ones.

    Raises:
        OptionOutOfRange: too few models or samples, or gamma is no finite number above 0.
        ShapeError: the matrices are not of the same models and samples.

    Note:
        `NonFinite` for NaN and infinity. Costs O(N N' (n + m) log m) per resample.

    References:
        Zarifzadeh, Liu, Shokri, "Low-cost high-power membership inference attacks", ICML 2024 (arXiv 2312.03262).
    """
    if not (math.isfinite(gamma) and gamma > 0):
        raise OptionOutOfRange("gamma", "a finite number above 0", gamma)
    u, r = checked_populations(unlearned, retrained)
    u_z, r_z = checked_populations(unlearned_z, retrained_z, samples="population samples")
    for name, phi, other in (("unlearned", u, u_z), ("retrained", r, r_z)):
        if len(phi) != len(other):
            raise ShapeError(f"population confidences of the {name} models", f"({len(phi)}, m)", other.shape)
    attack = _Attack.on(_Side.of(u, u_z), _Side.of(r, r_z), math.log(gamma), seed)
    table = attack.auc_by_a()
    found = attack.measured("rmia_auc", _farthest(table), None, seed, resamples)
    if released is None:
        return found
    row = _Side.of(checked_released(released[0], u.shape[1]), checked_released(released[1], u_z.shape[1]))
    return found.joined(attack.measured("rmia_released_auc", _farthest_without_row(table), row, seed, resamples))


@dataclass(frozen=True)
class _Side:
    """Log-probabilities of the true class: (k, n) on the samples under audit, (k, m) on the population's."""

    x: Matrix
    z: Matrix

    @classmethod
    def of(cls, x: Matrix, z: Matrix) -> _Side:
        return cls(log_probability(x), log_probability(z))

    def at(self, index: Any) -> _Side:
        return _Side(self.x[index], self.z[index])


@dataclass(frozen=True)
class _Attack:
    """Both populations, which of their models are targets, and the logarithm of gamma."""

    unlearned: _Side
    retrained: _Side
    targets: tuple[Counts, Counts]
    log_gamma: float

    @classmethod
    def on(cls, unlearned: _Side, retrained: _Side, log_gamma: float, seed: int) -> _Attack:
        rng, most = np.random.default_rng(seed), most_targets(unlearned.x.shape[1], _MOST_SCORES)
        chosen = targets(len(unlearned.x), most, rng), targets(len(retrained.x), most, rng)
        return cls(unlearned, retrained, chosen, log_gamma)

    def auc_by_a(self) -> NDArray[np.float64]:
        """Return the AUC of each pair of targets for each value of the grid, (len(GRID), a, b)."""
        shape = tuple(len(side) for side in self.targets)
        found = (self.pairs(np.full(shape, a)) for a in GRID)
        return np.stack([pairs.wins().mean(axis=-1) for pairs in found])

    def pairs(self, a: Matrix, draw: Resample | None = None, released: _Side | None = None) -> PairScores:
        """Score all pairs of targets, or the released model and each retrained one, with `a` for each pair."""
        i, j = self.targets
        counts_u, counts_r = np.ones(len(self.unlearned.x), np.int64), np.ones(len(self.retrained.x), np.int64)
        if draw is not None:
            counts_u, counts_r = draw.unlearned, draw.retrained
        rows, columns = counts_u[i] > 0, counts_r[j] > 0
        first, weights = self.unlearned.at(i[rows]), counts_u[i[rows]]
        if released is not None:
            rows, first, weights = np.ones(1, np.bool_), released, np.ones(1, np.int64)
        i_and_j = a[np.ix_(rows, columns)][..., None]
        j = j[columns]
        bar = _Side(*(_average(log_p, counts_r, j, i_and_j) for log_p in (self.retrained.x, self.retrained.z)))
        second = self.retrained.at(j)
        return PairScores(
            self._share(_Side(first.x[:, None] - bar.x, first.z[:, None] - bar.z)),
            self._share(_Side(second.x[None] - bar.x, second.z[None] - bar.z)),
            (weights, counts_r[j]),
        )

    def measured(self, name: str, a: Matrix, released: _Side | None, seed: int, resamples: int) -> Findings:
        models, n = (len(self.unlearned.x), len(self.retrained.x)), self.unlearned.x.shape[1]
        # Two different models: one may be held out and one is left as a reference.
        draws = drawn(models, n, seed=seed, count=checked_resamples(resamples), distinct=2)
        return measured(
            [Named(name, over_samples(PairScores.auc, np.mean), "two-sided")],
            self.pairs(a, released=released),
            ((self.pairs(a, draw, released), draw) for draw in draws),
            models=min(models),
            seed=seed,
        )

    def _share(self, ratio: _Side) -> Scores:
        """Return for each pair and sample the share of population samples whose ratio it exceeds by gamma."""
        *pairs, n = ratio.x.shape
        m = ratio.z.shape[-1]
        ordered = np.sort(ratio.z.reshape(-1, m), axis=1)
        wanted = ratio.x.reshape(-1, n) - self.log_gamma
        below = [np.searchsorted(z, x) for z, x in zip(ordered, wanted, strict=True)]
        share: Scores = np.stack(below) / m
        return share.reshape(*pairs, n)


def _average(log_p: Matrix, counts: Counts, left_out: Counts, a: Scores) -> Scores:
    """Return log pbar (a, b, n) from the models' log-probabilities (N, n), each time without one model's copies."""
    with np.errstate(divide="ignore"):  # log 0: a model that does not count, or a = 1
        weights = np.log(np.where(np.arange(len(counts)) == left_out[:, None], 0, counts) * 1.0)
        total = np.log(counts.sum() - counts[left_out])[:, None]
        mean = np.stack([np.logaddexp.reduce(log_p + row[:, None], axis=0) for row in weights]) - total
        average: Scores = np.logaddexp(np.log((1 + a) / 2) + mean, np.log((1 - a) / 2))
    return average


def _farthest(table: NDArray[np.float64]) -> Matrix:
    """Return for each pair the value of a whose mean AUC over the pairs without its two models is farthest from 0.5."""
    row, column = table.sum(axis=2, keepdims=True), table.sum(axis=1, keepdims=True)
    others = column.sum(axis=2, keepdims=True) - row - column + table
    return _chosen(others / ((table.shape[1] - 1) * (table.shape[2] - 1)))


def _farthest_without_row(table: NDArray[np.float64]) -> Matrix:
    """Return the same for the released model (1, b): over the pairs without the retrained model."""
    column = table.mean(axis=1, keepdims=True)
    return _chosen((column.sum(axis=2, keepdims=True) - column) / (table.shape[2] - 1))


def _chosen(auc: NDArray[np.float64]) -> Matrix:
    chosen: Matrix = np.asarray(GRID)[np.abs(auc - 0.5).argmax(axis=0)]
    return chosen
