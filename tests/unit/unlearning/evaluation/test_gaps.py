"""Differences from a reference: paired ones agree with the published interval and cover the truth."""

from __future__ import annotations

import numpy as np
import pytest

from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation import Measure, Outcome, gap, paired_drop, paired_gap, recovery_gaps, retain_accuracy_gap


def share(value: float, low: float | None, high: float | None, n: int = 10) -> Measure:
    return Measure("x", value, low, high, n, 3, "lower")


def test_a_gap_of_independent_measures_adds_their_intervals_like_errors() -> None:
    found = gap("g", share(0.7, 0.6, 0.9), share(0.5, 0.1, 0.6, n=8))
    assert found.value == pytest.approx(0.2)
    assert found.low == pytest.approx(0.2 - np.hypot(0.1, 0.1))
    assert found.high == pytest.approx(0.2 + np.hypot(0.2, 0.4))
    assert (found.n, found.seed, found.direction) == (8, 3, "two-sided")


def test_a_gap_without_an_interval_on_one_side_has_none() -> None:
    found = gap("g", share(0.7, 0.6, 0.9), share(0.5, None, None), direction="lower")
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == (None, None)


def test_one_row_of_outcomes_is_the_paired_drop_turned_round() -> None:
    rng = np.random.default_rng(0)
    ours, reference = rng.random(80) < 0.7, rng.random(80) < 0.5
    found, drop = paired_gap("g", ours, reference), paired_drop(ours, reference)
    assert (found.value, found.low, found.high) == pytest.approx((drop.value, drop.low, drop.high))
    assert retain_accuracy_gap(ours, reference).value == found.value
    backwards = paired_gap("g", reference, ours)
    assert (backwards.low, backwards.high) == pytest.approx((-(found.high or 0), -(found.low or 0)))


def test_equal_outcomes_differ_by_nothing_but_not_with_certainty() -> None:
    right = np.random.default_rng(0).random((5, 60)) < 0.6
    found = paired_gap("g", right, right)
    assert found.value == 0
    assert -0.1 < (found.low or 0) < 0 < (found.high or 0) < 0.1


def test_the_spread_of_the_draws_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    reference = np.zeros((4, 200), dtype=bool)
    alike = np.tile(rng.random(200) < 0.5, (4, 1))
    uneven = np.stack([np.arange(200) < limit for limit in (40, 160, 60, 140)])
    narrow, wide = paired_gap("g", alike, reference), paired_gap("g", uneven, reference)
    assert wide.value == pytest.approx(0.5)
    assert (wide.high or 0) - (wide.low or 0) > 2 * ((narrow.high or 0) - (narrow.low or 0))


def test_the_interval_over_draws_covers_the_truth_about_as_often_as_it_says() -> None:
    """Samples differ in how easy they are, in both models alike; each draw of the attack adds its own luck."""
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        ease = rng.uniform(0.1, 0.7, size=120)
        ours, reference = rng.random((6, 120)) < ease + 0.2, rng.random((6, 120)) < ease
        found = paired_gap("g", ours, reference)
        hits += (found.low or 0) <= 0.2 <= (found.high or 0)
    assert hits >= 300 * 0.93


def test_only_attacks_made_on_both_models_are_compared() -> None:
    rng = np.random.default_rng(0)
    a, b, c = (Outcome(name, rng.random((1, 30)) < 0.5, seed=7) for name in ("probe", "few_shot_5", "relearn_all_20"))
    found = recovery_gaps([a, b], [b, c], direction="lower")
    assert [(measure.name, measure.value, measure.seed) for measure in found] == [("few_shot_5_gap", 0.0, 7)]


def test_outcomes_that_do_not_fit_are_refused() -> None:
    right = np.ones(4, dtype=bool)
    with pytest.raises(ShapeError, match="outcomes"):
        paired_gap("g", right, right[:3])
    with pytest.raises(EmptySide, match="paired"):
        paired_gap("g", right[:0], right[:0])
