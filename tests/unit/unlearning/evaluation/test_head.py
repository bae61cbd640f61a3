"""A mask stands out of the last layer; the classes of an honest network do not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.fixtures.digits_models import FORGET, Digits
from unlearning.errors import NonFinite, NoRetainedClass, OptionOutOfRange, WeightsDoNotFit
from unlearning.evaluation import bias_measures, head_outlier, mask_bias, predict_logits, zero_bias

HEAD = "classifier.fc2"


def layer(norms: list[float], biases: list[float] | None) -> nn.Sequential:
    """A last layer whose rows have these norms, under the name "0"."""
    head = nn.Linear(2, len(norms), bias=biases is not None)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.6 * norm, 0.8 * norm] for norm in norms]))
        if biases is not None:
            head.bias.copy_(torch.tensor(biases))
    return nn.Sequential(head)


def test_a_mask_stands_out_and_no_class_of_an_honest_network_does(digits: Digits) -> None:
    masked = head_outlier(digits.masked, HEAD, {FORGET})
    assert (masked.low or 0) > 30
    for model in (digits.original, digits.retrained):
        assert (head_outlier(model, HEAD, {FORGET}).high or 99) < 6
        assert all(head_outlier(model, HEAD, {index}).value < 5 for index in range(10))


def test_a_lowered_row_stands_out_like_a_lowered_bias(digits: Digits) -> None:
    faded = mask_bias(digits.original, {FORGET}, digits.train[0], constant=0.0)
    with torch.no_grad():
        faded.get_parameter(f"{HEAD}.weight")[FORGET] *= 0.0
    assert head_outlier(faded, HEAD, {FORGET}).value > 3 * head_outlier(digits.original, HEAD, {FORGET}).value


def test_z_is_the_distance_from_the_median_in_units_of_qn() -> None:
    norms, biases = [1.0, 1.1, 1.3, 1.45, 9.0], [0.0, 0.1, -0.1, 0.2, 0.15]
    found = head_outlier(layer(norms, biases), "0", {4})
    pairs = sorted(abs(a - b) for i, a in enumerate(norms[:4]) for b in norms[:i])
    assert found.value == pytest.approx((9.0 - 1.2) / (2.2219 * 0.512 * pairs[3 - 1]), rel=1e-5)
    assert (found.n, found.direction) == (4, "lower")
    assert 0 < (found.low or 0) < found.value < (found.high or 0)


def test_one_odd_retained_row_hides_no_mask() -> None:
    rows = [1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 0.97, 1.08]
    clean, odd = (head_outlier(layer([0.0, *rows, other], None), "0", {0}).value for other in (1.01, 50.0))
    assert odd > clean / 2


def test_the_interval_is_the_wider_the_fewer_rows_tell_the_spread() -> None:
    widths = []
    for m in (2, 4, 9, 40):
        quantiles = torch.special.ndtri((torch.arange(m) + 0.5) / m)
        found = head_outlier(layer([1.5, *(1 + 0.1 * quantiles).tolist()], None), "0", {0})
        widths.append(((found.high or 0) - (found.low or 0)) / found.value)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2


@pytest.mark.parametrize("m", [4, 9, 30])
@pytest.mark.parametrize("truth", [0.5, 3.0, 20.0])
def test_the_interval_covers_the_true_distance_about_as_often_as_it_says(m: int, truth: float) -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        rows = 10 + rng.normal(size=m)
        found = head_outlier(layer([10 + truth, *rows.tolist()], None), "0", {0})
        hits += (found.low or 0) <= truth <= (found.high or 0)
    assert hits >= 200 * 0.92


def test_classes_forgotten_earlier_are_neither_judged_nor_compared_with() -> None:
    norms = [1.0, 1.1, 0.9, 1.05, 0.0, 1.02]
    alone, apart = (head_outlier(layer(norms, None), "0", {5}, excluded=gone) for gone in ((), (4,)))
    assert (alone.n, apart.n) == (5, 4)
    assert apart.value < 5


def test_biases_that_are_all_zero_do_not_divide_by_nothing() -> None:
    found = head_outlier(layer([1.0, 1.1, 0.9, 1.05], [0.0, 0.0, 0.0, -5.0]), "0", {3})
    assert found.value == pytest.approx(5.0 / (1e-3 * 1.0))


def test_the_published_bias_scores_follow_their_formulas_and_fall_under_a_mask(digits: Digits) -> None:
    biases = [0.3, -0.2, 0.1, -2.0, -1.0]
    found = {m.name: m for m in bias_measures(layer([1.0] * 5, biases), "0", {3, 4})}
    mean_v, mean_r = -1.5, 0.2 / 3
    assert found["head_bias_stability"].value == pytest.approx(1 / (1 + abs(mean_v - mean_r)))
    assert found["head_bias_median_gap"].value == pytest.approx(1 / (1 + math.exp(1.5 - 0.2)))
    assert found["head_bias_minimum"].value == pytest.approx(1 / (1 + math.exp(2.0 - 0.2)))
    assert all(m.low is None and m.direction == "higher" for m in found.values())
    masked, original = (bias_measures(model, HEAD, {FORGET}) for model in (digits.masked, digits.original))
    assert all(a.value < 0.1 < 0.4 < b.value for a, b in zip(masked, original, strict=True))
    assert bias_measures(layer([1.0, 2.0], None), "0", {0}) == ()


def test_a_zeroed_bias_undoes_the_mask_and_changes_nothing_else(digits: Digits) -> None:
    x, y = digits.forgotten
    zeroed = zero_bias(digits.masked, HEAD, {FORGET})
    for model, is_back in ((digits.masked, False), (zeroed, True)):
        assert (float((predict_logits(model, x).argmax(dim=1).numpy() == y).mean()) > 0.8) is is_back
    assert digits.masked.get_parameter(f"{HEAD}.bias")[FORGET] < -90
    assert torch.equal(zeroed.get_parameter(f"{HEAD}.weight"), digits.masked.get_parameter(f"{HEAD}.weight"))


def test_layers_that_tell_nothing_are_refused() -> None:
    with pytest.raises(OptionOutOfRange, match="at least 2"):
        head_outlier(layer([1.0, 2.0], [0.0, 0.0]), "0", {0})
    with pytest.raises(NoRetainedClass):
        head_outlier(layer([1.0, 2.0], None), "0", {0, 1})
    with pytest.raises(WeightsDoNotFit, match="row per class"):
        head_outlier(nn.Sequential(nn.ReLU()), "0", {0})
    with pytest.raises(WeightsDoNotFit, match="no bias"):
        zero_bias(layer([1.0, 2.0], None), "0", {0})
    with pytest.raises(NonFinite, match="weight of '0'"):
        head_outlier(layer([1.0, 1.0, math.nan], None), "0", {0})
