"""The rows of a layer are exactly what it multiplies with its weight."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.fixtures.small_models import normal, seeded
from tests.fixtures.svd_oracle import patches
from unlearning.errors import ShapeError
from unlearning.patches import num_rows, rows_of

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel_size": 3},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 1, "stride": 2},
    {"kernel_size": (3, 5), "padding": (1, 2), "stride": (2, 1)},
    {"kernel_size": 3, "padding": 2, "dilation": 2},
    {"kernel_size": (2, 3), "dilation": (3, 1), "stride": (1, 2), "padding": (2, 0)},
    {"kernel_size": 3, "padding": "same"},
    {"kernel_size": (4, 2), "padding": "same", "dilation": (2, 2)},
    {"kernel_size": (4, 2), "padding": "same", "padding_mode": "replicate"},
    {"kernel_size": 3, "padding": "valid"},
    {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"},
    {"kernel_size": 3, "padding": 2, "padding_mode": "replicate"},
    {"kernel_size": 3, "padding": "same", "padding_mode": "circular"},
    {"kernel_size": 3, "padding": 1, "groups": 2},
    {"kernel_size": 3, "padding": 1, "groups": 4, "stride": 2},
    {"kernel_size": (3, 1), "padding": (1, 0), "groups": 4, "dilation": (2, 1)},
]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
def test_patches_times_weight_is_what_the_convolution_computes(options: dict[str, Any]) -> None:
    module = seeded(nn.Conv2d(4, 8, bias=False, **options)).double()
    x = normal(3, 4, 9, 11).double()
    rows = torch.cat(list(rows_of(module, x, None)))
    weight = module.weight.reshape(module.groups, 8 // module.groups, -1)
    product = torch.einsum("ngd,gmd->ngm", rows, weight).reshape(len(rows), 8)
    expected = module(x).permute(0, 2, 3, 1).reshape(-1, 8)
    torch.testing.assert_close(product, expected)
    torch.testing.assert_close(rows, patches(module, x))
    assert num_rows(module, x) == len(rows)


@pytest.mark.parametrize("options", CONVOLUTIONS[:8], ids=str)
def test_chosen_rows_are_rows_of_all(options: dict[str, Any]) -> None:
    module, x = nn.Conv2d(4, 8, **options), normal(3, 4, 9, 11)
    every = torch.cat(list(rows_of(module, x, None)))
    index = torch.tensor([0, 7, len(every) - 1])
    torch.testing.assert_close(torch.cat(list(rows_of(module, x, index))), every[index])


def test_channels_last_inputs_give_the_same_patches() -> None:
    module, x = nn.Conv2d(4, 8, 3, padding=1), normal(2, 4, 6, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(torch.cat(list(rows_of(module, x, None))), torch.cat(list(rows_of(module, last, None))))


def test_all_positions_of_a_linear_are_rows() -> None:
    x = normal(2, 5, 7)
    rows = torch.cat(list(rows_of(nn.Linear(7, 3), x, None)))
    assert torch.equal(rows, x.reshape(10, 1, 7))


def test_large_inputs_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.patches._MAX_NUMBERS", 100)
    module, x = nn.Conv2d(4, 8, 3), normal(2, 4, 6, 6)
    parts = list(rows_of(module, x, None))
    assert max(part.numel() for part in parts) <= 100
    torch.testing.assert_close(torch.cat(parts), patches(module, x))
    assert len(list(rows_of(nn.Linear(7, 3), normal(40, 7), None))) == 3


def test_a_convolution_refuses_inputs_without_height_and_width() -> None:
    with pytest.raises(ShapeError, match=r"got \(2, 4\)"):
        num_rows(nn.Conv2d(4, 8, 3), normal(2, 4))
