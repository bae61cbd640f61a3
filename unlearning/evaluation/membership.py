"""The membership attack: can one tell the forgotten class's training images from its test images?

Members are the forget classes' training samples, non-members the same classes' test samples; both are scored by the
same model. A model that has forgotten treats them alike: the AUC is 0.5, and both directions away from it are bad (a
model that is unusually wrong on former members betrays them too).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_count, checked_finite, checked_labels
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.accuracy import mean_of_shares
from unlearning.evaluation.measure import Direction, Measure

Vector = NDArray[np.float64]
PRIMARY_SCORE = "margin"
_LOW_RATES = {"membership_tpr_at_1pct_fpr": 0.01, "membership_tpr_at_01pct_fpr": 0.001}
_ALWAYS = 0.01
"""This rate is told however few non-members there are; a lower one needs enough of them in each class."""
_RESAMPLES = 1000
_NUMBERS_AT_ONCE = 1 << 21
"""Resamples are counted in blocks of about this many numbers."""


def membership_scores(logits: Tensor, labels: Iterable[int] | NDArray[Any] | Tensor) -> dict[str, Vector]:
    """Return five scores per sample, each larger the more the sample looks like a member.

    All in float64 from log-probabilities, so that a probability of one in float32 does not flatten the tail:
    margin = log p_y - log sum_{j != y} p_j; loss = log p_y; confidence = max_j p_j; entropy = sum_j p_j log p_j;
    modified_entropy = (1 - p_y) log p_y + sum_{j != y} p_j log(1 - p_j).

    Args:
        logits: Outputs (n, K), K >= 2; log-probabilities serve as well.
        labels: True classes (n,).

    Raises:
        ShapeError: the shapes do not fit.
        NonFinite: an output is NaN or infinite.

    References:
        Song and Mittal, "Systematic evaluation of privacy risks of machine learning models", USENIX Security 2021
        (modified entropy); Carlini et al., "Membership inference attacks from first principles", S&P 2022 (margin).
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ShapeError("outputs", "(n, K) with K >= 2", logits.shape)
    z = checked_finite(logits.detach().cpu().double(), "the outputs under attack")
    y = torch.from_numpy(checked_labels(labels, z.shape[1]))
    if len(y) != len(z):
        raise ShapeError("labels", f"({len(z)},)", y.shape)
    log_p = torch.log_softmax(z, dim=1)
    true = log_p.gather(1, y[:, None]).squeeze(1)
    others = log_p.scatter(1, y[:, None], -torch.inf)
    log_rest = torch.logsumexp(others, dim=1)  # log(1 - p_y), exact also when p_y rounds to one
    p = log_p.exp()
    log_not_p = torch.log1p(-p.clamp(max=1 - 1e-16))
    other_terms = (p * log_not_p).scatter(1, y[:, None], 0.0).sum(dim=1)
    scores = {
        "margin": true - log_rest,
        "loss": true,
        "confidence": p.max(dim=1).values,
        "entropy": (p * log_p).sum(dim=1),
        "modified_entropy": log_rest.exp() * true + other_terms,
    }
    return {name: score.numpy() for name, score in scores.items()}


def membership_measures(
    member_logits: Tensor,
    member_labels: Iterable[int] | NDArray[Any] | Tensor,
    other_logits: Tensor,
    other_labels: Iterable[int] | NDArray[Any] | Tensor,
    *,
    seed: int,
    primary: str = PRIMARY_SCORE,
    resamples: int = _RESAMPLES,
) -> tuple[Measure, ...]:
    """Return how well members are told from non-members of the same class.

    With several classes each measure is the mean over classes, weighted by their numbers of pairs: samples of different
    classes are never compared, since a difference between classes is no sign of membership.

    Args:
        member_logits: Outputs on the training samples (n, K).
        member_labels: Their classes.
        other_logits: Outputs on samples of the same classes that were never trained on.
        other_labels: Their classes.
        seed: Seed of bootstrap and split.
        primary: The score that is named in advance to decide: "margin", "loss", "confidence", "entropy" or
            "modified_entropy"; the best of five would be biased upwards.
        resamples: Bootstrap resamples, drawn within members and non-members of each class.

    Returns:
        `membership_auc` of the primary score, the AUC of every other score (`membership_auc_<score>`), then of the
        primary score `membership_balanced_accuracy` (threshold chosen on one half, judged on the other, both ways),
        `membership_advantage` (largest TPR - FPR, chosen and judged on the same samples: biased upwards when n is
        small), `membership_tpr_at_1pct_fpr` (with fewer than 100 non-members this is the TPR without any false
        positive) and, with at least 1,000 non-members of each class, `membership_tpr_at_01pct_fpr`. Intervals are 95 %
        bootstrap percentiles; that of the balanced accuracy combines Wilson's limits of the rates of hits and of right
        rejections on both halves, as if their thresholds were given, and is absent where a class has no two halves.

    Raises:
        OptionOutOfRange: no such score.
        EmptySide: no class has both members and non-members.

    Note:
        Classes without samples on both sides are left out. Population attack: says nothing about single samples.
    """
    attack = _Attack.on(member_logits, member_labels, other_logits, other_labels, seed, resamples)
    names = attack.scores
    if primary not in names:
        raise OptionOutOfRange("primary", f"one of {sorted(names)}", primary)
    balanced = _balanced_accuracy(attack.split(primary), seed)
    return (
        attack.measured("membership_auc", primary, _auc, "two-sided"),
        *(attack.measured(f"membership_auc_{name}", name, _auc, "two-sided") for name in names if name != primary),
        balanced,
        attack.measured("membership_advantage", primary, _advantage, "lower"),
        *(attack.measured(name, primary, _tpr_at(fpr), "lower") for name, fpr in attack.low_rates.items()),
    )


def membership_auc(
    member_logits: Tensor,
    member_labels: Iterable[int] | NDArray[Any] | Tensor,
    other_logits: Tensor,
    other_labels: Iterable[int] | NDArray[Any] | Tensor,
    *,
    seed: int,
    resamples: int = _RESAMPLES,
) -> Measure:
    """Return the first of `membership_measures` alone, for a seventh of the time.

    Args:
        member_logits: Outputs on the training samples (n, K).
        member_labels: Their classes.
        other_logits: Outputs on samples of the same classes that were never trained on.
        other_labels: Their classes.
        seed: Seed of the bootstrap.
        resamples: Bootstrap resamples.

    Raises:
        EmptySide: no class has both members and non-members.
    """
    attack = _Attack.on(member_logits, member_labels, other_logits, other_labels, seed, resamples)
    return attack.measured("membership_auc", PRIMARY_SCORE, _auc, "two-sided")


@dataclass(frozen=True)
class _Attack:
    """Scores of members and non-members, and how they are resampled."""

    members: dict[str, Vector]
    others: dict[str, Vector]
    member_labels: NDArray[np.int64]
    other_labels: NDArray[np.int64]
    classes: tuple[int, ...]
    seed: int
    resamples: int

    @classmethod
    def on(
        cls,
        member_logits: Tensor,
        member_labels: Any,
        other_logits: Tensor,
        other_labels: Any,
        seed: int,
        resamples: int,
    ) -> _Attack:
        checked_count("resamples", resamples)
        members, others = membership_scores(member_logits, member_labels), membership_scores(other_logits, other_labels)
        y_in, y_out = checked_labels(member_labels), checked_labels(other_labels)
        classes = tuple(sorted(set(y_in.tolist()) & set(y_out.tolist())))
        if not classes:
            raise EmptySide("non-member")
        return cls(members, others, y_in, y_out, classes, seed, resamples)

    @property
    def scores(self) -> list[str]:
        return list(self.members)

    @property
    def n(self) -> int:
        """Samples of classes that have both sides."""
        return int(np.isin(self.member_labels, self.classes).sum() + np.isin(self.other_labels, self.classes).sum())

    @property
    def low_rates(self) -> dict[str, float]:
        """The low false-positive rates that so many non-members can show, by the measure's name."""
        fewest = min(int((self.other_labels == c).sum()) for c in self.classes)
        return {name: fpr for name, fpr in _LOW_RATES.items() if fpr >= _ALWAYS or fewest * fpr >= 1}

    def split(self, score: str) -> list[tuple[Vector, Vector]]:
        """Return the scores of members and of non-members, class by class."""
        inside, outside = self.members[score], self.others[score]
        return [(inside[self.member_labels == c], outside[self.other_labels == c]) for c in self.classes]

    def measured(self, name: str, score: str, statistic: _Statistic, direction: Direction) -> Measure:
        found = _bootstrapped(self.split(score), statistic, self.seed, self.resamples)
        return Measure(name, *found, self.n, self.seed, direction)


@dataclass(frozen=True)
class _Ranked:
    """One class's samples as places in the common descending order of distinct scores."""

    members: NDArray[np.int64]
    others: NDArray[np.int64]
    places: int

    @classmethod
    def of(cls, members: Vector, others: Vector) -> _Ranked:
        values, places = np.unique(-np.concatenate([members, others]), return_inverse=True)
        return cls(places[: len(members)], places[len(members) :], len(values))

    def counts(self, rng: np.random.Generator | None, resamples: int) -> tuple[Vector, Vector]:
        """Return how many members and others stand at each place, (resamples, places); as they are without a generator.

        Bootstrap counts are drawn as a multinomial over the samples' places, which is what drawing with replacement is.
        """
        sides = (np.bincount(side, minlength=self.places).astype(np.float64) for side in (self.members, self.others))
        at_member, at_other = sides
        if rng is None:
            return at_member[None], at_other[None]
        drawn = (rng.multinomial(int(side.sum()), side / side.sum(), resamples) for side in (at_member, at_other))
        member, other = (counts.astype(np.float64) for counts in drawn)
        return member, other


_Statistic = Callable[[Vector, Vector], Vector]
"""From counts per place (..., places), best score first, to one number each."""


def _auc(members: Vector, others: Vector) -> Vector:
    """Return P(member above non-member) + P(equal) / 2."""
    below = others.sum(-1, keepdims=True) - np.cumsum(others, axis=-1) + others / 2
    auc: Vector = (members * below).sum(-1) / (members.sum(-1) * others.sum(-1))
    return auc


def _advantage(members: Vector, others: Vector) -> Vector:
    advantage: Vector = np.maximum(0.0, np.max(_rates(members) - _rates(others), axis=-1))
    return advantage


def _tpr_at(fpr: float) -> _Statistic:
    def tpr_at(members: Vector, others: Vector) -> Vector:
        tpr: Vector = np.where(_rates(others) <= fpr, members, 0.0).sum(-1) / members.sum(-1)
        return tpr

    return tpr_at


def _rates(counts: Vector) -> Vector:
    """Return the share at or above each place."""
    rates: Vector = np.cumsum(counts, axis=-1) / counts.sum(-1, keepdims=True)
    return rates


def _bootstrapped(
    groups: list[tuple[Vector, Vector]], statistic: _Statistic, seed: int, resamples: int
) -> tuple[float, float, float]:
    ranked = [_Ranked.of(*group) for group in groups]
    weights = np.array([len(inside) * len(outside) for inside, outside in groups], dtype=np.float64)
    weights /= weights.sum()
    rng = np.random.default_rng(seed)
    drawn = np.zeros(resamples)
    for weight, one in zip(weights, ranked, strict=True):
        step = max(1, _NUMBERS_AT_ONCE // one.places)
        for start in range(0, resamples, step):
            part = drawn[start : start + step]
            part += weight * statistic(*one.counts(rng, len(part)))
    value = float(sum(w * statistic(*one.counts(None, 1))[0] for w, one in zip(weights, ranked, strict=True)))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return value, float(low), float(high)


def _balanced_accuracy(groups: list[tuple[Vector, Vector]], seed: int) -> Measure:
    """Return the mean over classes, halves and sides of what the threshold of the other half gets right."""
    name = "membership_balanced_accuracy"
    rng, counted, weights = np.random.default_rng(seed), [], []
    total, weight, n = 0.0, 0.0, 0
    for inside, outside in groups:
        pairs, n = float(len(inside) * len(outside)), n + len(inside) + len(outside)
        a, b = (np.array_split(rng.permutation(side), 2) for side in (inside, outside))
        halves = [(a[0], b[0]), (a[1], b[1])]
        if min(len(part) for half in halves for part in half) == 0:
            rate = 0.5  # too few samples to choose a threshold on others than those it is judged by
        else:
            judged = [*_judged(*halves[0], *halves[1]), *_judged(*halves[1], *halves[0])]
            rate = sum(hits / of for hits, of in judged) / len(judged)
            counted += judged
            weights += [pairs] * len(judged)
        total, weight = total + pairs * rate, weight + pairs
    if len(counted) < 4 * len(groups):
        return Measure(name, total / weight, None, None, n, seed, "two-sided")
    hits, totals = (np.array(side) for side in zip(*counted, strict=True))
    found = mean_of_shares(hits, totals, name=name, weights=np.array(weights), seed=seed)
    return replace(found, direction="two-sided")


def _judged(inside: Vector, outside: Vector, inside_new: Vector, outside_new: Vector) -> list[tuple[int, int]]:
    """Return what the threshold that is best on the old halves gets right of the new members and of the others."""
    values = np.unique(np.concatenate([inside, outside]))
    tpr = 1 - np.searchsorted(np.sort(inside), values) / len(inside)
    fpr = 1 - np.searchsorted(np.sort(outside), values) / len(outside)
    threshold = values[int(np.argmax(tpr - fpr))]
    return [
        (int((inside_new >= threshold).sum()), len(inside_new)),
        (int((outside_new < threshold).sum()), len(outside_new)),
    ]
