"""What holds for all methods: the caller's model is left alone, the seed decides, the outputs stop naming the class."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.baselines.controls import Nothing
from benchmarks.baselines.method import Classes, Data, Diverged, on_a_copy
from benchmarks.baselines.registry import Baseline, cifar10
from benchmarks.baselines.registry import digits as digits_baselines
from benchmarks.comparison.tables import RETRAINED
from tests.fixtures.digits_models import FORGET, Digits
from tests.unit.benchmarks.baselines.judging import accuracy, changed

BASELINES = digits_baselines()
FORGETS = set(BASELINES) - {"original", "gaussian_noise", "ssd", "paper_published", "neggrad", "cf_k", "fine_tune"}
"""Methods that leave next to nothing of the class in the outputs, whatever digits model they are given."""


@pytest.fixture(scope="module")
def outcomes(digits: Digits, data: Data) -> dict[str, tuple[nn.Module, set[str]]]:
    """Each method's model, and what it changed in the model it was given."""
    found = {}
    for name, baseline in BASELINES.items():
        given = copy.deepcopy(digits.original)
        found[name] = (baseline(given, data, (FORGET,), 0), changed(digits.original, given))
    return found


@pytest.mark.parametrize("name", BASELINES)
def test_the_callers_model_stays_as_it_was(outcomes: dict[str, tuple[nn.Module, set[str]]], name: str) -> None:
    model, touched = outcomes[name]
    assert not touched
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", sorted(FORGETS))
def test_the_class_is_named_no_more(
    outcomes: dict[str, tuple[nn.Module, set[str]]], digits: Digits, data: Data, name: str
) -> None:
    _, forget = data.sides((FORGET,))
    assert accuracy(digits.original, forget) > 0.95
    assert accuracy(outcomes[name][0], forget) < 0.2


@pytest.mark.parametrize("name", ["neggrad_plus", "scrub", "salun", "unsir", "eu_k", "gaussian_noise", "ssd"])
def test_the_seed_alone_decides(digits: Digits, data: Data, name: str) -> None:
    before = torch.random.get_rng_state()
    baseline, few = _quick(BASELINES[name]), data.at(torch.arange(0, len(data), 4))
    one, same, other = (baseline(digits.original, few, (FORGET,), seed) for seed in (1, 1, 2))
    assert not changed(one, same)
    assert bool(changed(one, other)) is (name != "ssd")  # with all samples used, nothing in it is random
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_model_with_dropout_and_batch_norm_can_be_given(data: Data) -> None:
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 10)]
    model, few = nn.Sequential(*layers), data.at(torch.arange(200))
    for name in ("fine_tune", "neggrad_plus", "scrub", "ssd", "salun", "unsir", RETRAINED):
        one, same = (_quick(BASELINES[name])(model, few, (FORGET,), 0) for _ in range(2))
        assert not changed(one, same), name


def test_weights_that_overflow_are_reported(digits: Digits, data: Data) -> None:
    @on_a_copy
    def overflow(model: nn.Module, _data: Data, _classes: Classes, _settings: Nothing, _seed: int) -> nn.Module:
        with torch.no_grad():
            next(model.parameters()).fill_(torch.inf)
        return model

    with pytest.raises(Diverged, match=r"1 tensors \(features.conv1.weight"):
        overflow(digits.original, data, (FORGET,), Nothing(), 0)


@pytest.mark.parametrize("classes", [(), (11,), tuple(range(10))])
def test_a_request_without_images_on_one_side_is_refused(data: Data, classes: Classes) -> None:
    with pytest.raises(ValueError, match="Expected images on both sides"):
        data.sides(classes)


def test_both_data_sets_have_the_same_methods() -> None:
    assert list(cifar10()) == list(BASELINES)
    assert [one.kind for one in cifar10().values()] == [one.kind for one in BASELINES.values()]


def test_what_was_chosen_stands_in_the_grid_that_was_searched() -> None:
    searched = [one for one in BASELINES.values() if one.grid]
    assert len(searched) == 9
    assert all(one.settings in one.grid for one in searched)


def _quick(baseline: Baseline) -> Baseline:
    """Fewer epochs."""
    settings: Any = baseline.settings
    if hasattr(settings, "epochs"):
        settings = replace(settings, epochs=1)
    elif hasattr(settings, "descent"):
        settings = replace(settings, descent=replace(settings.descent, epochs=1))
    return replace(baseline, settings=settings)
