"""The curve of the membership attack: what it must be by definition, and where it must lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from tests.fixtures.small_models import Leaking, normal
from unlearning.errors import EmptySide, OptionOutOfRange
from unlearning.evaluation import membership_auc, predict_logits
from unlearning.evaluation.membership import membership_scores
from unlearning.evaluation.roc import Roc, membership_roc


def side(n: int, shift: float, seed: int) -> tuple[Tensor, np.ndarray]:
    logits = normal(n, 2, seed=seed)
    logits[:, 0] += shift
    return logits, np.zeros(n, dtype=np.int64)


def oracle(members: np.ndarray, others: np.ndarray, price: float) -> float:
    """The largest share of members that any threshold finds without more false alarms than the price allows."""
    thresholds = np.concatenate([members, others, [-np.inf]]) - 1e-12
    allowed = [t for t in thresholds if (others > t).mean() <= price + 1e-12]
    return max(((members > t).mean() for t in allowed), default=0.0)


def test_each_point_is_the_best_threshold_that_its_price_allows() -> None:
    members, others = side(40, 0.8, 1), side(25, 0.0, 2)
    found = membership_roc(members, others, points=12, resamples=10, seed=0)
    inside, outside = (membership_scores(*one)["margin"] for one in (members, others))
    assert found.tpr == pytest.approx([oracle(inside, outside, price) for price in found.fpr])


def test_prices_rise_evenly_on_a_logarithmic_scale_and_end_where_all_are_accused() -> None:
    found = membership_roc(side(50, 1.0, 1), side(200, 0.0, 2), resamples=20, seed=0)
    assert len(found.fpr) == len(found.tpr) == len(found.low) == len(found.high) == 60
    assert found.fpr[0] == pytest.approx(1 / 200)
    assert (found.fpr[-1], found.tpr[-1]) == (1.0, 1.0)
    steps = np.diff(np.log(found.fpr))
    assert steps == pytest.approx(np.full(59, steps[0]))
    assert list(found.tpr) == sorted(found.tpr)
    assert all(0 <= low <= high <= 1 for low, high in zip(found.low, found.high, strict=True))
    assert found.n == 250


def area(found: Roc) -> float:
    return float(np.trapezoid((0.0, *found.tpr), (0.0, *found.fpr)))


def test_the_area_under_many_points_is_the_attacks_auc() -> None:
    members, others = side(400, 0.7, 1), side(500, 0.0, 2)
    found = membership_roc(members, others, points=2000, resamples=2, seed=0)
    scores = np.concatenate([membership_scores(*one)["margin"] for one in (members, others)])
    expected = roc_auc_score(np.repeat([1, 0], [400, 500]), scores)
    assert area(found) == pytest.approx(expected, abs=0.005)
    assert membership_auc(*members, *others, seed=0).value == pytest.approx(expected)


def test_on_a_leaking_model_the_whole_band_lies_above_chance_and_between_unseen_halves_it_does_not(
    leaking: Leaking,
) -> None:
    train, validation, test = (
        (predict_logits(leaking.model, inputs), labels)
        for inputs, labels in (leaking.train, leaking.validation, leaking.test)
    )
    seen, unseen = (membership_roc(side, test, seed=0) for side in (train, validation))
    at = int(np.searchsorted(seen.fpr, 0.5))
    assert seen.low[at] > seen.fpr[at] + 0.2
    at = int(np.searchsorted(unseen.fpr, 0.2))
    assert unseen.low[at] < unseen.fpr[at] < unseen.high[at]


def test_classes_are_never_compared_with_each_other() -> None:
    """A class that all of its samples are surer of is no sign of membership."""
    sure, unsure = (side(100, shift, seed) for shift, seed in ((20.0, 1), (0.0, 2)))
    labels = np.concatenate([np.zeros(100), np.ones(100)]).astype(np.int64)
    members = torch.cat([sure[0], unsure[0][:, [1, 0]]]), labels
    others = torch.cat([side(100, 20.0, 3)[0], side(100, 0.0, 4)[0][:, [1, 0]]]), labels
    found = membership_roc(members, others, seed=0)
    at = int(np.searchsorted(found.fpr, 0.5))
    assert found.tpr[at] == pytest.approx(0.5, abs=0.12)


def test_equal_seeds_draw_the_same_band_and_json_holds_only_shares() -> None:
    members, others = side(30, 1.0, 1), side(30, 0.0, 2)
    first, again, other = (membership_roc(members, others, points=8, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.low != other.low
    plain = first.as_dict()
    assert set(plain) == {"fpr", "tpr", "low", "high", "n", "seed"}
    assert first.tpr == other.tpr


def test_no_class_with_both_sides_is_refused() -> None:
    members, (logits, labels) = side(5, 0.0, 1), side(5, 0.0, 2)
    with pytest.raises(EmptySide, match="non-member"):
        membership_roc(members, (logits, labels + 1), seed=0)
    with pytest.raises(OptionOutOfRange):
        membership_roc(members, (logits, labels), points=0, seed=0)
