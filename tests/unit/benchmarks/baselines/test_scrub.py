"""SCRUB: both kinds of steps do what they are for, and it is the student that comes back."""

import copy
from dataclasses import replace

import pytest
import torch

from benchmarks.baselines.descent import Descent, generator_of
from benchmarks.baselines.method import Data
from benchmarks.baselines.scrub import Scrub, distance, max_epoch, min_epoch, scrub
from tests.fixtures.digits_models import FORGET, Digits
from tests.unit.benchmarks.baselines.judging import accuracy, changed
from unlearning.evaluation import predict_logits

CLASSES = (FORGET,)
SETTINGS = Scrub(Descent(10, 5e-4, 64, "adam", weight_decay=0.1), max_epochs=3, forget_batch_size=64)


def test_the_student_comes_back_and_has_forgotten(digits: Digits, data: Data) -> None:
    student = scrub(digits.original, data, CLASSES, SETTINGS, 0)
    retain, forget = data.sides(CLASSES)
    assert changed(digits.original, student)
    assert accuracy(digits.original, forget) > 0.95
    assert accuracy(student, forget) == 0
    assert accuracy(student, retain) > 0.95


def test_max_steps_part_the_two_on_forgotten_images_and_min_steps_join_them_on_retained_ones(
    digits: Digits, data: Data
) -> None:
    retain, forget = data.sides(CLASSES)
    student, teacher = copy.deepcopy(digits.original), digits.original
    settings = replace(SETTINGS, descent=replace(SETTINGS.descent, learning_rate=1e-3, weight_decay=0.0))
    optimiser = settings.descent.of(student.parameters())

    def apart(side: Data) -> float:
        return float(distance(student, teacher, side, 1.0).detach())

    assert apart(forget) == apart(retain) == 0
    for epoch in range(8):
        max_epoch(student, teacher, forget, settings, optimiser, generator_of(epoch))
    parted, damaged = apart(forget), apart(retain)
    assert parted > 1
    assert damaged > 0.1
    for epoch in range(5):
        min_epoch(student, teacher, retain, settings, optimiser, generator_of(10 + epoch))
    assert apart(retain) < damaged / 2
    assert apart(forget) > 10 * apart(retain)


def test_it_is_the_max_steps_that_forget(digits: Digits, data: Data) -> None:
    _, forget = data.sides(CLASSES)
    # Weight decay alone would forget a class that no image reminds of.
    settings = replace(SETTINGS, descent=replace(SETTINGS.descent, weight_decay=0.0))
    with_them, without = (
        scrub(digits.original, data, CLASSES, replace(settings, max_epochs=epochs), 0) for epochs in (5, 0)
    )
    assert accuracy(without, forget) > 0.9
    assert accuracy(with_them, forget) < 0.1


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_distance_is_the_divergence_of_the_softened_outputs(digits: Digits, data: Data, temperature: float) -> None:
    few = data.at(torch.arange(50))
    p, q = (
        torch.softmax(predict_logits(model, few.inputs).double() / temperature, dim=1)
        for model in (digits.original, digits.retrained)
    )
    expected = temperature**2 * float((p * (p.log() - q.log())).sum(dim=1).mean())
    with torch.no_grad():
        found = float(distance(digits.retrained, digits.original, few, temperature))
    assert found == pytest.approx(expected, rel=1e-4)
