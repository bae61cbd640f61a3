"""The ridge fit against a naive float64 solution of the stacked least-squares problem."""

import pytest
import torch
from torch import Tensor

from unlearning.errors import NonFinite, ShapeError
from unlearning.leastsquares import RidgeFit, refitted

RIDGE = 1e-2


def naive(weight: Tensor, x: Tensor, t: Tensor, importance: Tensor, ridge: float) -> Tensor:
    """One group, by stacking sqrt(e) I under the weighted rows; weight (m, d), x (n, d), t (n, m)."""
    w, x, t, a = (value.double() for value in (weight, x, t, importance))
    strength = ridge * (a[:, None] * x.square()).sum() / x.shape[1]
    rows = torch.cat([a.sqrt()[:, None] * x, strength.sqrt() * torch.eye(x.shape[1], dtype=torch.float64)])
    wanted = torch.cat([a.sqrt()[:, None] * t, strength.sqrt() * w.T])
    solution: Tensor = torch.linalg.lstsq(rows, wanted).solution
    return solution.T


def problem(n: int, groups: int, m: int, d: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return normal(groups, m, d), normal(n, groups, d), normal(n, groups, m), normal(n).abs() + 0.1


@pytest.mark.parametrize(("n", "d"), [(5, 12), (12, 12), (40, 12)])
@pytest.mark.parametrize("groups", [1, 3])
def test_both_forms_agree_with_the_stacked_problem(n: int, d: int, groups: int) -> None:
    weight, x, t, importance = problem(n, groups, 4, d)

    new = refitted(weight, x, t, importance, RIDGE)

    expected = torch.stack([naive(weight[g], x[:, g], t[:, g], importance, RIDGE) for g in range(groups)])
    assert (new - expected).norm() / expected.norm() < 1e-4


def test_rows_may_come_in_any_order_and_without_columns_that_are_zero() -> None:
    weight, x, t, importance = problem(40, 2, 4, 12)
    x[:25, :, 3:5] = 0
    whole = refitted(weight, x, t, importance, RIDGE)

    fit = RidgeFit(weight, RIDGE)
    columns = torch.tensor([0, 1, 2, *range(5, 12)])
    fit.add(x[25:], t[25:], importance[25:])
    fit.add(x[:25][:, :, columns], t[:25], importance[:25], ((0, 3), (5, 12)))

    assert torch.allclose(fit.solved(), whole, atol=1e-5)


def test_rows_without_any_column_change_nothing() -> None:
    weight, x, t, importance = problem(40, 2, 4, 12)
    fit = RidgeFit(weight, RIDGE)
    fit.add(x, t, importance)
    expected = fit.solved()

    fit.add(x[:3, :, :0], t[:3], importance[:3], ())

    assert torch.equal(fit.solved(), expected)


def test_targets_that_the_old_weight_meets_change_nothing() -> None:
    weight, x, _, importance = problem(30, 2, 4, 8)
    t = torch.einsum("gmd,ngd->ngm", weight, x)

    assert torch.allclose(refitted(weight, x, t, importance, RIDGE), weight, atol=1e-6)


def test_a_strong_ridge_keeps_the_old_weight_and_a_weak_one_meets_the_targets() -> None:
    weight, x, t, importance = problem(8, 1, 4, 12)

    def residual(ridge: float) -> float:
        return float((torch.einsum("gmd,ngd->ngm", refitted(weight, x, t, importance, ridge), x) - t).norm())

    assert torch.allclose(refitted(weight, x, t, importance, 1e9), weight, atol=1e-5)
    assert residual(1e-7) < 1e-3 < residual(1.0)


def test_a_group_of_dead_channels_keeps_its_weight() -> None:
    weight, x, t, importance = problem(30, 2, 4, 8)
    x[:, 1] = 0

    new = refitted(weight, x, t, importance, RIDGE)

    assert torch.equal(new[1], weight[1])
    assert not torch.equal(new[0], weight[0])


def test_what_does_not_fit_or_is_not_finite_is_refused() -> None:
    weight, x, t, importance = problem(30, 2, 4, 8)
    with pytest.raises(ShapeError):
        refitted(weight, x, t[:, :, :3], importance, RIDGE)
    x[0, 0, 0] = torch.inf
    with pytest.raises(NonFinite):
        refitted(weight, x, t, importance, RIDGE)
