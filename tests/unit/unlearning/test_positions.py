"""Positions are drawn without bias, in the announced number, and the same however samples are batched."""

from __future__ import annotations

import pytest
import torch

from unlearning.errors import SampleCountMismatch
from unlearning.positions import PositionSampler


def drawn(batches: list[int], positions: int, max_rows: int, seed: int = 0, key: str = "a") -> list[int]:
    sampler = PositionSampler(max_rows, sum(batches), seed=seed, key=key)
    rows, before = [], 0
    for batch in batches:
        index = sampler.draw(batch, positions)
        index = torch.arange(batch * positions) if index is None else index
        rows += (index + before * positions).tolist()
        before += batch
    return rows


@pytest.mark.parametrize("batches", [[12], [1] * 12, [5, 7], [3, 3, 6]])
def test_batching_does_not_change_which_positions_are_drawn(batches: list[int]) -> None:
    assert drawn(batches, 9, 50) == drawn([12], 9, 50)


@pytest.mark.parametrize("max_rows", [5, 12, 50, 107])
def test_exactly_the_asked_number_of_rows_is_drawn_without_repetition(max_rows: int) -> None:
    rows = drawn([12], 9, max_rows)
    assert len(rows) == len(set(rows)) == max_rows


@pytest.mark.parametrize("max_rows", [108, 500])
def test_everything_is_taken_when_there_is_no_more_than_allowed(max_rows: int) -> None:
    assert drawn([12], 9, max_rows) == list(range(108))


def test_seed_and_layer_change_the_draw() -> None:
    assert drawn([12], 9, 50) != drawn([12], 9, 50, seed=1)
    assert drawn([12], 9, 50) != drawn([12], 9, 50, key="b")


def test_every_position_is_equally_likely() -> None:
    counts = torch.zeros(6 * 8)
    for seed in range(600):
        counts[drawn([6], 8, 20, seed=seed)] += 1
    expected = 600 * 20 / 48
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 85  # 47 degrees of freedom: exceeded with probability below 0.001 even without stratification


def test_more_samples_than_announced_are_refused() -> None:
    sampler = PositionSampler(10, 2, seed=0, key="a")
    with pytest.raises(SampleCountMismatch, match="Expected 2 samples"):
        sampler.draw(3, 9)
