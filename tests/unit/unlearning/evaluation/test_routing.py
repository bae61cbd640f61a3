"""Distances over the retained classes against naive loops, and what they see and do not see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, NonFinite, NoRetainedClass, ShapeError
from unlearning.evaluation import predict_logits, retained_probabilities, routing_distance, routing_table
from unlearning.evaluation.routing import Distance


def naive(z: list[float], gone: set[int]) -> list[float]:
    kept = [math.exp(value) for index, value in enumerate(z) if index not in gone]
    return [value / sum(kept) for value in kept]


def entropy(p: list[float]) -> float:
    return -sum(value * math.log2(value) for value in p if value)


def test_both_distances_agree_with_a_naive_loop() -> None:
    a, b, gone = 2 * normal(7, 5), 2 * normal(7, 5, seed=1), {1, 3}
    tv, js = [], []
    for left, right in zip(a.tolist(), b.tolist(), strict=True):
        p, q = naive(left, gone), naive(right, gone)
        tv.append(sum(abs(x - y) for x, y in zip(p, q, strict=True)) / 2)
        middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
        js.append(entropy(middle) - (entropy(p) + entropy(q)) / 2)
    found = routing_distance(a, b, gone)
    assert found.value == pytest.approx(np.mean(tv), rel=1e-6)
    half = 1.959963984540054 * np.std(tv, ddof=1) / math.sqrt(7)
    assert (found.low, found.high) == pytest.approx((np.mean(tv) - half, np.mean(tv) + half))
    other = routing_distance(a, b, gone, distance="jensen_shannon", name="js")
    assert (other.name, other.n) == ("js", 7)
    assert other.value == pytest.approx(np.mean(js), rel=1e-6)


def test_equal_outputs_are_at_distance_zero_and_disjoint_ones_at_one() -> None:
    left, right = torch.tensor([[200.0, 0.0, 0.0]] * 3), torch.tensor([[0.0, 200.0, 0.0]] * 3)
    distances: tuple[Distance, ...] = ("total_variation", "jensen_shannon")
    for distance in distances:
        assert routing_distance(left, left, {2}, distance=distance).value == 0
        assert routing_distance(left, right, {2}, distance=distance).value == pytest.approx(1)


def test_forgotten_classes_do_not_count() -> None:
    z = normal(4, 5)
    shifted = z.clone()
    shifted[:, 2] += 50
    assert routing_distance(z, shifted, {2}).value == pytest.approx(0, abs=1e-12)
    assert routing_distance(z, shifted, {1}).value > 0.5
    assert retained_probabilities(z, {2}).shape == (4, 4)


def test_the_mask_routes_like_the_original_and_scattered_outputs_do_not(digits: Digits) -> None:
    x, _ = digits.forgotten
    original, masked, retrained = (predict_logits(m, x) for m in (digits.original, digits.masked, digits.retrained))
    assert routing_distance(masked, original, {FORGET}).value == pytest.approx(0, abs=1e-6)
    uniform = torch.zeros_like(retrained)
    near = routing_distance(original, retrained, {FORGET})
    far = routing_distance(uniform, retrained, {FORGET})
    assert near.high is not None
    assert far.low is not None
    assert near.high < far.low


def test_the_table_says_where_each_class_goes() -> None:
    logits = torch.eye(4)[torch.tensor([0, 0, 3, 1, 2])]
    table = routing_table(logits, [1, 1, 1, 2, 0], {1, 2})
    assert {index: counts.tolist() for index, counts in table.items()} == {1: [2, 0, 0, 1], 2: [0, 1, 0, 0]}


def test_outputs_that_do_not_fit_are_refused() -> None:
    z = normal(4, 5)
    with pytest.raises(ShapeError, match="two outputs"):
        routing_distance(z, z[:3], {1})
    with pytest.raises(ShapeError, match="outputs"):
        retained_probabilities(z[0], {1})
    with pytest.raises(EmptySide, match="forget"):
        routing_distance(z[:0], z[:0], {1})
    with pytest.raises(NoRetainedClass):
        routing_distance(z, z, range(5))
    with pytest.raises(NonFinite):
        routing_distance(z, z / 0, {1})
