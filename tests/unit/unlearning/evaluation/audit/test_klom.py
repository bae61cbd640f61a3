"""KLOM against NumPy's own histogram, and its floor."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.unlearning.evaluation.audit.populations import contains, normals
from unlearning.errors import OptionOutOfRange
from unlearning.evaluation.audit import klom_measures, klom_per_sample


def naive(u: np.ndarray, r: np.ndarray) -> float:
    u, r = np.clip(u, -100, 100), np.clip(r, -100, 100)
    span = min(u.min(), r.min()), max(u.max(), r.max())
    p, q = (np.histogram(side, bins=20, range=span)[0] / len(side) for side in (u, r))
    q = np.where(p > 0, np.maximum(q, 1e-5), q)
    q = q / q.sum()
    return float(sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))


@pytest.mark.parametrize("models", [(4, 4), (16, 9), (64, 64)])
def test_each_sample_has_the_divergence_of_its_two_histograms(models: tuple[int, int]) -> None:
    u, r = normals(models, 25, shift=0.7)
    found = klom_per_sample(u, r)
    np.testing.assert_allclose(found, [naive(u[:, i], r[:, i]) for i in range(25)], atol=1e-12)
    assert (found >= 0).all()


def test_by_hand_two_bins() -> None:
    u, r = np.array([[0.0], [0.0], [0.0], [1.0]]), np.array([[0.0], [0.0], [1.0], [1.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert klom_per_sample(u, r, bins=2)[0] == pytest.approx(expected)
    assert klom_per_sample(r, u, bins=2)[0] == pytest.approx(0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25))


def test_populations_without_a_common_bin_are_as_far_apart_as_an_empty_bin_allows() -> None:
    u, r = np.zeros((4, 1)), np.ones((4, 1))
    assert klom_per_sample(u, r)[0] == pytest.approx(math.log(1e5), abs=1e-4)
    assert klom_per_sample(u, u)[0] == 0.0
    assert klom_per_sample(u + 150, u + 5000)[0] == 0.0  # both beyond the limit of 100


def test_equal_populations_lie_at_the_floor_and_shifted_ones_above_it() -> None:
    for seed in range(10):
        equal = klom_measures(*normals(16, 60, common=0.5, seed=seed), seed=seed, resamples=40)
        shifted = klom_measures(*normals(16, 60, common=0.5, shift=3.0, seed=seed), seed=seed, resamples=40)
        assert contains(equal["klom_excess"], 0.0)
        assert (shifted["klom_excess"].low or 0) > 0
        assert shifted["klom"].value > equal["klom"].value > 1  # what 16 models give though nothing differs


def test_more_models_lower_the_floor() -> None:
    floors = [klom_measures(*normals(models, 40), seed=0, resamples=20)["klom_floor"].value for models in (8, 32, 128)]
    assert floors[0] > 2 * floors[1] > 4 * floors[2]


def test_the_summaries_are_mean_median_and_95th_percentile_of_the_samples() -> None:
    u, r = normals(8, 30, shift=0.5)
    found, each = klom_measures(u, r, seed=0, resamples=20), klom_per_sample(u, r)
    assert found["klom"].value == pytest.approx(each.mean())
    assert found["klom_median"].value == pytest.approx(np.median(each))
    assert found["klom_p95"].value == pytest.approx(np.quantile(each, 0.95))
    assert {(one.n, one.direction) for one in found.measures} == {(30, "lower")}
    assert all(one.low is not None and one.low <= one.value <= (one.high or 0) for one in found.measures[:4])


def test_the_order_of_models_and_samples_changes_nothing_and_the_seed_only_what_is_drawn() -> None:
    u, r = normals((6, 7), 20, shift=0.5)
    rng = np.random.default_rng(1)
    i, j, k = rng.permutation(6), rng.permutation(7), rng.permutation(20)
    np.testing.assert_allclose(klom_per_sample(u[i][:, k], r[j][:, k]), klom_per_sample(u, r)[k], atol=1e-12)
    first, again, other = (klom_measures(u, r, seed=seed, resamples=20) for seed in (0, 0, 1))
    assert first == again
    assert first["klom"].value == other["klom"].value
    assert first["klom"].low != other["klom"].low


def test_inputs_that_mean_nothing_are_refused() -> None:
    with pytest.raises(OptionOutOfRange, match="bins"):
        klom_per_sample(*normals(4, 10), bins=0)
    with pytest.raises(OptionOutOfRange, match="at least 4"):
        klom_measures(*normals(3, 10), seed=0)
