"""The update by Cholesky solves is the paper's, by full SVD in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.fixtures.small_models import normal
from tests.fixtures.svd_oracle import importance, updated
from unlearning.errors import NonFinite, OptionOutOfRange, ShapeError, StatisticsMismatch
from unlearning.inventory import Layer
from unlearning.projection import LayerUpdate, project
from unlearning.statistics import SecondMoment

PAIRS = [(100.0, 3.0), (1000.0, 100.0), (10.0, 1.0), (30.0, 0.5)]
ROWS = {"n < d": 7, "n = d": 20, "n > d": 90}


def moment(rows: Tensor) -> SecondMoment:
    return SecondMoment(torch.einsum("ngd,nge->gde", rows, rows), len(rows))


def spread(n: int, groups: int, d: int, seed: int) -> Tensor:
    """Rows whose directions differ in importance by orders of magnitude, with a common mean as after a ReLU."""
    return normal(n, groups, d, seed=seed).double() * torch.logspace(0, -2, d) + 0.3


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0, 100.0, 1000.0])
@pytest.mark.parametrize("n", ROWS.values(), ids=ROWS)
def test_the_soft_projection_without_svd_is_the_one_with_it(n: int, alpha: float) -> None:
    rows = spread(n, 1, 20, seed=1)
    c = moment(rows).normalised()[0]
    identity = torch.eye(20, dtype=torch.float64)
    ours = alpha * c @ torch.linalg.inv((alpha - 1) * c + identity)
    torch.testing.assert_close(ours, importance(rows[:, 0], alpha))
    assert float(torch.linalg.eigvalsh(ours).max()) <= 1 + 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("n", ROWS.values(), ids=ROWS)
def test_the_update_equals_the_full_svd(n: int, pair: tuple[float, float], dtype: torch.dtype) -> None:
    weight, retain, forget = normal(6, 20).double(), spread(n, 1, 20, seed=1), spread(n, 1, 20, seed=2)
    c_r, c_f = (moment(rows).normalised()[0].to(dtype) for rows in (retain, forget))
    ours = project(weight, c_r, c_f, *pair)
    expected = updated(weight, retain[:, 0], forget[:, 0], *pair)
    assert ours.dtype == dtype
    assert float((ours - expected).norm() / expected.norm()) < (1e-12 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("groups", [1, 4])
def test_the_grid_gives_what_single_updates_give(groups: int, pair: tuple[float, float]) -> None:
    layer = Layer("w", "conv2d", ("",), d=18, m=8, groups=groups)
    weight = normal(8, 2, 3, 3).double()
    update = LayerUpdate(layer, weight, *(moment(spread(40, groups, 18, seed=seed)) for seed in (1, 2)))
    for _ in range(2):
        torch.testing.assert_close(update.at(*pair), update.once(*pair))
    other = update.at(77.0, 2.0)
    assert other.shape == weight.shape
    torch.testing.assert_close(other, update.once(77.0, 2.0))


def test_each_group_is_projected_on_its_own() -> None:
    layer = Layer("w", "conv2d", ("",), d=6, m=4, groups=2)
    weight, retain, forget = normal(4, 6).double(), spread(30, 2, 6, seed=1), spread(30, 2, 6, seed=2)
    ours = LayerUpdate(layer, weight, moment(retain), moment(forget)).once(100, 3)
    for group in range(2):
        part = slice(2 * group, 2 * group + 2)
        torch.testing.assert_close(ours[part], updated(weight[part], retain[:, group], forget[:, group], 100, 3))


def test_what_retain_and_forget_share_is_kept_and_what_only_forget_uses_is_removed() -> None:
    shared, only_forget = torch.eye(3)[0], torch.eye(3)[1]
    c_r, c_f = torch.outer(shared, shared), (torch.outer(shared, shared) + torch.outer(only_forget, only_forget)) / 2
    new = project(torch.ones(1, 3), c_r, c_f, 1000.0, 1000.0)[0]
    assert float(new[0]) == pytest.approx(1)
    assert abs(float(new[1])) < 2e-3
    assert float(new[2]) == pytest.approx(1)


def test_a_dead_group_on_the_forget_side_is_left_alone() -> None:
    layer = Layer("w", "conv2d", ("",), d=3, m=2, groups=2)
    forget = spread(10, 2, 3, seed=2)
    forget[:, 1] = 0
    weight = normal(2, 3).double()
    update = LayerUpdate(layer, weight, moment(spread(10, 2, 3, seed=1)), moment(forget))
    for new in (update.once(100, 3), update.at(100, 3)):
        assert torch.equal(new[1], weight[1])
        assert not torch.equal(new[0], weight[0])


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alphas_that_mean_nothing_are_refused(alpha: float) -> None:
    c = torch.eye(2) / 2
    with pytest.raises(OptionOutOfRange, match="alpha_r"):
        project(torch.ones(1, 2), c, c, alpha, 3)
    with pytest.raises(OptionOutOfRange, match="alpha_f"):
        project(torch.ones(1, 2), c, c, 3, alpha)


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="retain"):
        project(torch.ones(1, 3), torch.eye(2), torch.eye(2), 100, 3)
    with pytest.raises(ShapeError, match="forget"):
        project(torch.ones(1, 2), torch.eye(2), torch.eye(3), 100, 3)
    layer = Layer("w", "linear", ("",), d=3, m=1, groups=1)
    with pytest.raises(StatisticsMismatch, match="'w' has d = 3, retain 2"):
        LayerUpdate(layer, torch.ones(1, 3), SecondMoment(torch.eye(2)[None], 2), SecondMoment(torch.eye(3)[None], 2))


def test_numbers_that_are_not_finite_never_reach_a_weight() -> None:
    bad = torch.full((2, 2), float("nan"))
    with pytest.raises(NonFinite):
        project(torch.ones(1, 2), bad, torch.eye(2) / 2, 100, 3)
    layer = Layer("w", "linear", ("",), d=2, m=1, groups=1)
    good = SecondMoment(torch.eye(2)[None], 2)
    with pytest.raises(NonFinite, match="update of 'w'"):
        LayerUpdate(layer, torch.tensor([[float("inf"), 0]]), good, good).once(100, 3)
