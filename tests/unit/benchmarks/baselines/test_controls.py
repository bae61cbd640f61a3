"""The controls and the closed forms: one number, noise of the stated size, and what `comparison` computes."""

import numpy as np
import pytest
import torch

from benchmarks.baselines import closed_form
from benchmarks.baselines.controls import Mask, Noise, Nothing, bias_mask, gaussian_noise, original
from benchmarks.baselines.method import Data
from benchmarks.comparison import methods
from benchmarks.comparison.data import Request
from tests.fixtures.digits_models import FORGET, Digits
from tests.unit.benchmarks.baselines.judging import changed
from unlearning.tuning import DEPTHS

CLASSES = (FORGET,)


def test_the_bias_mask_changes_one_number(digits: Digits, data: Data) -> None:
    masked = bias_mask(digits.original, data, CLASSES, Mask(), 0)
    assert changed(digits.original, masked) == {"classifier.fc2.bias"}
    difference = masked.get_parameter("classifier.fc2.bias") - digits.original.get_parameter("classifier.fc2.bias")
    assert torch.nonzero(difference).tolist() == [[FORGET]]
    assert float(difference[FORGET].detach()) == pytest.approx(-100)


def test_the_original_is_left_as_it_is(digits: Digits, data: Data) -> None:
    assert not changed(digits.original, original(digits.original, data, CLASSES, Nothing(), 0))


def test_the_noise_has_the_stated_size_in_every_tensor(digits: Digits, data: Data) -> None:
    noisy = gaussian_noise(digits.original, data, CLASSES, Noise(0.3), 0)
    for name, old in digits.original.named_parameters():
        added = (noisy.get_parameter(name) - old).detach()
        sigma = 0.3 * float(old.detach().square().mean().sqrt())
        found = float(added.square().mean().sqrt())
        assert found == pytest.approx(sigma, rel=5 / np.sqrt(2 * old.numel()))


@pytest.mark.parametrize("name", ["paper_published", "paper_chosen", "refit"])
def test_closed_forms_are_those_of_the_comparison(digits: Digits, data: Data, name: str) -> None:
    request = Request(digits.original, data.inputs, data.labels.numpy(), CLASSES, (), 3, 10)
    found = getattr(closed_form, name)(digits.original, data, CLASSES, Nothing(), 3)
    assert changed(digits.original, found)
    assert not changed(getattr(methods, name)(request), found)


def test_auto_is_the_refit_where_that_keeps_to_its_limits(digits: Digits, data: Data) -> None:
    request = Request(digits.original, data.inputs, data.labels.numpy(), CLASSES, (), 3, 10)
    found = closed_form.auto(digits.original, data, CLASSES, Nothing(), 3)
    deepening = methods.deepened(request)
    refitted = methods.edited(digits.original, deepening.erasure)
    if deepening.is_good:
        assert not changed(refitted, found)
    else:
        erasure, score = methods.chosen(request, depths=DEPTHS)
        better = refitted if deepening.best.judgement.score >= score else methods.edited(digits.original, erasure)
        assert not changed(better, found)
