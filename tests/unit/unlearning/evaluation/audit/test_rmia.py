"""RMIA against a loop over targets, references, population samples and values of a."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from tests.unit.unlearning.evaluation.audit.populations import Matrix, contains, normals
from unlearning.errors import OptionOutOfRange, ShapeError
from unlearning.evaluation import Measure
from unlearning.evaluation.audit import rmia_measures
from unlearning.evaluation.audit.rmia import GRID

Side = tuple[Matrix, Matrix]


def audited(
    models: int | tuple[int, int], *, shift: float = 0.0, common: float = 0.0, seed: int = 0, **options: float
) -> Measure:
    x, z = normals(models, 30, shift=shift, common=common, seed=seed), normals(models, 25, common=common, seed=seed + 1)
    found = rmia_measures(*x, *z, seed=0, resamples=20, **options)  # type: ignore[arg-type]
    return found["rmia_auc"]


def score(target: Side, references: Side, a: float, gamma: float) -> list[float]:
    def ratios(phi: Matrix, out: Matrix) -> Matrix:
        mean = (1 / (1 + np.exp(-out))).mean(axis=0)
        found: Matrix = (1 / (1 + np.exp(-phi))) / ((1 + a) / 2 * mean + (1 - a) / 2)
        return found

    of_x, of_z = ratios(target[0], references[0]), ratios(target[1], references[1])
    return [float(np.mean([x / z > gamma for z in of_z])) for x in of_x]


def table(u: Side, r: Side, gamma: float) -> dict[tuple[float, int, int], float]:
    """Return the AUC of every pair of targets for every value of a, each without the retrained target."""
    found = {}
    for a, i, j in product(GRID, range(len(u[0])), range(len(r[0]))):
        references = np.delete(r[0], j, axis=0), np.delete(r[1], j, axis=0)
        first, second = (score((side[0][k], side[1][k]), references, a, gamma) for side, k in ((u, i), (r, j)))
        found[a, i, j] = float(np.mean([(x > y) + 0.5 * (x == y) for x, y in zip(first, second, strict=True)]))
    return found


@pytest.mark.parametrize(("gamma", "shift"), [(1.0, 0.7), (1.5, 0.7), (1.0, -1.0)])
def test_the_auc_is_that_of_the_loop_with_a_chosen_on_the_other_pairs(gamma: float, shift: float) -> None:
    x, z = normals((4, 5), 10, shift=shift), normals((4, 5), 12, seed=1)
    auc = table((x.unlearned, z.unlearned), (x.retrained, z.retrained), gamma)
    expected = []
    for i, j in product(range(4), range(5)):
        elsewhere = {
            a: abs(np.mean([auc[a, k, m] for k, m in product(range(4), range(5)) if k != i and m != j]) - 0.5)
            for a in GRID
        }
        best = max(elsewhere.values())
        chosen = next(a for a in GRID if elsewhere[a] > best - 1e-12)
        expected.append(auc[chosen, i, j])
    found = rmia_measures(*x, *z, seed=0, gamma=gamma, resamples=20)["rmia_auc"]
    assert found.value == pytest.approx(np.mean(expected))


def test_equal_populations_are_not_told_apart() -> None:
    for common, seed in product((0.0, 1.0), range(5)):
        assert contains(audited(8, common=common, seed=10 * seed), 0.5)


def test_surer_models_score_above_one_half_and_less_sure_ones_below() -> None:
    kept, overdone = audited(8, shift=1.0), audited(8, shift=-1.0)
    assert (kept.low or 0) > 0.5
    assert (overdone.high or 1) < 0.5
    assert kept.direction == "two-sided"


def test_probabilities_too_small_for_a_float_are_still_compared() -> None:
    x, z = normals(8, 30, shift=1.0), normals(8, 25, seed=1)
    far = [side - 900.0 for side in (*x, *z)]
    assert (rmia_measures(*far, seed=0, resamples=20)["rmia_auc"].low or 0) > 0.5


def test_the_released_model_is_scored_beside_held_out_retrained_ones() -> None:
    x, z = normals(8, 30, shift=1.5), normals(8, 25, seed=1)
    leaking = x.unlearned.mean(axis=0), z.unlearned.mean(axis=0)
    clean = x.retrained.mean(axis=0), z.retrained.mean(axis=0)
    leaks, passes = (rmia_measures(*x, *z, seed=0, released=row, resamples=20) for row in (leaking, clean))
    assert (leaks["rmia_released_auc"].low or 0) > 0.6
    assert contains(passes["rmia_released_auc"], 0.5)
    assert leaks["rmia_auc"] == passes["rmia_auc"]


def test_the_order_of_models_and_samples_changes_nothing_and_the_seed_only_the_interval() -> None:
    x, z = normals((5, 6), 20, shift=0.5), normals((5, 6), 15, seed=1)
    rng = np.random.default_rng(1)
    i, j, k, m = (rng.permutation(count) for count in (5, 6, 20, 15))
    moved = x.unlearned[i][:, k], x.retrained[j][:, k], z.unlearned[i][:, m], z.retrained[j][:, m]
    first, again, other = (rmia_measures(*x, *z, seed=seed, resamples=20)["rmia_auc"] for seed in (0, 0, 1))
    assert first == again
    assert first.value == other.value
    assert first.low != other.low
    assert rmia_measures(*moved, seed=0, resamples=20)["rmia_auc"].value == pytest.approx(first.value, abs=1e-12)


def test_inputs_that_mean_nothing_are_refused() -> None:
    x, z = normals(4, 10), normals(4, 12)
    with pytest.raises(OptionOutOfRange, match="population samples to be at least 10, got 5"):
        rmia_measures(*x, *normals(4, 5), seed=0)
    with pytest.raises(ShapeError, match="population confidences of the retrained models"):
        rmia_measures(*x, z.unlearned, normals(5, 12).retrained, seed=0)
    for gamma in (0.0, -1.0, math.nan):
        with pytest.raises(OptionOutOfRange, match="gamma"):
            rmia_measures(*x, *z, seed=0, gamma=gamma)
