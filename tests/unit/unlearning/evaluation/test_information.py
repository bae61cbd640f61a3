"""The bits a probe reads agree with scikit-learn's probe, and IDI puts original and reference where it says."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, ReferenceKnowsAsMuch, ShapeError, UnknownLayer
from unlearning.evaluation import Readable, idi, information_gap, readable_information, trace

Features = tuple[Tensor, NDArray[np.int64]]


def clouds(n: int, apart: float, seed: int) -> Features:
    """Four classes of which class 1 lies `apart` from the others, in a direction they do not use."""
    labels = np.arange(n) % 4
    x = normal(n, 6, seed=seed)
    x[:, 0] += apart * torch.from_numpy(labels == 1)
    return x, labels


def read(apart: float) -> Readable:
    return readable_information(clouds(400, apart, 0), clouds(300, apart, 1), {1})


def test_the_bits_are_those_of_a_balanced_logistic_regression() -> None:
    (x, y), (new, y_new) = clouds(400, 2.0, 0), clouds(300, 2.0, 1)
    found = readable_information((x, y), (new, y_new), {1}, l2=0.01)
    mean, scale = x.double().mean(0), x.double().std(0, correction=0)
    z, z_new = (((side.double() - mean) / scale).numpy() for side in (x, new))
    weights = np.where(y == 1, 1 / (y == 1).mean(), 1 / (y != 1).mean()) / 2
    oracle = LogisticRegression(C=1 / (0.01 * len(y)), tol=1e-12, max_iter=10_000)
    # Two logits with a penalty on both cost half as much as one: the same as half the penalty on their difference.
    oracle.set_params(C=2 / (0.01 * len(y))).fit(z, y == 1, sample_weight=weights)
    log_q = oracle.predict_log_proba(z_new) / math.log(2)
    np.testing.assert_allclose(found.forgotten, 1 + log_q[y_new == 1, 1], atol=1e-3)
    np.testing.assert_allclose(found.retained, 1 + log_q[y_new != 1, 0], atol=1e-3)
    assert found.bits == pytest.approx((found.forgotten.mean() + found.retained.mean()) / 2)


def test_separable_features_hold_nearly_one_bit_and_unrelated_ones_none() -> None:
    assert 0.9 < read(12.0).bits <= 1
    assert abs(read(0.0).bits) < 0.05
    assert read(0.0).bits < read(1.0).bits < read(3.0).bits


def test_the_original_is_at_one_the_reference_at_zero_and_a_worse_one_below() -> None:
    original, reference, between, worse = ({"fc": read(apart)} for apart in (6.0, 1.5, 3.0, 0.0))
    assert idi(original, original, reference, seed=0).value == pytest.approx(1)
    assert idi(reference, original, reference, seed=0).value == 0
    middle = idi(between, original, reference, seed=0)
    assert 0 < (middle.low or 0) < middle.value < (middle.high or 0) < 1
    assert (idi(worse, original, reference, seed=0).high or 0) < 0
    assert middle == idi(between, original, reference, seed=0)
    assert (middle.seed, middle.n) == (0, 300)


def test_stages_are_added_up() -> None:
    first, second, nothing = read(3.0), read(2.0), read(0.0)
    both = information_gap({"a": first, "b": second}, {"a": nothing, "b": nothing}, seed=0)
    assert both.value == pytest.approx(first.bits + second.bits - 2 * nothing.bits)
    assert (both.low or 0) < both.value < (both.high or 0)
    assert information_gap({"a": first}, {"a": first}, seed=0).value == 0


def test_a_reference_that_knows_as_much_leaves_no_scale_to_measure_on() -> None:
    with pytest.raises(ReferenceKnowsAsMuch, match="bits"):
        idi({"a": read(0.0)}, {"a": read(1.0)}, {"a": read(2.0)}, seed=0)


def test_a_mask_leaves_every_bit(digits: Digits) -> None:
    found = []
    for model in (digits.original, digits.masked):
        sides = [
            (trace(model, x, ["classifier.fc2"]).features["classifier.fc2"], y) for x, y in (digits.train, digits.test)
        ]
        found.append(readable_information(sides[0], sides[1], {FORGET}))
    np.testing.assert_array_equal(found[0].forgotten, found[1].forgotten)
    assert found[0].bits > 0.6


def test_sides_that_are_missing_and_readings_that_do_not_fit_are_refused() -> None:
    x, y = clouds(40, 1.0, 0)
    with pytest.raises(EmptySide, match="forget"):
        readable_information((x, y), (x, y), {7})
    with pytest.raises(EmptySide, match="retain"):
        readable_information((x, y), (x, y), {0, 1, 2, 3})
    one, other = read(1.0), readable_information((x, y), (x, y), {1})
    with pytest.raises(UnknownLayer):
        information_gap({"a": one}, {"b": one}, seed=0)
    with pytest.raises(ShapeError, match="same samples"):
        information_gap({"a": one}, {"a": other}, seed=0)
    with pytest.raises(EmptySide, match="stages"):
        idi({}, {}, {}, seed=0)
