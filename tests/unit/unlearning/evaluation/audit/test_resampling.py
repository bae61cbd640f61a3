"""Resampling: whole models, whole samples, honest widths."""

from __future__ import annotations

import numpy as np
import pytest

from unlearning.evaluation.audit.resampling import drawn, halves, interval, student_95


def test_models_are_drawn_as_wholes_with_enough_different_ones() -> None:
    for draw in drawn((4, 7), 12, seed=0, count=200, distinct=3):
        assert draw.unlearned.shape == (4,)
        assert (draw.unlearned.sum(), draw.retrained.sum()) == (4, 7)
        assert np.count_nonzero(draw.unlearned) >= 3
        assert draw.samples.shape == (12,)
        assert set(draw.samples.tolist()) <= set(range(12))


def test_the_same_seed_draws_the_same() -> None:
    first, again, other = (next(drawn((5, 5), 20, seed=seed, count=1)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.samples, again.samples)
    np.testing.assert_array_equal(first.unlearned, again.unlearned)
    assert first.samples.tolist() != other.samples.tolist()


@pytest.mark.parametrize("models", [(8, 8), (3, 9), (20, 7)])
def test_the_halves_of_the_retrained_models_share_none_and_all_three_are_equally_large(models: tuple[int, int]) -> None:
    for unlearned, first, second in halves(models, seed=0, count=20):
        assert len(unlearned) == len(first) == len(second) == min(models[0], models[1] // 2)
        assert not set(first.tolist()) & set(second.tolist())
        assert len(set(unlearned.tolist())) == len(unlearned)


def test_students_quantile_is_that_of_the_tables() -> None:
    for degrees, quantile in ((3, 3.182), (4, 2.776), (7, 2.365), (15, 2.131), (31, 2.040), (10**6, 1.960)):
        assert student_95(degrees) == pytest.approx(quantile, abs=0.03 if degrees < 7 else 0.002)


def test_the_interval_lies_around_the_value_wherever_the_resamples_lie() -> None:
    draws = np.random.default_rng(0).standard_normal(4000) + 5
    low, high = interval(0.0, draws, 1000)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.1)
    assert interval(0.0, draws, 1000, lowest=0.0)[0] == 0.0
    few_low, few_high = interval(0.0, draws, 4)
    assert few_high - few_low > 1.7 * (high - low)
