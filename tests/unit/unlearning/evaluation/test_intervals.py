"""Closed-form intervals against published values, and the bootstrap against the formula it stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation import wilson_interval
from unlearning.evaluation.intervals import (
    chi_square_quantile,
    mean_measure,
    normal_quantile,
    paired_correlation,
    resampled_means,
    square_and_add,
)


def test_quantiles_are_those_of_the_tables_and_of_the_two_cases_in_closed_form() -> None:
    assert [normal_quantile(level) for level in (0.5, 0.975)] == pytest.approx([0, 1.959963985], abs=1e-9)
    assert [chi_square_quantile(*pair) for pair in ((0.95, 3), (0.975, 30))] == pytest.approx(
        [7.8147, 46.979], rel=1e-4
    )
    for level in (0.001, 0.025, 0.5, 0.975):
        assert chi_square_quantile(level, 2) == pytest.approx(-2 * math.log(1 - level))
        assert chi_square_quantile(level, 1) == pytest.approx(normal_quantile((1 + level) / 2) ** 2)
    assert chi_square_quantile(0.3, 0.5) < chi_square_quantile(0.3, 1)
    with pytest.raises(OptionOutOfRange):
        chi_square_quantile(0.5, 0)


def test_two_proportions_give_newcombes_interval_for_independent_samples() -> None:
    a, b = (56 / 70, *wilson_interval(56, 70)), (48 / 80, *wilson_interval(48, 80))
    assert square_and_add(a, b) == pytest.approx((0.0524, 0.3339), abs=6e-5)


def test_a_correlation_of_one_leaves_nothing_of_equal_intervals() -> None:
    same = 0.5, 0.3, 0.7
    assert square_and_add(same, same, 1.0) == pytest.approx((0.0, 0.0))
    assert square_and_add(same, same) == pytest.approx((-0.2 * math.sqrt(2), 0.2 * math.sqrt(2)))


def test_the_correlation_of_scores_is_pearsons_up_to_the_correction() -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(size=4000)
    b = np.clip(a + rng.normal(scale=0.3, size=4000), 0, 1)
    assert paired_correlation(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1], abs=0.01)
    assert paired_correlation(a, 1 - a) == pytest.approx(-1)
    assert paired_correlation(a, np.ones(4000)) == 0


def test_the_interval_of_a_mean_is_normal_and_stays_where_values_can_be() -> None:
    x = torch.tensor([0.2, 0.4, 0.9])
    found = mean_measure("m", x, direction="lower")
    half = 1.959963984540054 * float(x.double().std()) / math.sqrt(3)
    assert (found.value, found.high) == pytest.approx((0.5, min(1, 0.5 + half)))
    assert found.low == pytest.approx(0.5 - half)
    assert found.n == 3
    alone = mean_measure("m", np.array([0.3]), direction="lower", within=(0, 2))
    assert (alone.low, alone.high) == (0, 2)
    with pytest.raises(EmptySide):
        mean_measure("m", np.array([]), direction="lower")
    with pytest.raises(ShapeError):
        mean_measure("m", np.ones((2, 2)), direction="lower")


def test_resampled_means_spread_like_means_and_keep_columns_together() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=500)
    drawn = resampled_means(np.stack([x, 2 * x + 1], axis=1), rng, 4000)
    assert drawn.shape == (4000, 2)
    assert drawn[:, 0].std() == pytest.approx(x.std() / math.sqrt(500), rel=0.05)
    np.testing.assert_allclose(drawn[:, 1], 2 * drawn[:, 0] + 1)
