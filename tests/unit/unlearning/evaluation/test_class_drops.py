"""One damaged class is found among many unharmed ones, with an interval that allows for having looked for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.fixtures.digits_models import FORGET, Digits
from unlearning.errors import EmptySide, NonFinite, ShapeError
from unlearning.evaluation import (
    accuracy_among,
    class_drops,
    nearest_classes,
    paired_drop,
    predict_logits,
    wilson_interval,
    worst_class_drop,
)
from unlearning.evaluation.intervals import normal_quantile

KEPT = [index for index in range(10) if index != FORGET]


def right(model: torch.nn.Module, digits: Digits) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = predict_logits(model, digits.test[0]).argmax(dim=1).numpy() == digits.test[1]
    return found


def test_each_class_has_its_own_paired_drop() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    before, after = rng.random(300) < 0.9, rng.random(300) < 0.8
    for index, drop in class_drops(before, after, labels).items():
        at = labels == index
        assert drop == paired_drop(before[at], after[at], name=drop.name, z=normal_quantile(1 - 0.025 / 3))


def test_one_damaged_class_shows_where_the_average_hides_it() -> None:
    labels = np.repeat(np.arange(10), 100)
    before = np.ones(1000, dtype=bool)
    after = before.copy()
    after[labels == 4] = np.arange(100) >= 40
    assert paired_drop(before, after).value == pytest.approx(0.04)
    worst = worst_class_drop(before, after, labels)
    assert worst.value == pytest.approx(0.4)
    assert worst.n == 100
    assert 0.25 < (worst.low or 0) < 0.4 < (worst.high or 0) < 0.6
    unharmed = worst_class_drop(before, after, labels, among=[0, 1, 2])
    assert unharmed.value == 0


def test_a_class_with_few_samples_may_have_lost_more_than_the_one_that_looks_worst() -> None:
    labels = np.array([0] * 400 + [1] * 6)
    before = np.ones(406, dtype=bool)
    after = before.copy()
    after[:20] = False
    worst = worst_class_drop(before, after, labels)
    few = class_drops(before, after, labels)[1]
    assert worst.value == pytest.approx(0.05)
    assert worst.high == few.high
    assert (worst.high or 0) > 0.3


def test_the_interval_covers_the_largest_drop_although_it_was_picked() -> None:
    rng, hits, naive = np.random.default_rng(0), 0, 0
    labels = np.repeat(np.arange(20), 60)
    for _ in range(200):
        before, after = rng.random(1200) < 0.8, rng.random(1200) < 0.8  # no class really drops
        worst = worst_class_drop(before, after, labels)
        hits += (worst.low or 0) <= 0 <= (worst.high or 0)
        picked = max(class_drops(before, after, labels, z=1.96).values(), key=lambda drop: drop.value)
        naive += (picked.low or 0) <= 0
    assert hits >= 200 * 0.95
    assert naive < 200 * 0.8


def test_nothing_is_lost_by_a_mask_and_a_class_is_by_forgetting_the_wrong_one(digits: Digits) -> None:
    before = right(digits.original, digits)
    masked = worst_class_drop(before, right(digits.masked, digits), digits.test[1], among=KEPT)
    assert masked.value <= 0.02
    nobody = worst_class_drop(before, digits.test[1] != 3, digits.test[1], among=KEPT)
    assert (nobody.low or 0) > 0.8


def test_neighbours_are_where_the_original_would_send_the_class(digits: Digits) -> None:
    logits = predict_logits(digits.original, digits.forgotten[0])
    p = torch.softmax(logits.double(), dim=1)
    p[:, FORGET] = 0
    mean = (p / p.sum(dim=1, keepdim=True)).mean(dim=0)
    assert nearest_classes(logits, {FORGET}, 3) == tuple(mean.argsort(descending=True)[:3].tolist())
    assert len(nearest_classes(logits, {FORGET}, 50)) == 9
    assert FORGET not in nearest_classes(logits, {FORGET}, 9)


def test_the_accuracy_among_some_classes_counts_their_samples() -> None:
    right, labels = np.array([1, 0, 1, 1, 0, 1], dtype=bool), [0, 0, 1, 2, 2, 3]
    found = accuracy_among(right, labels, [0, 2])
    assert (found.name, found.value, found.n) == ("nearest_class_accuracy", 0.5, 4)
    assert (found.low, found.high) == wilson_interval(2, 4)


def test_what_cannot_be_compared_is_refused() -> None:
    ones = np.ones(4, dtype=bool)
    with pytest.raises(EmptySide, match="retain"):
        accuracy_among(ones, [0, 0, 1, 1], [5])
    with pytest.raises(ShapeError, match="outcomes"):
        accuracy_among(ones[:2], [0, 0, 1, 1], [1])
    with pytest.raises(EmptySide, match="retain"):
        worst_class_drop(ones, ones, [0, 0, 1, 1], among=[5])
    for other in (ones[:3], ones):
        with pytest.raises(ShapeError, match="outcomes"):
            worst_class_drop(ones, other, [0, 1, 1])
    with pytest.raises(EmptySide, match="forget"):
        nearest_classes(torch.zeros(0, 3), {1})
    with pytest.raises(NonFinite):
        nearest_classes(torch.full((2, 3), torch.nan), {1})
