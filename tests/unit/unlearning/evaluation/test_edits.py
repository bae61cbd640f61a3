"""Norms, spectra and ranks of a change, against singular values and constructed cases."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning.errors import NonFinite, WeightsDoNotFit
from unlearning.evaluation import edits


def test_numbers_are_those_of_the_singular_values() -> None:
    old, new = {"w": normal(6, 2, 3, 3)}, {"w": normal(6, 2, 3, 3) + 0.1 * normal(6, 2, 3, 3, seed=1)}
    (found,) = edits(old, new)
    change = (new["w"] - old["w"]).double().flatten(1).numpy()
    values = np.linalg.svd(change, compute_uv=False)
    shares = values / values.sum()
    assert found.spectral_norm == pytest.approx(values[0])
    assert found.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
    assert found.relative_change == pytest.approx(np.linalg.norm(change) / float(old["w"].norm()))
    assert (found.shape, found.changed) == ((6, 2, 3, 3), 108)


@pytest.mark.parametrize("rank", [1, 3])
def test_equal_singular_values_count_as_many_ranks(rank: int) -> None:
    left, right = torch.linalg.qr(normal(9, rank).double()).Q, torch.linalg.qr(normal(7, rank, seed=1).double()).Q
    old = normal(9, 7).double()
    (found,) = edits({"w": old}, {"w": old + 0.5 * left @ right.T})
    assert found.effective_rank == pytest.approx(rank)
    assert found.spectral_norm == pytest.approx(0.5)


def test_what_is_unchanged_is_listed_as_such() -> None:
    before = seeded(SmallConvNet()).state_dict()
    after = {name: value.clone() for name, value in before.items()}
    after["head.bias"][2] -= 100
    found = {edit.name: edit for edit in edits(before, after)}
    assert set(found) == {name for name, value in before.items() if value.is_floating_point()}
    assert {name for name, edit in found.items() if edit.changed} == {"head.bias"}
    mask = found["head.bias"]
    assert mask.changed == 1
    assert mask.effective_rank == pytest.approx(1)
    assert mask.spectral_norm == pytest.approx(100, rel=1e-5)
    still = found["first.weight"]
    assert (still.relative_change, still.spectral_norm, still.effective_rank) == (0, 0, 0)
    assert json.loads(json.dumps(mask.as_dict()))["shape"] == [4]


def test_what_is_too_large_or_undefined_is_left_out() -> None:
    old, new = {"w": torch.zeros(5, 8)}, {"w": normal(5, 8)}
    (found,) = edits(old, new, largest_side=4)
    assert (found.relative_change, found.spectral_norm, found.effective_rank) == (None, None, None)
    assert found.changed == 40


def test_states_that_do_not_fit_are_refused() -> None:
    w = normal(3, 3)
    with pytest.raises(WeightsDoNotFit, match="only one of them"):
        edits({"a": w}, {"b": w})
    with pytest.raises(WeightsDoNotFit, match="'a'"):
        edits({"a": w}, {"a": w[:2]})
    with pytest.raises(NonFinite, match="'a'"):
        edits({"a": w}, {"a": w / 0})
