"""The challenge's epsilon against every threshold and every window tried one by one, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.unit.unlearning.evaluation.audit.populations import Matrix, normals
from unlearning.errors import OptionOutOfRange
from unlearning.evaluation.audit import challenge_epsilons, forgetting_quality

DELTA = 1e-5


def attacked(fpr: float, fnr: float) -> float:
    """Return one attack's epsilon by the metric's words; NaN where it is discarded."""
    if fpr == 0 and fnr == 0:
        return math.inf
    if fpr == 0 or fnr == 0:
        return math.nan
    terms = [math.log(1 - DELTA - a) - math.log(b) for a, b in ((fpr, fnr), (fnr, fpr)) if 1 - DELTA - a > 0]
    return max(0.0, *terms) if terms else math.nan


def every_window(grid: Matrix, _peaky: Matrix) -> list[tuple[float, float]]:
    return [(left, right) for i, left in enumerate(grid) for right in grid[i:]]


def narrow_windows(_grid: Matrix, peaky: Matrix) -> list[tuple[float, float]]:
    step, count = 4 / 399, range(400)
    return [(peaky.min() - 4 + step * (j + k), peaky.max() - 2 + step * j) for j in count for k in count]


def brute(u: Matrix, r: Matrix, windows: str = "all") -> float:
    pos, neg = (r, u) if np.median(r) > np.median(u) else (u, r)
    spans = np.ptp(pos), np.ptp(neg)
    if max(spans) > 0 and min(spans) / max(spans) < 0.01:
        return 50.0
    both = np.concatenate([u, r])
    grid = np.linspace(both.min(), both.max(), max(2, math.ceil(np.ptp(both) * 100)))
    rates = {((neg >= t).mean(), (pos < t).mean()) for t in grid}
    peaky, wide = (pos, neg) if spans[0] < spans[1] else (neg, pos)
    pairs = np.array((every_window if windows == "all" else narrow_windows)(grid, peaky))

    def held(side: Matrix) -> Matrix:
        shares: Matrix = ((pairs[:, :1] <= side) & (side <= pairs[:, 1:])).mean(axis=1)
        return shares

    rates |= set(zip(held(wide).tolist(), (1 - held(peaky)).tolist(), strict=True))
    found = [e for e in (attacked(*pair) for pair in rates) if not math.isnan(e)]
    return min(50.0, max(found)) if found else (0.0 if sorted(u) == sorted(r) else 50.0)


@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize(
    ("models", "scale"), [((3, 3), 1.0), ((4, 4), 0.3), ((8, 8), 1.0), ((8, 5), 0.5), ((16, 16), 0.1)]
)
def test_epsilon_is_the_largest_over_every_threshold_and_window(
    models: tuple[int, int], scale: float, shift: float
) -> None:
    u, r = (side * scale for side in normals(models, 4, shift=shift, seed=sum(models)))
    expected = [brute(u[:, i], r[:, i]) for i in range(4)]
    np.testing.assert_allclose(challenge_epsilons(u, r), expected, atol=1e-9)


@pytest.mark.parametrize(("models", "scale"), [((4, 4), 3.0), ((8, 8), 1.0), ((6, 9), 2.0)])
def test_the_narrow_family_is_the_one_of_four_hundred_right_and_left_ends(
    models: tuple[int, int], scale: float
) -> None:
    u, r = (side * scale for side in normals(models, 3, shift=0.5, seed=sum(models)))
    expected = [brute(u[:, i], r[:, i], "narrow") for i in range(3)]
    np.testing.assert_allclose(challenge_epsilons(u, r, windows="narrow"), expected, atol=1e-9)


def test_confidences_that_lie_on_the_grid_count_as_at_least_and_as_at_most() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        u, r = (rng.integers(0, 6, size=(5, 2)) / 2 for _ in range(2))
        expected = [brute(u[:, i], r[:, i]) for i in range(2)]
        np.testing.assert_allclose(challenge_epsilons(u, r), expected, atol=1e-9)


def test_by_hand_two_combs() -> None:
    """A threshold of 1.2 calls three of four retrained models right and two unlearned ones wrong: FNR 1/4, FPR 1/2."""
    u, r = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0.5], [1.5], [2.5], [3.5]])
    assert challenge_epsilons(u, r)[0] == pytest.approx(math.log((0.5 - DELTA) / 0.25))


def test_by_hand_a_window_finds_what_no_single_threshold_does() -> None:
    """Seven of eight retrained models between -1 and 1 and one of eight unlearned: FNR 1/8, FPR 1/8."""
    u = np.array([-9, -8, -7, -6, 6, 7, 8, 0.05])[:, None]
    r = np.array([-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 6.5])[:, None]
    assert challenge_epsilons(u, r)[0] == pytest.approx(math.log((7 / 8 - DELTA) / (1 / 8)))


def test_a_population_without_spread_beside_one_with_it_is_told_apart_by_rule() -> None:
    wide = np.linspace(-1, 1, 8)[:, None]
    assert challenge_epsilons(wide * 0.009, wide)[0] == 50.0
    assert challenge_epsilons(wide, wide * 0.009)[0] == 50.0
    assert challenge_epsilons(wide * 0.3, wide)[0] < 50.0


def test_an_attack_with_one_rate_of_zero_is_discarded_and_with_two_it_is_certain() -> None:
    u, r = normals(16, 200, shift=0.5)
    found = challenge_epsilons(u, r)
    assert found.max() <= math.log(15)  # the largest epsilon that 16 models can show; kept zeros would be infinite
    assert challenge_epsilons(u, r + 100).tolist() == [50.0] * 200


def test_without_any_attack_left_equal_numbers_are_equal_and_others_are_not() -> None:
    same = np.zeros((4, 1))
    assert challenge_epsilons(same, same)[0] == 0.0
    assert challenge_epsilons(same, same + 1)[0] == 50.0
    ties = np.array([[0.0], [0.0], [1.0]]), np.array([[0.0], [1.0], [1.0]])
    assert challenge_epsilons(*ties)[0] == pytest.approx(brute(ties[0][:, 0], ties[1][:, 0]))


def test_naming_the_populations_the_other_way_round_changes_nothing() -> None:
    u, r = normals((9, 9), 60, shift=0.5)
    np.testing.assert_allclose(challenge_epsilons(u, r), challenge_epsilons(r, u))


def test_the_order_of_models_and_samples_changes_nothing() -> None:
    u, r = normals((6, 7), 20, shift=0.5)
    rng = np.random.default_rng(1)
    i, j, k = rng.permutation(6), rng.permutation(7), rng.permutation(20)
    np.testing.assert_array_equal(challenge_epsilons(u[i][:, k], r[j][:, k]), challenge_epsilons(u, r)[k])


def test_the_narrow_family_of_windows_never_finds_more() -> None:
    u, r = normals(32, 100, shift=0.5)
    u, r = 3 * u, 3 * r
    narrow, wide = challenge_epsilons(u, r, windows="narrow"), challenge_epsilons(u, r)
    assert (narrow <= wide + 1e-12).all()
    assert narrow.mean() < wide.mean()


def test_diverged_confidences_do_not_need_a_grid_as_long_as_their_range() -> None:
    u, r = normals(8, 3, shift=1.0)
    assert np.isfinite(challenge_epsilons(1e12 * u, 1e12 * r)).all()


def test_the_quality_halves_with_every_bucket_and_ends_where_so_many_models_see_nothing_more() -> None:
    assert forgetting_quality(np.array([0.0]), 512) == 1.0
    assert forgetting_quality(np.array([0.5]), 512) == 0.5
    assert forgetting_quality(np.array([6.99]), 512) == 2.0**-13  # the last of 14 buckets
    assert forgetting_quality(np.array([7.0]), 512) == 0.0
    assert forgetting_quality(np.array([2.99]), 16) == 2.0**-5
    assert forgetting_quality(np.array([3.0, 50.0]), 16) == 0.0
    assert forgetting_quality(np.array([0.0, 1.0, 50.0, 0.7]), 64) == pytest.approx((1 + 0.25 + 0 + 0.5) / 4)
    assert forgetting_quality(np.array([0.0]), 2) == 0.0


def test_inputs_that_mean_nothing_are_refused() -> None:
    with pytest.raises(OptionOutOfRange, match="at least 3, got 2"):
        challenge_epsilons(np.zeros((2, 1)), np.zeros((3, 1)))
    with pytest.raises(OptionOutOfRange, match="windows"):
        challenge_epsilons(np.zeros((3, 1)), np.zeros((3, 1)), windows="some")  # type: ignore[arg-type]
