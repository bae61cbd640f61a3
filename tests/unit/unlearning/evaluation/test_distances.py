"""Distances of outputs against naive loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.fixtures.digits_models import Digits
from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, NonFinite, ShapeError
from unlearning.evaluation import activation_distance, js_distance, predict_logits


def softmax(row: Tensor) -> list[float]:
    top = max(row.tolist())
    exponentials = [math.exp(value - top) for value in row.tolist()]
    return [value / sum(exponentials) for value in exponentials]


def entropy(p: list[float]) -> float:
    return -sum(value * math.log2(value) for value in p if value)


def test_both_agree_with_a_naive_loop() -> None:
    a, b = 2 * normal(6, 5), 2 * normal(6, 5, seed=1)
    js, distance = [], []
    for left, right in zip(a, b, strict=True):
        p, q = softmax(left), softmax(right)
        middle = [(x + y) / 2 for x, y in zip(p, q, strict=True)]
        js.append(entropy(middle) - (entropy(p) + entropy(q)) / 2)
        distance.append(math.sqrt(sum((x - y) ** 2 for x, y in zip(p, q, strict=True))))
    assert js_distance(a, b).value == pytest.approx(np.mean(js), rel=1e-6)
    found = activation_distance(a, b)
    assert found.name == "activation_distance"
    assert found.value == pytest.approx(np.mean(distance), rel=1e-6)
    half = 1.959963984540054 * np.std(distance, ddof=1) / math.sqrt(6)
    assert (found.low, found.high) == pytest.approx((np.mean(distance) - half, np.mean(distance) + half))


def test_equal_outputs_are_at_zero_and_opposite_ones_as_far_as_can_be() -> None:
    left, right = torch.tensor([[300.0, 0.0, 0.0]] * 3), torch.tensor([[0.0, 300.0, 0.0]] * 3)
    assert js_distance(left, left).value == activation_distance(left, left).value == 0
    assert js_distance(left, right).value == pytest.approx(1)
    assert activation_distance(left, right).value == pytest.approx(math.sqrt(2))


def test_the_original_is_farther_from_retraining_than_a_mask_is(digits: Digits) -> None:
    x, _ = digits.forgotten
    original, masked, retrained = (predict_logits(m, x) for m in (digits.original, digits.masked, digits.retrained))
    for distance in (js_distance, activation_distance):
        assert (distance(masked, retrained).high or 0) < (distance(original, retrained).low or 0)


def test_outputs_that_mean_nothing_are_refused() -> None:
    z = normal(4, 3)
    for distance in (js_distance, activation_distance):
        with pytest.raises(ShapeError, match="two outputs"):
            distance(z, z[:3])
        with pytest.raises(ShapeError, match="outputs"):
            distance(z[0], z[0])
        with pytest.raises(EmptySide):
            distance(z[:0], z[:0])
        with pytest.raises(NonFinite):
            distance(z, z / 0)
