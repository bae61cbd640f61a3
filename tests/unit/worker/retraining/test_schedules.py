"""The learning rate of every step, against torch's own schedulers, which count steps in a state."""

from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from tests.unit.worker.retraining.conftest import recipe
from worker.retraining.schedules import rate_at

STEPS_PER_EPOCH, EPOCHS, RATE = 7, 10, 0.3


def followed(schedule: dict[str, Any]) -> list[float]:
    made = recipe(schedule=schedule, epochs=EPOCHS, learning_rate=RATE)
    return [rate_at(made, step, STEPS_PER_EPOCH) for step in range(EPOCHS * STEPS_PER_EPOCH)]


def stepped(make: Any) -> list[float]:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    scheduler = make(optimiser)
    rates = []
    for _ in range(EPOCHS * STEPS_PER_EPOCH):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_constant_stays() -> None:
    assert followed({"name": "constant"}) == [RATE] * EPOCHS * STEPS_PER_EPOCH


def test_cosine_is_torchs() -> None:
    expected = stepped(lambda optimiser: lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS * STEPS_PER_EPOCH))
    assert followed({"name": "cosine"}) == pytest.approx(expected)


def test_warm_up_rises_evenly_to_the_full_rate_and_the_cosine_takes_over_there() -> None:
    rates, warmup = followed({"name": "cosine", "warmup_epochs": 2}), 2 * STEPS_PER_EPOCH
    assert rates[:warmup] == pytest.approx([RATE * (step + 1) / warmup for step in range(warmup)])
    assert rates[warmup] == pytest.approx(RATE)
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_steps_are_torchs() -> None:
    milestones = [3, 8]
    in_steps = [epoch * STEPS_PER_EPOCH for epoch in milestones]
    expected = stepped(lambda optimiser: lr_scheduler.MultiStepLR(optimiser, in_steps, gamma=0.2))
    assert followed({"name": "step", "milestones": milestones, "factor": 0.2}) == pytest.approx(expected)


def test_one_cycle_begins_low_peaks_where_it_says_and_ends_near_nothing() -> None:
    rates = followed({"name": "one-cycle", "peak_at": 0.3})
    peak = round(0.3 * len(rates))
    assert rates[0] == pytest.approx(RATE / 25)
    assert rates[peak] == max(rates) == pytest.approx(RATE)
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < rates[-1] < 0.01 * RATE
