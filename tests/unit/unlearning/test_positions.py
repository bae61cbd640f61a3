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


# Few of many positions, most of them, all but one, none for some samples: each is drawn in another way.
REGIMES = {"few": (9, 20), "many": (9, 50), "all but one": (9, 100), "not every sample": (9, 5)}


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize("batches", [[1] * 12, [5, 7], [3, 3, 6]])
def test_batching_does_not_change_which_positions_are_drawn(batches: list[int], regime: str) -> None:
    assert drawn(batches, *REGIMES[regime]) == drawn([12], *REGIMES[regime])


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


@pytest.mark.parametrize(("samples", "positions", "max_rows"), [(6, 8, 20), (2, 24, 11), (6, 8, 45), (6, 8, 4)])
def test_every_position_and_every_pair_of_neighbours_is_equally_likely(
    samples: int, positions: int, max_rows: int
) -> None:
    singles, pairs = torch.zeros(samples * positions), torch.zeros(samples * positions)
    for seed in range(600):
        hit = torch.zeros(samples, positions)
        hit.view(-1)[drawn([samples], positions, max_rows, seed=seed)] = 1
        singles += hit.view(-1)
        pairs += (hit * hit.roll(1, dims=1)).view(-1)
    for counts in (singles, pairs):
        expected = max(float(counts.mean()), 1e-9)
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        # 47 degrees of freedom: exceeded with probability below 0.001 if the draws were independent.
        assert chi_square < 85


def test_rows_that_nobody_can_assign_are_drawn_by_the_batch() -> None:
    sampler = PositionSampler(20, 6, seed=0, key="a")
    first, second = sampler.draw_unassigned(4, 30), sampler.draw_unassigned(2, 30)
    assert first is not None
    assert second is not None
    assert len(first) + len(second) == 20
    assert len(set(first.tolist())) == len(first)
    assert PositionSampler(20, 6, seed=0, key="a").draw_unassigned(6, 15) is None


def test_more_samples_than_announced_are_refused() -> None:
    sampler = PositionSampler(10, 2, seed=0, key="a")
    with pytest.raises(SampleCountMismatch, match="Expected 2 samples"):
        sampler.draw(3, 9)
