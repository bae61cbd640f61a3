"""The change of the attack on retained samples: two AUCs on the same samples, paired as DeLong pairs them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from tests.fixtures.digits_models import FORGET
from tests.fixtures.small_models import Leaking, normal
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation import membership_auc, membership_change, predict_logits, relearned
from unlearning.evaluation.membership import membership_scores


def test_the_value_is_the_difference_of_the_two_attacks() -> None:
    y_in, y_out = np.arange(60) % 3, np.arange(40) % 3
    before, after = (normal(60, 4), normal(40, 4, seed=1)), (normal(60, 4, seed=2), normal(40, 4, seed=3))
    found = membership_change((before[0], after[0]), (before[1], after[1]), y_in, y_out)
    first, second = (membership_auc(a, y_in, b, y_out, seed=0, resamples=10).value for a, b in (before, after))
    assert found.value == pytest.approx(second - first)
    assert (found.n, found.seed, found.direction) == (100, None, "lower")


def test_the_interval_is_about_that_of_a_paired_bootstrap() -> None:
    rng = np.random.default_rng(0)
    y_in, y_out = [0] * 120, [0] * 90
    before = normal(120, 3), normal(90, 3, seed=1)
    after = tuple(side + 0.5 * normal(*side.shape, seed=5) for side in before)
    found = membership_change((before[0], after[0]), (before[1], after[1]), y_in, y_out)
    scores = [(membership_scores(a, y_in)["margin"], membership_scores(b, y_out)["margin"]) for a, b in (before, after)]
    drawn = []
    for _ in range(400):
        i, j = rng.integers(0, 120, 120), rng.integers(0, 90, 90)
        old, new = ((inside[i][:, None] > outside[j][None]).mean() for inside, outside in scores)
        drawn.append(new - old)
    assert (found.high or 0) - (found.low or 0) == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.15)


def test_overfitting_further_is_noticed_and_no_change_is_none(leaking: Leaking) -> None:
    (x_in, y_in), (x_out, y_out) = leaking.train, leaking.test
    kept_in, kept_out = y_in != FORGET, y_out != FORGET
    members, others = x_in[torch.from_numpy(kept_in)], x_out[torch.from_numpy(kept_out)]
    fresh = copy.deepcopy(leaking.model)
    for module in fresh.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.1, generator=torch.Generator().manual_seed(0))
    ((_, little),) = relearned(fresh, members, y_in[kept_in], at_steps=[60], seed=0)

    def change(before: nn.Module, after: nn.Module) -> tuple[float, float, float]:
        inside, outside = ((predict_logits(before, side), predict_logits(after, side)) for side in (members, others))
        found = membership_change(inside, outside, y_in[kept_in], y_out[kept_out])
        return found.value, found.low or 0.0, found.high or 0.0

    assert change(little, leaking.model)[1] > 0.05
    assert change(leaking.model, little)[2] < -0.05
    assert change(leaking.model, leaking.model) == (0, 0, 0)


def test_what_cannot_be_compared_is_refused() -> None:
    x = normal(4, 3)
    with pytest.raises(EmptySide, match="non-member"):
        membership_change((x, x), (x, x), [0] * 4, [1] * 4)
    with pytest.raises(EmptySide, match="non-member"):
        membership_change((x, x), (x[:1], x[:1]), [0] * 4, [0])
    with pytest.raises(ShapeError, match="two outputs"):
        membership_change((x, x[:3]), (x, x), [0] * 4, [0] * 4)
    with pytest.raises(ShapeError, match="labels"):
        membership_change((x, x), (x, x), [0] * 3, [0] * 4)
