"""U-LiRA against a loop that fits anew for every pair, and against what leaving nobody out would claim."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from tests.unit.unlearning.evaluation.audit.populations import Matrix, contains, normal_auc, normals
from unlearning.errors import OptionOutOfRange
from unlearning.evaluation.audit import Findings, u_lira_measures
from unlearning.evaluation.audit.ulira import OWN_VARIANCE_FROM, VARIANCE_FLOOR


def fit(shadows: Matrix) -> tuple[Matrix, Matrix]:
    variance = shadows.var(axis=0, ddof=1)
    shared = variance if len(shadows) >= OWN_VARIANCE_FROM else np.full_like(variance, variance.mean())
    return shadows.mean(axis=0), np.maximum(shared, VARIANCE_FLOOR)


def log_ratio(phi: Matrix, first: Matrix, second: Matrix) -> Matrix:
    (m1, v1), (m2, v2) = fit(first), fit(second)
    first_log: Matrix = -((phi - m1) ** 2) / (2 * v1) - np.log(v1) / 2
    second_log: Matrix = -((phi - m2) ** 2) / (2 * v2) - np.log(v2) / 2
    ratio: Matrix = first_log - second_log
    return ratio


def scores(u: Matrix, r: Matrix) -> list[tuple[Matrix, Matrix]]:
    """Return for every pair of targets what a fit on all other models says of the two."""
    found = []
    for i, j in product(range(len(u)), range(len(r))):
        others = np.delete(u, i, axis=0), np.delete(r, j, axis=0)
        found.append((log_ratio(u[i], *others), log_ratio(r[j], *others)))
    return found


def wins(pairs: list[tuple[Matrix, Matrix]]) -> Matrix:
    mean: Matrix = np.mean([(a > b) + 0.5 * (a == b) for a, b in pairs], axis=0)
    return mean


def value(found: Findings, name: str) -> float:
    return found[name].value


@pytest.mark.parametrize("models", [(4, 4), (5, 7), (4, OWN_VARIANCE_FROM + 2)])
def test_every_number_is_that_of_the_loop_over_held_out_pairs(models: tuple[int, int]) -> None:
    u, r = normals(models, 11, shift=0.5, common=0.5)
    found = u_lira_measures(u, r, seed=0, resamples=20)
    pairs = scores(u, r)
    per_sample = wins(pairs)
    assert value(found, "u_lira_auc") == pytest.approx(per_sample.mean())
    assert value(found, "u_lira_sample_auc_p90") == pytest.approx(np.quantile(per_sample, 0.9))
    assert value(found, "u_lira_sample_auc_max") == pytest.approx(per_sample.max())
    right = np.mean([((a > 0).mean() + (b < 0).mean()) / 2 for a, b in pairs])
    assert value(found, "u_lira_balanced_accuracy") == pytest.approx(right)


def test_the_rate_at_few_false_positives_is_that_of_one_threshold_for_all_samples() -> None:
    u, r = normals(6, 200, shift=1.5)
    found = u_lira_measures(u, r, seed=0, resamples=20)
    positive, negative = (np.concatenate(side) for side in zip(*scores(u, r), strict=True))
    thresholds = np.unique(negative)
    allowed = [t for t in thresholds if (negative > t).mean() <= 0.01]
    assert value(found, "u_lira_tpr_at_1pct_fpr") == pytest.approx((positive > min(allowed)).mean())
    assert value(found, "u_lira_tpr_at_1pct_fpr") > 0.05
    assert "u_lira_tpr_at_01pct_fpr" in found.absent
    assert "at least 10000" in found.absent["u_lira_tpr_at_01pct_fpr"]
    with pytest.raises(KeyError, match="10000"):
        _ = found["u_lira_tpr_at_01pct_fpr"]


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0, -1.0])
def test_a_known_separation_is_found_in_either_direction(shift: float) -> None:
    found = u_lira_measures(*normals(32, 60, shift=shift), seed=0)["u_lira_auc"]
    assert contains(found, normal_auc(abs(shift)))
    assert (found.low or 0) > 0.5
    assert (found.n, found.seed, found.direction) == (60, 0, "two-sided")


def test_equal_populations_are_not_told_apart_however_much_their_models_differ() -> None:
    for common, seed in product((0.0, 1.0), range(10)):
        found = u_lira_measures(*normals(8, 40, common=common, seed=seed), seed=seed, resamples=40)
        assert contains(found["u_lira_auc"], 0.5)
        assert contains(found["u_lira_balanced_accuracy"], 0.5)


def test_a_model_scored_by_a_fit_it_took_part_in_would_seem_told_apart() -> None:
    honest, own_fit, left_out_alone = [], [], []
    for seed in range(10):
        u, r = normals(16, 60, seed=seed)
        honest.append(u_lira_measures(u, r, seed=0, resamples=20)["u_lira_auc"].value)
        own_fit.append(wins([(log_ratio(a, u, r), log_ratio(b, u, r)) for a, b in product(u, r)]).mean())
        alone_u = [log_ratio(a, np.delete(u, i, axis=0), r) for i, a in enumerate(u)]
        alone_r = [log_ratio(b, u, np.delete(r, j, axis=0)) for j, b in enumerate(r)]
        left_out_alone.append(wins(list(product(alone_u, alone_r))).mean())
    assert abs(np.mean(honest) - 0.5) < 0.02
    assert np.min(own_fit) > 0.55
    # Leaving each target out alone is no cure: it reads as over-unlearning.
    assert np.max(left_out_alone) < 0.47


def test_the_order_of_models_and_samples_changes_nothing() -> None:
    u, r = normals((6, 7), 30, shift=0.5)
    rng = np.random.default_rng(1)
    i, j, k = rng.permutation(6), rng.permutation(7), rng.permutation(30)
    first = u_lira_measures(u, r, seed=0, resamples=20)
    second = u_lira_measures(u[i][:, k], r[j][:, k], seed=0, resamples=20)
    for a, b in zip(first.measures, second.measures, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-12)


def test_the_seed_decides_the_interval_and_nothing_else() -> None:
    u, r = normals(6, 20)
    first, again, other = (u_lira_measures(u, r, seed=seed, resamples=20) for seed in (3, 3, 4))
    assert first == again
    assert first["u_lira_auc"].value == other["u_lira_auc"].value
    assert first["u_lira_auc"].low != other["u_lira_auc"].low


def test_more_samples_do_not_make_up_for_models_that_move_together() -> None:
    def width(samples: int, common: float) -> float:
        found = u_lira_measures(*normals(8, samples, common=common), seed=0)["u_lira_auc"]
        return (found.high or 0) - (found.low or 0)

    assert width(400, 0.0) < 0.5 * width(25, 0.0)
    assert width(400, 2.0) > 0.7 * width(25, 2.0)


def test_confidences_far_apart_or_without_any_spread_neither_overflow_nor_divide_by_zero() -> None:
    u, r = np.full((4, 10), -1e4), np.full((4, 10), 1e4)
    assert u_lira_measures(u, r, seed=0, resamples=20)["u_lira_auc"].value == 1.0
    assert u_lira_measures(u, u, seed=0, resamples=20)["u_lira_auc"].value == 0.5


def test_the_released_model_is_scored_itself_and_not_a_shadow_in_its_place() -> None:
    u, r = normals(16, 60, shift=2.0)
    like_shadows, like_retrained = normals(16, 60, shift=2.0, seed=0).unlearned[0] + 0.01, r.mean(axis=0)
    leaks, passes = (
        u_lira_measures(u, r, seed=0, released=phi, resamples=40) for phi in (like_shadows, like_retrained)
    )
    assert (leaks["u_lira_released_auc"].low or 0) > 0.8
    assert passes["u_lira_released_auc"].value < 0.6
    assert leaks.measures[:-1] == passes.measures[:-1]
    others = [np.delete(r, j, axis=0) for j in range(16)]
    expected = wins([(log_ratio(like_retrained, u, rest), log_ratio(r[j], u, rest)) for j, rest in enumerate(others)])
    assert passes["u_lira_released_auc"].value == pytest.approx(expected.mean())


def test_with_very_many_samples_only_some_models_are_attacked_and_the_seed_says_which() -> None:
    u, r = normals(20, 5000, shift=1.0)
    first, again = (u_lira_measures(u, r, seed=1, resamples=20)["u_lira_auc"] for _ in range(2))
    assert first == again
    assert contains(first, normal_auc(1.0))


def test_too_few_resamples_are_refused() -> None:
    with pytest.raises(OptionOutOfRange, match="resamples to be at least 20, got 5"):
        u_lira_measures(*normals(4, 10), seed=0, resamples=5)
