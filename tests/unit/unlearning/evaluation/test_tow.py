"""ToW is 1 for equal models, the product of the sides otherwise, and its interval covers the truth."""

from __future__ import annotations

import numpy as np
import pytest

from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation import tow


def outcomes(share: float, n: int = 200) -> np.ndarray:
    return np.arange(n) < share * n


def test_equal_models_reach_one() -> None:
    right = np.random.default_rng(0).random(300) < 0.8
    found = tow({"forget": (~right, ~right), "retain": (right, right)})
    assert (found.value, found.high, found.n) == (1.0, 1.0, 600)
    assert 0.95 < (found.low or 0) < 1


def test_it_is_the_product_over_the_sides_whatever_the_sign_of_a_difference() -> None:
    found = tow({"forget": (outcomes(0.1), outcomes(0.0)), "retain": (outcomes(0.7), outcomes(0.9))})
    assert found.value == pytest.approx(0.9 * 0.8)
    assert (found.low or 0) < found.value < (found.high or 0) < 1
    swapped = tow({"forget": (outcomes(0.0), outcomes(0.1)), "retain": (outcomes(0.9), outcomes(0.7))})
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((found.value, found.low, found.high))


def test_a_model_that_forgot_nothing_is_at_zero() -> None:
    found = tow({"forget": (outcomes(1.0), outcomes(0.0))})
    assert found.value < 1e-9
    assert (found.high or 0) < 0.1


@pytest.mark.parametrize("drop", [0.0, 0.08])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(drop: float) -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        common = rng.random((2, 300))
        own = rng.random((2, 300)) < 0.9
        sides = {str(k): ((common[k] < 0.9) & own[k], common[k] < 0.81 + drop) for k in range(2)}
        found = tow(sides)
        hits += (found.low or 0) <= (1 - drop) ** 2 <= (found.high or 0)
    assert hits >= 200 * 0.93


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(EmptySide, match="compared"):
        tow({})
    with pytest.raises(ShapeError):
        tow({"retain": (outcomes(1, 3), outcomes(1, 4))})
