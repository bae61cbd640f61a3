"""SSD: the importances are those of the definition, and only what is chosen shrinks."""

import pytest
import torch
from torch.nn import functional

from benchmarks.baselines.method import Data
from benchmarks.baselines.ssd import Dampening, dampened, importances, ssd
from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import SmallConvNet, normal, seeded

CLASSES = (FORGET,)


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_importances_are_the_mean_of_each_samples_squared_gradient(at_once: int) -> None:
    model, data = seeded(SmallConvNet()).eval(), Data(normal(10, 3, 8, 8), torch.arange(10) % 4)
    expected = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for n in range(10):
        model.zero_grad()
        functional.cross_entropy(model(data.inputs[n : n + 1]), data.labels[n : n + 1]).backward()
        for name, value in model.named_parameters():
            assert value.grad is not None
            expected[name] += value.grad.square() / 10
    found = importances(model, data, at_once)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-9) for name in found)


def test_only_weights_that_matter_enough_to_the_class_shrink_and_none_grows(digits: Digits, data: Data) -> None:
    retain, forget = (importances(digits.original, side) for side in data.sides(CLASSES))
    model = ssd(digits.original, data, CLASSES, Dampening(alpha=5.0), 0)
    before, after = dict(digits.original.named_parameters()), dict(model.named_parameters())
    shrunk = 0
    for name, old in before.items():
        new, chosen = after[name], forget[name] > 5.0 * retain[name]
        assert torch.equal(new[~chosen], old[~chosen])
        assert bool((new.abs() <= old.abs()).all())
        assert bool((new * old >= 0).all())
        assert torch.allclose(new[chosen], old[chosen] * (retain[name] / forget[name])[chosen])
        shrunk += int((new != old).sum())
    assert 0 < shrunk < sum(value.numel() for value in before.values()) / 2


def test_a_large_lambda_never_amplifies() -> None:
    weight, forget, retain = torch.tensor([2.0, -2.0, 2.0]), torch.tensor([8.0, 8.0, 1.0]), torch.ones(3)
    assert dampened(weight, forget, retain, Dampening(4.0, 1.0)).tolist() == [0.25, -0.25, 2.0]
    assert dampened(weight, forget, retain, Dampening(4.0, 100.0)).tolist() == weight.tolist()


def test_against_all_images_the_published_alpha_would_choose_nothing(digits: Digits, data: Data) -> None:
    """With a tenth or more of the images forgotten, no weight is ten times as important to them as to all."""
    _, forget = data.sides(CLASSES)
    of_all, of_forget = importances(digits.original, data), importances(digits.original, forget)
    at_most = len(data) / len(forget)
    assert all(bool((of_forget[name] <= at_most * of_all[name] * 1.001).all()) for name in of_all)


def test_a_dead_weight_stays(digits: Digits) -> None:
    weight, nothing = torch.ones(2), torch.zeros(2)
    assert torch.equal(dampened(weight, nothing, nothing, Dampening()), weight)
