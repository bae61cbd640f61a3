"""The rows of a product are exactly what it multiplies with its weight."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import normal, seeded
from tests.fixtures.svd_oracle import patches, pixel_by_pixel
from unlearning.patches import MatrixRows, PatchRows

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (3, 5), "padding": (1, 2), "stride": (2, 1)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": (2, 3), "dilation": (3, 1), "stride": (1, 2), "padding": (2, 0)},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4, "stride": 2},
    {"kernel_size": (3, 1), "padding": (1, 0), "groups": 4, "dilation": (2, 1)},
]


def rows_of(module: nn.Conv2d, x: Tensor) -> PatchRows:
    padding = tuple(int(margin) for margin in module.padding)
    return PatchRows(x, module.kernel_size, module.stride, padding, module.dilation, module.groups)


def unfolded(module: nn.Conv2d, x: Tensor) -> Tensor:
    return pixel_by_pixel(module, patches(module, x))


def whole(pieces: Iterator[Tensor]) -> Tensor:
    return torch.cat(list(pieces))


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_patches_times_weight_is_what_the_convolution_computes(options: dict[str, Any]) -> None:
    module = seeded(nn.Conv2d(4, 8, bias=False, **options)).double()
    x = normal(3, 4, 9, 11).double()
    rows = whole(rows_of(module, x).take(None))
    weight = module.weight.flatten(2).mT.reshape(module.groups, 8 // module.groups, -1)
    product = torch.einsum("ngd,gmd->ngm", rows, weight).reshape(len(rows), 8)
    expected = module(x).permute(0, 2, 3, 1).reshape(-1, 8)
    torch.testing.assert_close(product, expected)
    torch.testing.assert_close(rows, unfolded(module, x))
    assert rows_of(module, x).items * rows_of(module, x).positions == len(rows)


@pytest.mark.parametrize("count", [3, 60], ids=["read in place", "read from a copy"])
@pytest.mark.parametrize("is_last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_chosen_rows_are_rows_of_all(options: dict[str, Any], is_last: bool, count: int) -> None:
    module, x = nn.Conv2d(4, 8, **options), normal(3, 4, 9, 11)
    x = x.contiguous(memory_format=torch.channels_last) if is_last else x
    every = unfolded(module, x)
    index = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:count]
    index = torch.cat([index, torch.tensor([0, len(every) - 1])])
    assert torch.equal(whole(rows_of(module, x).take(index)), every[index])


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_rows_without_what_lies_outside_have_zeros_in_all_other_columns(options: dict[str, Any]) -> None:
    module, x = nn.Conv2d(4, 8, **options), normal(3, 4, 5, 6)
    every = unfolded(module, x)
    index = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[: len(every) // 2]
    found, left = torch.zeros_like(every[index]), torch.ones(len(index), dtype=torch.bool)
    for taps, places in rows_of(module, x).kinds(index):
        part, columns = rows_of(module, x).take_inside(index[places], taps)
        assert bool(left[places].all())
        left[places] = False
        chosen = torch.cat([torch.arange(start, stop) for start, stop in columns])
        assert part.shape == (len(places), module.groups, len(chosen))
        found[places[:, None, None], torch.arange(module.groups)[:, None], chosen] = part
    assert torch.equal(found, every[index])


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_the_kept_share_counts_pairs_of_columns_inside_the_image(options: dict[str, Any]) -> None:
    module = nn.Conv2d(4, 8, **options)
    rows = rows_of(module, torch.ones(1, 4, 5, 6))
    pairs = torch.cat(list(rows.take(None))).sum(dim=2)[:, 0].square()
    assert rows.kept_share == pytest.approx(float(pairs.mean()) / (4 // module.groups * prod(rows.kernel)) ** 2)


def test_a_stack_of_matrices_gives_one_row_per_group() -> None:
    x = normal(3, 5, 7)
    rows = whole(MatrixRows(x).take(torch.tensor([4, 0])))
    assert torch.equal(rows, torch.stack([x[:, 4], x[:, 0]]))
    assert torch.equal(whole(MatrixRows(x[0]).take(None)), x[0][:, None])


def test_large_inputs_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.patches._MAX_NUMBERS", 100)
    module, x = nn.Conv2d(4, 8, 3), normal(2, 4, 6, 6)
    for index in (None, torch.arange(3)):
        parts = list(rows_of(module, x).take(index))
        assert max(part.numel() for part in parts) <= 100
        torch.testing.assert_close(torch.cat(parts), unfolded(module, x)[: None if index is None else 3])
    assert len(list(MatrixRows(normal(40, 7)).take(None))) == 3


def test_items_that_differ_have_different_marks() -> None:
    x = normal(6, 4, 3, 3)
    x[3] = x[1]
    x[4] = x[1].flip(-1)
    marks = PatchRows(x, (1, 1), (1, 1), (0, 0), (1, 1), 1).marks()
    assert len(set(marks.tolist())) == 5
    assert marks[3] == marks[1]
