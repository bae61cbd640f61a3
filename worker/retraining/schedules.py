"""The learning rate as a function of the step alone, so that a training that goes on needs no state of a schedule."""

import math

from models_store.recipes import Constant, Cosine, OneCycle, Recipe

START_SHARE = 1 / 25
END_SHARE = 1e-5
"""Where one cycle begins and ends, as shares of its peak."""


def rate_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of one step.

    Args:
        recipe: highest rate, schedule and epochs.
        step: number of the step, from 0, over all epochs.
        steps_per_epoch: batches in an epoch.

    Returns:
        A rate in (0, `recipe.learning_rate`].
    """
    schedule, total = recipe.schedule, recipe.epochs * steps_per_epoch
    if isinstance(schedule, Constant):
        share = 1.0
    elif isinstance(schedule, Cosine):
        warmup = schedule.warmup_epochs * steps_per_epoch
        share = (step + 1) / warmup if step < warmup else _half_cosine(1.0, 0.0, (step - warmup) / (total - warmup))
    elif isinstance(schedule, OneCycle):
        share = _one_cycle(schedule, step, total)
    else:
        passed = sum(step >= milestone * steps_per_epoch for milestone in schedule.milestones)
        share = schedule.factor**passed
    return recipe.learning_rate * share


def _one_cycle(schedule: OneCycle, step: int, total: int) -> float:
    peak = schedule.peak_at * total
    if step < peak:
        return _half_cosine(START_SHARE, 1.0, step / peak)
    return _half_cosine(1.0, END_SHARE, (step - peak) / (total - peak))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2
