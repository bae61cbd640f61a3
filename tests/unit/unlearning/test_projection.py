"""The update by factorisations is the paper's, by full SVD in float64, whatever form the statistics have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.fixtures.small_models import normal
from tests.fixtures.svd_oracle import importance, updated
from unlearning.errors import NonFinite, OptionOutOfRange, ShapeError, StatisticsMismatch
from unlearning.inventory import Layer
from unlearning.projection import LayerUpdate, SoftProjection, project
from unlearning.statistics import SecondMoment, SecondMomentSum

PAIRS = [(100.0, 3.0), (1000.0, 100.0), (10.0, 1.0), (30.0, 0.5)]
D = 20
ROWS = {"n < d": 7, "n = d": D, "n > d": 90}
HELD_AS_ROWS = {"n < d": True, "n = d": False, "n > d": False}


def moment(rows: Tensor) -> SecondMoment:
    sums = SecondMomentSum(rows.shape[2], rows.shape[1])
    sums.add(rows)
    return sums.finish()


def whole(matrix: Tensor, rows: int = 1) -> SecondMoment:
    return SecondMoment.of(matrix[None], rows)


def spread(n: int, groups: int, d: int, seed: int) -> Tensor:
    """Rows whose directions differ in importance by orders of magnitude, with a common mean as after a ReLU."""
    return normal(n, groups, d, seed=seed).double() * torch.logspace(0, -2, d) + 0.3


def layer(d: int, m: int, groups: int = 1) -> Layer:
    return Layer("w", "linear", ("",), d=d, m=m, groups=groups)


@pytest.mark.parametrize("alpha", [0.3, 0.5, 0.999, 1.0, 1.001, 3.0, 9.0, 100.0, 1000.0])
@pytest.mark.parametrize("case", ROWS)
def test_the_soft_projection_without_svd_is_the_one_with_it(case: str, alpha: float) -> None:
    rows = spread(ROWS[case], 1, D, seed=1)
    held = moment(rows)
    assert isinstance(held.held, Tensor) == HELD_AS_ROWS[case]
    ours = SoftProjection(held, alpha).right_product(torch.eye(D, dtype=torch.float64)[None])[0]
    torch.testing.assert_close(ours, importance(rows[:, 0], alpha))
    assert float(torch.linalg.eigvalsh(ours).max()) <= 1 + 1e-12


@pytest.mark.parametrize("m", [6, 3 * D], ids=["few outputs", "many outputs"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("forget", ROWS)
@pytest.mark.parametrize("retain", ROWS)
def test_the_update_equals_the_full_svd_in_every_combination(
    retain: str, forget: str, pair: tuple[float, float], dtype: torch.dtype, m: int
) -> None:
    weight, kept, gone = normal(m, D).double(), spread(ROWS[retain], 1, D, seed=1), spread(ROWS[forget], 1, D, seed=2)
    ours = project(weight[None], moment(kept.to(dtype)), moment(gone.to(dtype)), *pair)[0]
    expected = updated(weight, kept[:, 0], gone[:, 0], *pair)
    assert ours.dtype == dtype
    assert float((ours - expected).norm() / (expected - weight).norm()) < (1e-11 if dtype == torch.float64 else 2e-5)


def test_a_matrix_of_many_blocks_is_updated_like_a_small_one() -> None:
    d = 700
    weight, retain, forget = normal(5, d).double(), spread(900, 1, d, seed=1), spread(400, 1, d, seed=2)
    expected = updated(weight, retain[:, 0], forget[:, 0], 100, 3)
    for dtype, bound in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        ours = project(weight[None], moment(retain.to(dtype)), moment(forget.to(dtype)), 100, 3)[0]
        assert float((ours - expected).norm() / expected.norm()) < bound


def test_a_small_alpha_costs_no_digits() -> None:
    """The short formula would lose a digit here; the rounding of W' itself allows about 1e-5 of so small a change."""
    d = 300
    weight, retain, forget = normal(50, d).double(), spread(2000, 1, d, seed=1), spread(2000, 1, d, seed=2)
    expected = updated(weight, retain[:, 0], forget[:, 0], 100, 3)
    change = float((expected - weight).norm())
    rounding = float((expected.float().double() - expected).norm()) / change
    ours = project(weight[None].float(), moment(retain.float()), moment(forget.float()), 100, 3)[0].double()
    assert float((ours - expected).norm()) / change < 5 * rounding


@pytest.mark.parametrize("pair", PAIRS, ids=str)
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("forget_rows", [5, 40], ids=["forget rows held", "forget sums held"])
def test_the_grid_gives_what_single_updates_give(groups: int, forget_rows: int, pair: tuple[float, float]) -> None:
    rows = normal(groups, 8 // groups, 18).double()
    sides = moment(spread(40, groups, 18, seed=1)), moment(spread(forget_rows, groups, 18, seed=2))
    update = LayerUpdate(layer(18, 8, groups), rows, *sides)
    for _ in range(2):
        torch.testing.assert_close(update.at(*pair), update.once(*pair))
    other = update.at(77.0, 2.0)
    assert other.shape == rows.shape
    torch.testing.assert_close(other, update.once(77.0, 2.0))
    torch.testing.assert_close(update.at(*pair), update.once(*pair))


@pytest.mark.parametrize("n", [2, 30], ids=["rows held", "sums held"])
def test_each_group_is_projected_on_its_own(n: int) -> None:
    rows, retain, forget = normal(2, 2, 6).double(), spread(n, 2, 6, seed=1), spread(n, 2, 6, seed=2)
    ours = LayerUpdate(layer(6, 4, groups=2), rows, moment(retain), moment(forget)).once(100, 3)
    for group in range(2):
        expected = updated(rows[group], retain[:, group], forget[:, group], 100, 3)
        torch.testing.assert_close(ours[group], expected)


def test_what_retain_and_forget_share_is_kept_and_what_only_forget_uses_is_removed() -> None:
    shared, only_forget = torch.eye(3)[0], torch.eye(3)[1]
    c_r, c_f = torch.outer(shared, shared), (torch.outer(shared, shared) + torch.outer(only_forget, only_forget)) / 2
    new = project(torch.ones(1, 1, 3), whole(c_r), whole(c_f), 1000.0, 1000.0)[0, 0]
    assert float(new[0]) == pytest.approx(1, abs=2e-3)
    assert abs(float(new[1])) < 2e-3
    assert float(new[2]) == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 10], ids=["rows held", "sums held"])
@pytest.mark.parametrize("alpha_f", [1.0, 3.0, 100.0])
def test_a_dead_group_on_the_forget_side_is_left_alone(alpha_f: float, n: int) -> None:
    forget = spread(n, 2, 3, seed=2)
    forget[:, 1] = 0
    rows = normal(2, 1, 3).double()
    update = LayerUpdate(layer(3, 2, groups=2), rows, moment(spread(n, 2, 3, seed=1)), moment(forget))
    for new in (update.once(100, alpha_f), update.at(100, alpha_f)):
        assert torch.equal(new[1], rows[1])
        assert not torch.equal(new[0], rows[0])


def test_inputs_that_are_always_zero_leave_their_weights_alone() -> None:
    retain, forget = spread(50, 1, 6, seed=1), spread(50, 1, 6, seed=2)
    forget[:, :, 4] = 0
    rows = normal(1, 3, 6).double()
    new = LayerUpdate(layer(6, 3), rows, moment(retain), moment(forget)).once(100, 3)
    assert torch.equal(new[:, :, 4], rows[:, :, 4])
    torch.testing.assert_close(new[0], updated(rows[0], retain[:, 0], forget[:, 0], 100, 3))


def test_half_precision_weights_stay_in_half_precision() -> None:
    rows = normal(1, 3, 6).bfloat16()
    new = LayerUpdate(layer(6, 3), rows, moment(normal(50, 1, 6)), moment(normal(2, 1, 6, seed=1))).once(100, 3)
    assert new.dtype == torch.bfloat16


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
def test_alphas_that_mean_nothing_are_refused(alpha: float) -> None:
    c = whole(torch.eye(2) / 2)
    update = LayerUpdate(layer(2, 1), torch.ones(1, 1, 2), c, c)
    for call in (lambda *pair: project(torch.ones(1, 1, 2), c, c, *pair), update.at, update.once):
        with pytest.raises(OptionOutOfRange, match="alpha_r"):
            call(alpha, 3)
        with pytest.raises(OptionOutOfRange, match="alpha_f"):
            call(3, alpha)


def test_shapes_that_do_not_fit_are_refused() -> None:
    two, three = whole(torch.eye(2)), whole(torch.eye(3))
    with pytest.raises(ShapeError, match="retain"):
        project(torch.ones(1, 1, 3), two, two, 100, 3)
    with pytest.raises(ShapeError, match="forget"):
        project(torch.ones(1, 1, 2), two, three, 100, 3)
    with pytest.raises(ShapeError, match="weight"):
        project(torch.ones(1, 2), two, two, 100, 3)
    with pytest.raises(StatisticsMismatch, match="'w' has d = 3, retain 2"):
        LayerUpdate(layer(3, 1), torch.ones(1, 1, 3), two, three)
    with pytest.raises(ShapeError, match="rows of 'w'"):
        LayerUpdate(layer(3, 1), torch.ones(1, 3), three, three)


def test_numbers_that_are_not_finite_never_reach_a_weight() -> None:
    good = whole(torch.eye(2))
    with pytest.raises(NonFinite):
        project(torch.ones(1, 1, 2), whole(torch.full((2, 2), float("nan"))), good, 100, 3)
    with pytest.raises(NonFinite, match="update of 'w'"):
        LayerUpdate(layer(2, 1), torch.tensor([[[float("inf"), 0]]]), good, good).once(100, 3)
