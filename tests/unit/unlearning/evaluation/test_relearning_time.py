"""Steps until a class is back: counted by hand, capped, and with an interval that knows when it is sure."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning.errors import ShapeError
from unlearning.evaluation import RelearningTime, predict_logits, relearning_course, relearning_time_ratio

M = 100


def rising(*shares: float, before: float = 0.8, name: str = "relearn") -> RelearningTime:
    """The first samples are right, in shares of all: one share per step."""
    steps = np.stack([np.arange(M) < round(share * M) for share in shares])
    return RelearningTime(name, np.arange(M) < round(before * M), steps[None], 3)


def test_half_of_what_the_original_knew_must_be_back() -> None:
    measure = rising(0.0, 0.39, 0.40, 0.8).measure()
    assert (measure.name, measure.value, measure.n, measure.direction) == ("relearn_steps", 3.0, M, "higher")


def test_what_stays_away_counts_as_the_cap() -> None:
    measure = rising(0.0, 0.1, 0.2).measure()
    assert (measure.value, measure.low, measure.high) == (3.0, 3.0, 3.0)


def test_the_first_crossing_counts_even_if_it_is_lost_again() -> None:
    assert rising(0.0, 0.5, 0.0, 0.9).measure().value == 2.0


def test_orders_are_averaged() -> None:
    early, late = rising(0.0, 0.8, 0.8, 0.8), rising(0.0, 0.0, 0.0, 0.8)
    both = RelearningTime("relearn", early.before, np.concatenate([early.steps, late.steps]), 3)
    assert both.measure().value == 3.0


def test_the_interval_reaches_as_far_as_the_samples_leave_open() -> None:
    sure, open_ = rising(0.0, 0.1, 0.8).measure(), rising(0.0, 0.38, 0.44).measure()
    assert (sure.low, sure.high) == (3.0, 3.0)
    assert (open_.low, open_.high) == (2.0, 3.0)


def test_the_interval_holds_its_value_where_the_curve_swings_just_below_the_half() -> None:
    rng = np.random.default_rng(0)
    swinging = [rng.permutation(M) < 39 for _ in range(19)]
    steps = np.stack([*swinging, np.arange(M) < 80])[None]
    time = RelearningTime("relearn", np.arange(M) < 80, steps, 3)
    measure, ratio = time.measure(), relearning_time_ratio(time, rising(*[0.8] * 20))
    assert (measure.value, measure.high, ratio.value, ratio.high) == (20.0, 20.0, 20.0, 20.0)
    assert measure.low is not None
    assert measure.low < 10


def test_the_ratio_is_that_of_the_steps_and_below_one_where_something_was_left() -> None:
    left, blank = rising(0.8, 0.8, 0.8, 0.8), rising(0.0, 0.0, 0.0, 0.8)
    measure = relearning_time_ratio(left, blank)
    assert (measure.name, measure.value, measure.low, measure.high) == ("relearn_steps_ratio", 0.25, 0.25, 0.25)
    assert measure.direction == "two-sided"
    assert relearning_time_ratio(blank, blank).value == 1.0


def test_only_what_was_watched_alike_is_compared() -> None:
    with pytest.raises(ShapeError, match="two relearnings"):
        relearning_time_ratio(rising(0.1, 0.2), rising(0.1, 0.2, 0.3))


def course_of(watched: int) -> tuple[nn.Module, NDArray[np.bool_], RelearningTime | None]:
    model, x, y = seeded(SmallConvNet()), normal(40, 3, 8, 8), torch.arange(40) % 4
    before = (predict_logits(model, x).argmax(dim=1) == y).numpy()
    course = relearning_course(model, (x, y), (x, y), name="relearn", at_steps=(2, 5), watched=watched, seed=3)
    return model, before, course.time(before)


def test_a_course_keeps_every_step_of_the_watched_samples() -> None:
    _, before, time = course_of(watched=99)
    assert time is not None
    assert time.steps.shape == (1, 5, 40)
    assert sorted(time.before.tolist()) == sorted(before.tolist())
    assert 1 <= time.measure().value <= 5


def test_the_watched_samples_of_a_course_are_those_of_its_outcomes() -> None:
    model, x, y = seeded(SmallConvNet()), normal(40, 3, 8, 8), torch.arange(40) % 4
    course = relearning_course(model, (x, y), (x, y), name="relearn", at_steps=(2, 5), watched=15, seed=3)
    for step, outcome in zip((2, 5), course.outcomes, strict=False):
        assert np.array_equal(course.steps[:, step - 1], outcome.right[:, course.watched])


def test_training_that_diverged_is_told() -> None:
    model, y = seeded(nn.Linear(5, 3)), torch.arange(12) % 3
    for scale, is_finite in ((1.0, True), (1e30, False)):
        x = scale * normal(12, 5)
        course = relearning_course(model, (x, y), (x, y), name="relearn", at_steps=(3,), seed=0)
        assert course.is_finite == is_finite


def test_without_watching_or_where_the_original_knew_nothing_there_is_no_time() -> None:
    model, x, y = seeded(SmallConvNet()), normal(40, 3, 8, 8), torch.arange(40) % 4
    _, _, unwatched = course_of(watched=0)
    assert unwatched is None
    course = relearning_course(model, (x, y), (x, y), name="relearn", at_steps=(2,), watched=9, seed=3)
    assert course.time(np.zeros(40, dtype=bool)) is None
