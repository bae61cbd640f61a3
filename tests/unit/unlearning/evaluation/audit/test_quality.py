"""F and the final score as measures, and the best that so many models allow."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.unlearning.evaluation.audit.populations import contains, normals
from unlearning.errors import OptionOutOfRange, ShapeError
from unlearning.evaluation.audit import Accuracies, challenge_epsilons, challenge_measures, forgetting_quality


def accuracies(unlearned: tuple[float, float], retrained: tuple[float, float], models: int) -> Accuracies:
    return Accuracies(np.tile(unlearned, (models, 1)), np.tile(retrained, (models, 1)))


def test_the_score_is_the_quality_times_both_ratios_of_accuracies() -> None:
    u, r = normals(8, 20, shift=0.5)
    found = challenge_measures(u, r, seed=0, accuracies=accuracies((0.9, 0.6), (0.95, 0.8), 8), resamples=20)
    epsilons = challenge_epsilons(u, r)
    quality = forgetting_quality(epsilons, 8)
    assert found["challenge_epsilon"].value == pytest.approx(epsilons.mean())
    assert found["challenge_epsilon_median"].value == pytest.approx(np.median(epsilons))
    assert found["challenge_quality"].value == pytest.approx(quality)
    assert found["challenge_score"].value == pytest.approx(quality * (0.9 / 0.95) * (0.6 / 0.8))
    directions = {one.name: one.direction for one in found.measures}
    assert directions["challenge_epsilon"] == "lower"
    assert directions["challenge_score"] == "higher"


def test_of_different_numbers_of_models_the_smaller_one_limits_the_quality() -> None:
    u, r = normals((6, 12), 20)
    found = challenge_measures(u, r, seed=0, resamples=20)
    assert found["challenge_quality"].value == forgetting_quality(challenge_epsilons(u, r), 6)


def test_equal_populations_reach_the_ceiling_and_shifted_ones_fall_short() -> None:
    for seed in range(5):
        equal = challenge_measures(*normals(16, 40, common=0.5, seed=seed), seed=seed, resamples=30)
        shifted = challenge_measures(*normals(16, 40, common=0.5, shift=3.0, seed=seed), seed=seed, resamples=30)
        assert contains(equal["challenge_shortfall"], 0.0)
        assert (shifted["challenge_shortfall"].low or 0) > 0
        assert shifted["challenge_quality"].value < equal["challenge_quality"].value / 2
        assert shifted["challenge_epsilon"].value > equal["challenge_epsilon"].value


def test_without_accuracies_there_is_no_score_and_with_few_models_no_ceiling() -> None:
    found = challenge_measures(*normals(5, 12), seed=0, resamples=20)
    assert "accuracies" in found.absent["challenge_score"]
    assert "at least 6" in found.absent["challenge_shortfall"]
    assert [one.name for one in found.measures] == [
        "challenge_epsilon",
        "challenge_epsilon_median",
        "challenge_quality",
    ]


def test_the_seed_decides_what_is_drawn_and_nothing_else() -> None:
    u, r = normals(8, 20, shift=0.5)
    first, again, other = (challenge_measures(u, r, seed=seed, resamples=20) for seed in (0, 0, 1))
    assert first == again
    assert first["challenge_quality"].value == other["challenge_quality"].value
    assert first["challenge_quality"].low != other["challenge_quality"].low


def test_accuracies_that_mean_nothing_are_refused() -> None:
    u, r = normals(4, 12)
    for bad, error in (
        (accuracies((0.9, 0.6), (0.9, 0.6), 5), ShapeError),
        (accuracies((1.9, 0.6), (0.9, 0.6), 4), OptionOutOfRange),
        (accuracies((0.9, np.nan), (0.9, 0.6), 4), OptionOutOfRange),
        (accuracies((0.9, 0.6), (0.9, 0.0), 4), OptionOutOfRange),
    ):
        with pytest.raises(error, match="accuracies"):
            challenge_measures(u, r, seed=0, accuracies=bad, resamples=20)
