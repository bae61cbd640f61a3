"""A row made from five images brings a class back whose features are there, whatever was done to the old row."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation import Prototyped, mask_bias, prototype_attack, trace

HEAD = "classifier.fc2"
Side = tuple[Tensor, NDArray[np.int64]]


def sides(model: nn.Module, digits: Digits) -> tuple[nn.Linear, Side, Side]:
    head = model.get_submodule(HEAD)
    assert isinstance(head, nn.Linear)
    train, test = ((trace(model, x, [HEAD]).features[HEAD], y) for x, y in (digits.train, digits.test))
    return head, train, test


def attacked(model: nn.Module, digits: Digits) -> Prototyped:
    return prototype_attack(*sides(model, digits), {FORGET}, seed=0)


def without_row(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    with torch.no_grad():
        copied.get_parameter(f"{HEAD}.weight")[FORGET] = 0
        copied.get_parameter(f"{HEAD}.bias")[FORGET] = -50
    return copied


def test_it_succeeds_on_the_original_with_its_row_taken_away(digits: Digits) -> None:
    back, cost = attacked(without_row(digits.original), digits).measures()
    assert (back.name, cost.name) == ("prototype_forget_accuracy", "prototype_retain_accuracy_drop")
    assert (back.low or 0) > 0.75
    assert cost.value < 0.05
    assert (back.n, cost.n) == ((digits.test[1] == FORGET).sum(), (digits.test[1] != FORGET).sum())


def test_a_masked_bias_is_no_obstacle_and_retraining_is_one(digits: Digits) -> None:
    masked = mask_bias(digits.original, {FORGET}, digits.train[0])
    assert attacked(masked, digits).measures()[0].value > 0.9
    retrained = attacked(without_row(digits.retrained), digits).measures()[0]
    assert retrained.value < attacked(without_row(digits.original), digits).measures()[0].value - 0.1


def test_the_new_row_is_the_blend_that_is_announced() -> None:
    """One draw of all images and one blend, against the layer written out."""
    head = nn.Linear(5, 4)
    labels = np.arange(80) % 4
    x = normal(80, 5) + 2 * normal(4, 5, seed=3)[torch.from_numpy(labels)]
    found = prototype_attack(head, (x, labels), (x, labels), {2}, shots=20, draws=1, blends=(0.7,), seed=0)
    with torch.no_grad():
        changed = copy.deepcopy(head)
        kept = [0, 1, 3]
        proto = x[torch.from_numpy(labels == 2)].mean(dim=0)
        length = head.weight[kept].norm(dim=1).median()
        changed.weight[2] = 0.7 * length * proto / proto.norm() + 0.3 * head.weight[2]
        changed.bias[2] = head.bias[kept].mean()
        before, after = ((layer(x).argmax(dim=1).numpy() == labels) for layer in (head, changed))
    np.testing.assert_array_equal(found.forgotten.right[0], after[labels == 2])
    np.testing.assert_array_equal(found.after[0], after[labels != 2])
    np.testing.assert_array_equal(found.before[0], before[labels != 2])


def test_the_blend_is_chosen_on_the_attackers_samples_within_its_tolerance() -> None:
    """A strong row takes everything; who may lose nothing takes a weaker one."""
    head = nn.Linear(2, 3)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        head.bias.zero_()
    x = torch.tensor([[1.0, 0.05], [0.05, 1.0], [0.8, 0.8]]).repeat(20, 1)
    labels = np.tile([0, 1, 2], 20)
    careful = prototype_attack(head, (x, labels), (x, labels), {2}, blends=(0.0, 0.9, 1.0), tolerance=0.0, seed=0)
    assert careful.forgotten.right.all()
    assert careful.after.all()
    clumsy = prototype_attack(head, (x[:, [1, 0]] * 0 + 1, labels), (x, labels), {2}, blends=(1.0,), seed=0)
    assert clumsy.after.shape == careful.after.shape


def test_several_classes_come_back_together(digits: Digits) -> None:
    head, train, test = sides(digits.original, digits)
    found = prototype_attack(head, train, test, {3, FORGET}, seed=0)
    assert found.forgotten.right.shape == (20, np.isin(digits.test[1], [3, FORGET]).sum())
    assert found.forgotten.measure().value > 0.8


def test_equal_seeds_choose_equal_images(digits: Digits) -> None:
    head, train, test = sides(digits.retrained, digits)
    runs = [prototype_attack(head, train, test, {FORGET}, draws=3, seed=seed).forgotten.right for seed in (1, 1, 2)]
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_without_retained_samples_to_judge_only_the_forgotten_ones_are_reported(digits: Digits) -> None:
    head, train, (x, y) = sides(digits.original, digits)
    at = y == FORGET
    found = prototype_attack(head, train, (x[torch.from_numpy(at)], y[at]), {FORGET}, seed=0).measures()
    assert [measure.name for measure in found] == ["prototype_forget_accuracy"]


def test_what_cannot_be_attacked_is_refused() -> None:
    head, x, y = nn.Linear(3, 3), normal(6, 3), np.arange(6) % 3
    with pytest.raises(OptionOutOfRange, match="blends"):
        prototype_attack(head, (x, y), (x, y), {1}, blends=(1.5,), seed=0)
    with pytest.raises(ShapeError, match="features"):
        prototype_attack(head, (normal(6, 4), y), (x, y), {1}, seed=0)
    gone = y == 1
    with pytest.raises(EmptySide, match="forget"):
        prototype_attack(head, (x[~gone], y[~gone]), (x, y), {1}, seed=0)
    with pytest.raises(EmptySide, match="retain"):
        prototype_attack(head, (x[gone], y[gone]), (x, y), {1}, seed=0)
    with pytest.raises(EmptySide, match="forget test"):
        prototype_attack(head, (x, y), (x[~gone], y[~gone]), {1}, seed=0)
