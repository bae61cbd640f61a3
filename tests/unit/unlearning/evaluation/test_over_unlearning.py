"""Damage beside the forgotten class is seen at its border, and a model that leaves all else alone has none."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal, seeded
from unlearning import draw_samples, erase_classes
from unlearning.errors import EmptySide, NonFinite, NoRetainedClass, OptionOutOfRange, ShapeError
from unlearning.evaluation import border_samples, over_unlearning, over_unlearning_measure, predict_logits


def test_the_step_is_the_sign_of_the_gradient_in_the_range_of_the_inputs() -> None:
    model = seeded(nn.Linear(4, 3)).train()
    x, y = normal(10, 4), np.arange(10) % 3
    free = x.clone().requires_grad_(True)
    nn.functional.cross_entropy(model(free), torch.from_numpy(y)).backward()
    assert free.grad is not None
    model.zero_grad()
    span = x.max() - x.min()
    expected = (x + 0.1 * span * free.grad.sign()).clamp(float(x.min()), float(x.max()))
    moved = border_samples(model, x, y, epsilon=0.1, batch_size=4)
    torch.testing.assert_close(moved, expected)
    assert torch.equal(border_samples(model, x, y, epsilon=0.0), x)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training


def test_the_step_leads_out_of_the_class(digits: Digits) -> None:
    x, y = digits.forgotten

    def known(inputs: torch.Tensor) -> float:
        return float(torch.softmax(predict_logits(digits.original, inputs), dim=1)[:, FORGET].mean())

    shares = [known(border_samples(digits.original, x, y, epsilon=epsilon)) for epsilon in (0.0, 8 / 255, 0.1)]
    assert shares[0] > shares[1] > shares[2]
    noise = 0.1 * (x.max() - x.min()) * normal(*x.shape).sign()
    assert known(x + noise) > shares[2] + 0.1


def test_the_divergence_is_from_the_original_without_the_class() -> None:
    ours, before, gone = 2 * normal(5, 4), 2 * normal(5, 4, seed=1), {2}
    values = []
    for a, b in zip(ours.tolist(), before.tolist(), strict=True):
        p = np.exp(a) / np.exp(a).sum()
        q = np.where(np.arange(4) == 2, 0, np.exp(b))
        q = q / q.sum()
        middle = (p + q) / 2
        values.append(sum(-v * math.log2(v) for v in middle) + sum(v * math.log2(v) / 2 for v in [*p, *q[q > 0]]))
    assert over_unlearning(ours, before, gone).value == pytest.approx(np.mean(values), rel=1e-6)


def test_a_mask_breaks_nothing_and_a_crude_edit_much(digits: Digits) -> None:
    x, y = digits.train
    draw = draw_samples(y, {FORGET}, num_classes=10)
    crude = copy.deepcopy(digits.original)
    edit = erase_classes(crude, retain=[x[draw.retain]], forget=[x[draw.forget]], alpha_r=10, alpha_f=100)
    edit.apply_to(crude)
    found = {
        name: over_unlearning_measure(model, digits.original, digits.forgotten, {FORGET})
        for name, model in (("mask", digits.masked), ("retrained", digits.retrained), ("crude", crude))
    }
    assert found["mask"].value == pytest.approx(0, abs=1e-6)
    assert (found["retrained"].high or 1) < (found["crude"].low or 0)
    assert found["crude"].n == len(digits.forgotten[1])


def test_probability_left_on_the_forgotten_class_counts(digits: Digits) -> None:
    kept = over_unlearning_measure(digits.original, digits.original, digits.forgotten, {FORGET})
    assert (kept.low or 0) > 0.5


def test_inputs_that_mean_nothing_are_refused() -> None:
    model, x, y = nn.Linear(4, 3), normal(6, 4), np.arange(6) % 3
    with pytest.raises(EmptySide, match="forget"):
        border_samples(model, x[:0], y[:0])
    with pytest.raises(ShapeError, match="labels"):
        border_samples(model, x, y[:3])
    with pytest.raises(OptionOutOfRange, match="epsilon"):
        border_samples(model, x, y, epsilon=-1)
    with pytest.raises(OptionOutOfRange, match="floating-point"):
        border_samples(model, x.long(), y)
    with pytest.raises(NonFinite):
        border_samples(model, x / 0, y)
    z = normal(5, 4)
    with pytest.raises(ShapeError, match="two outputs"):
        over_unlearning(z, z[:2], {1})
    with pytest.raises(NonFinite):
        over_unlearning(z, z * torch.nan, {1})
    with pytest.raises(NoRetainedClass):
        over_unlearning(z, z, range(4))
