"""The membership attack: can one tell the forgotten class's training images from its test images?

Members are the forget classes' training samples, non-members the same classes' test samples; both are scored by the
same model. A model that has forgotten treats them alike: the AUC is 0.5, and both directions away from it are bad (a
model that is unusually wrong on former members betrays them too).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_count, checked_finite, checked_labels
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.measure import Direction, Measure

Vector = NDArray[np.float64]
PRIMARY_SCORE = "margin"
_FPR = 0.01


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
    resamples: int = 1000,
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
        small) and `membership_tpr_at_1pct_fpr` (with fewer than 100 non-members this is the TPR without any false
        positive). Intervals are 95 % bootstrap percentiles.

    Raises:
        OptionOutOfRange: no such score.
        EmptySide: no class has both members and non-members.

    Note:
        Classes without samples on both sides are left out. Population attack: says nothing about single samples.
    """
    checked_count("resamples", resamples)
    members, others = membership_scores(member_logits, member_labels), membership_scores(other_logits, other_labels)
    if primary not in members:
        raise OptionOutOfRange("primary", f"one of {sorted(members)}", primary)
    y_in, y_out = checked_labels(member_labels), checked_labels(other_labels)
    classes = sorted(set(y_in.tolist()) & set(y_out.tolist()))
    if not classes:
        raise EmptySide("non-member")
    n = int(np.isin(y_in, classes).sum() + np.isin(y_out, classes).sum())

    def split(score: str) -> list[tuple[Vector, Vector]]:
        return [(members[score][y_in == c], others[score][y_out == c]) for c in classes]

    def measured(name: str, score: str, statistic: _Statistic, direction: Direction) -> Measure:
        return Measure(name, *_bootstrapped(split(score), statistic, seed, resamples), n, seed, direction)

    rest = [score for score in members if score != primary]
    balanced = _balanced_accuracy(split(primary), seed)
    return (
        measured("membership_auc", primary, _auc, "two-sided"),
        *(measured(f"membership_auc_{score}", score, _auc, "two-sided") for score in rest),
        Measure("membership_balanced_accuracy", balanced, None, None, n, seed, "two-sided"),
        measured("membership_advantage", primary, _advantage, "lower"),
        measured("membership_tpr_at_1pct_fpr", primary, _tpr_at_fpr, "lower"),
    )


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

    def counts(self, rng: np.random.Generator | None) -> tuple[Vector, Vector]:
        """Return how many members and others stand at each place, of a bootstrap resample if a generator is given."""
        members, others = self.members, self.others
        if rng is not None:
            members, others = rng.choice(members, len(members)), rng.choice(others, len(others))
        at_member = np.bincount(members, minlength=self.places).astype(np.float64)
        return at_member, np.bincount(others, minlength=self.places).astype(np.float64)


_Statistic = Callable[[Vector, Vector], float]


def _auc(members: Vector, others: Vector) -> float:
    """Return P(member above non-member) + P(equal) / 2 from counts per place, best score first."""
    below = others.sum() - np.cumsum(others) + others / 2
    return float(members @ below / (members.sum() * others.sum()))


def _advantage(members: Vector, others: Vector) -> float:
    return float(max(0.0, np.max(np.cumsum(members) / members.sum() - np.cumsum(others) / others.sum())))


def _tpr_at_fpr(members: Vector, others: Vector) -> float:
    allowed = np.cumsum(others) / others.sum() <= _FPR
    return float(members[allowed].sum() / members.sum())


def _bootstrapped(
    groups: list[tuple[Vector, Vector]], statistic: _Statistic, seed: int, resamples: int
) -> tuple[float, float, float]:
    ranked = [_Ranked.of(*group) for group in groups]
    weights = np.array([len(inside) * len(outside) for inside, outside in groups], dtype=np.float64)
    weights /= weights.sum()

    def mean(rng: np.random.Generator | None) -> float:
        return float(weights @ [statistic(*one.counts(rng)) for one in ranked])

    rng = np.random.default_rng(seed)
    low, high = np.quantile([mean(rng) for _ in range(resamples)], [0.025, 0.975])
    return mean(None), float(low), float(high)


def _balanced_accuracy(groups: list[tuple[Vector, Vector]], seed: int) -> float:
    rng = np.random.default_rng(seed)
    total, weight = 0.0, 0.0
    for inside, outside in groups:
        pairs = float(len(inside) * len(outside))
        a, b = (np.array_split(rng.permutation(side), 2) for side in (inside, outside))
        halves = [(a[0], b[0]), (a[1], b[1])]
        if min(len(part) for half in halves for part in half) == 0:
            rate = 0.5  # too few samples to choose a threshold on others than those it is judged by
        else:
            rate = (_judged(*halves[0], *halves[1]) + _judged(*halves[1], *halves[0])) / 2
        total, weight = total + pairs * rate, weight + pairs
    return total / weight


def _judged(inside: Vector, outside: Vector, inside_new: Vector, outside_new: Vector) -> float:
    """Return the balanced accuracy on the new halves of the threshold that is best on the old ones."""
    values = np.unique(np.concatenate([inside, outside]))
    tpr = 1 - np.searchsorted(np.sort(inside), values) / len(inside)
    fpr = 1 - np.searchsorted(np.sort(outside), values) / len(outside)
    threshold = values[int(np.argmax(tpr - fpr))]
    return float(((inside_new >= threshold).mean() + (outside_new < threshold).mean()) / 2)
