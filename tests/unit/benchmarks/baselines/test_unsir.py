"""UNSIR: the noise is what the model is wrong about; the class's own images are never looked at."""

import copy
from dataclasses import replace

import torch
from torch.nn import functional

from benchmarks.baselines.descent import Descent
from benchmarks.baselines.method import Data
from benchmarks.baselines.unsir import Unsir, error_maximising_noise, unsir
from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from tests.unit.benchmarks.baselines.judging import accuracy, changed

CLASSES = (FORGET,)
ADAM = Descent(1, 0.01, 64, "adam", weight_decay=0.0)
SETTINGS = Unsir(ADAM, replace(ADAM, learning_rate=0.005), noise_samples=64, noise_copies=10)
SHAPE = torch.Size([1, 8, 8])


def test_the_noise_raises_the_loss_of_the_class_and_leaves_the_model_alone(digits: Digits) -> None:
    model, labels = copy.deepcopy(digits.original), torch.full((64,), FORGET)
    first, last = (
        error_maximising_noise(model, SHAPE, FORGET, replace(SETTINGS, noise_steps=steps), 0) for steps in (0, 40)
    )
    with torch.no_grad():
        before, after = (float(functional.cross_entropy(model(noise), labels)) for noise in (first, last))
    assert after > before + 2
    assert not changed(digits.original, model)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_penalty_keeps_the_noise_small(digits: Digits) -> None:
    loose, tight = (
        error_maximising_noise(digits.original, SHAPE, FORGET, replace(SETTINGS, noise_penalty=weight), 0)
        for weight in (0.0, 10.0)
    )
    assert float(tight.square().mean()) < 0.5 * float(loose.square().mean())


def test_the_forgotten_images_are_never_looked_at(digits: Digits, data: Data) -> None:
    gone = (data.labels == FORGET)[:, None, None, None]
    other = Data(torch.where(gone, normal(*data.inputs.shape), data.inputs), data.labels)
    assert not changed(
        unsir(digits.original, data, CLASSES, SETTINGS, 0), unsir(digits.original, other, CLASSES, SETTINGS, 0)
    )


def test_the_impairment_forgets_and_the_repair_mends(digits: Digits, data: Data) -> None:
    retain, forget = data.sides(CLASSES)
    impaired = unsir(digits.original, data, CLASSES, replace(SETTINGS, repair=replace(ADAM, learning_rate=0.0)), 0)
    repaired = unsir(digits.original, data, CLASSES, SETTINGS, 0)
    assert accuracy(digits.original, forget) > 0.95
    assert accuracy(repaired, forget) < 0.2
    assert accuracy(repaired, retain) > accuracy(impaired, retain)
