"""Half-kept symmetric matrices do what whole ones do, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.fixtures.small_models import normal
from unlearning.errors import NonFinite
from unlearning.symmetric import BlockSymmetric, Factor, block_size

SIZES = [1, 100, 128, 129, 300]


def positive(d: int, groups: int = 2) -> Tensor:
    x = normal(groups, d + 5, d).double()
    return x.mT @ x / d + torch.eye(d, dtype=torch.float64)


@pytest.mark.parametrize("d", SIZES)
def test_a_sum_of_products_is_the_whole_sum(d: int) -> None:
    rows = normal(2, 40, d).double()
    ours = BlockSymmetric.zeros(d, 2, dtype=torch.float64)
    for part in rows.split(13, dim=1):
        ours.add_product(part)
    expected = rows.mT @ rows
    torch.testing.assert_close(ours.dense(), expected)
    torch.testing.assert_close(ours.diagonal(), expected.diagonal(dim1=-2, dim2=-1))
    assert (ours.d, ours.groups, ours.dtype) == (d, 2, torch.float64)


def test_little_more_than_half_of_a_large_matrix_is_held() -> None:
    d = 1536
    held = BlockSymmetric.zeros(d, dtype=torch.float32).numel()
    assert held / d**2 == pytest.approx(0.5 + 1 / 24, abs=0.01)
    assert block_size(d) % 16 == 0


@pytest.mark.parametrize("d", SIZES)
def test_only_the_upper_triangle_is_read(d: int) -> None:
    dense = positive(d)
    ours = BlockSymmetric.of(dense.triu() + torch.full_like(dense, torch.nan).tril(-block_size(d)))
    torch.testing.assert_close(ours.dense().triu(), dense.triu())


@pytest.mark.parametrize("d", SIZES)
@pytest.mark.parametrize("m", [1, 7])
def test_products_and_solves_from_the_right_are_those_of_the_whole_matrix(d: int, m: int) -> None:
    dense, w = positive(d), normal(2, m, d, seed=3).double()
    before = w.clone()
    ours = BlockSymmetric.of(dense)
    torch.testing.assert_close(ours.right_product(w), w @ dense)
    torch.testing.assert_close(Factor(ours).right_solve(w), torch.linalg.solve(dense, w, left=False))
    assert torch.equal(w, before)


@pytest.mark.parametrize("unit", [1, 48, 100])
def test_blocks_of_any_size_are_factored_by_halves(unit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.symmetric._SMALLEST_BLOCK", 16)
    rows = normal(900, 2, 800).double().transpose(0, 1)
    matrix = BlockSymmetric.zeros(800, 2, dtype=torch.float64, unit=unit)
    matrix.add_product(rows)
    dense, w = matrix.dense(), normal(2, 5, 800, seed=1).double()
    heights = {stop - start for start, stop, _ in matrix.spans()}
    assert max(heights) == {1: 80, 48: 96, 100: 100}[unit]
    torch.testing.assert_close(dense, rows.mT @ rows)
    torch.testing.assert_close(Factor(matrix).right_solve(w) @ dense, w)


def test_scaling_leaves_the_original_alone() -> None:
    dense = positive(200)
    ours, scale = BlockSymmetric.of(dense), torch.tensor([2.0, 0.0], dtype=torch.float64)
    scaled = ours.scaled(scale, 3.0)
    torch.testing.assert_close(scaled.dense(), dense * scale[:, None, None] + 3 * torch.eye(200))
    torch.testing.assert_close(ours.dense(), dense)


@pytest.mark.parametrize("place", [0, 250])
@pytest.mark.parametrize("bad", [-1.0, float("nan")])
def test_a_matrix_that_is_not_positive_definite_is_refused(bad: float, place: int) -> None:
    dense = positive(300)
    dense[1, place, place] = bad
    with pytest.raises(NonFinite, match="second moment"):
        Factor(BlockSymmetric.of(dense))
