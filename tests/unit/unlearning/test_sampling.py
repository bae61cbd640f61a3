"""Samples are balanced, seeded, and the retain side never holds a forgotten class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearning.errors import ClassIndexOutOfRange, ClassWithoutSamples, EmptySide, NoRetainedClass, OptionOutOfRange
from unlearning.sampling import draw_samples

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(5), [100, 20, 100, 60, 100]))


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=80),
    forget=st.sets(st.integers(0, 5), min_size=1, max_size=4),
    excluded=st.sets(st.integers(0, 5), max_size=2),
    num_samples=st.integers(1, 60),
)
def test_retain_never_contains_a_forgotten_class(
    labels: list[int], forget: set[int], excluded: set[int], num_samples: int
) -> None:
    vector = np.array(labels)
    try:
        draw = draw_samples(vector, forget, num_classes=6, num_samples=num_samples, excluded=excluded)
    except (ClassWithoutSamples, EmptySide):
        assert set(forget) - set(labels) or not set(labels) - forget - excluded
        return
    assert not set(vector[draw.retain]) & (forget | excluded)
    assert set(vector[draw.forget]) <= forget
    for side, allowed in ((draw.retain, set(range(6)) - forget - excluded), (draw.forget, forget)):
        available = int(np.isin(vector, list(allowed)).sum())
        assert len(set(side.tolist())) == len(side) == min(num_samples, available)


def test_classes_are_filled_to_the_same_level_and_small_ones_to_the_brim() -> None:
    draw = draw_samples(LABELS, {4}, num_classes=5, num_samples=200)
    counts = np.bincount(LABELS[draw.retain], minlength=5)
    assert counts[1] == 20
    assert sorted(counts[[0, 2, 3]].tolist()) == [60, 60, 60]


def test_fewer_samples_than_classes_go_to_random_classes() -> None:
    draws = [draw_samples(LABELS, {4}, num_classes=5, num_samples=2, seed=seed) for seed in range(40)]
    assert all(len(set(LABELS[draw.retain])) == 2 for draw in draws)
    assert {int(label) for draw in draws for label in LABELS[draw.retain]} == {0, 1, 2, 3}


def test_the_same_seed_draws_the_same_and_another_seed_others() -> None:
    first, again, other = (draw_samples(LABELS, {4}, num_classes=5, num_samples=50, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.retain, again.retain)
    assert np.array_equal(first.forget, again.forget)
    assert not np.array_equal(first.retain, other.retain)


def test_samples_are_drawn_from_the_whole_class_not_from_its_beginning() -> None:
    draw = draw_samples(np.repeat([0, 1], 1000), {1}, num_classes=2, num_samples=100)
    assert draw.retain.max() > 900
    assert draw.forget.max() > 1900


def test_requests_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(ClassIndexOutOfRange, match="between 0 and 4, got 5"):
        draw_samples(LABELS, {5}, num_classes=5)
    with pytest.raises(ClassIndexOutOfRange, match="got -1"):
        draw_samples(LABELS, {-1}, num_classes=5)
    with pytest.raises(ClassIndexOutOfRange, match="got 9"):
        draw_samples(LABELS, {1}, num_classes=5, excluded={9})
    with pytest.raises(NoRetainedClass, match="all 5"):
        draw_samples(LABELS, range(5), num_classes=5)
    with pytest.raises(EmptySide, match="forget"):
        draw_samples(LABELS, set(), num_classes=5)
    with pytest.raises(EmptySide, match="retain"):
        draw_samples(LABELS, {0}, num_classes=5, excluded={1, 2, 3, 4})
    with pytest.raises(ClassWithoutSamples, match="class 5"):
        draw_samples(LABELS, {5}, num_classes=6)
    with pytest.raises(OptionOutOfRange, match="num_samples"):
        draw_samples(LABELS, {1}, num_classes=5, num_samples=0)
    with pytest.raises(OptionOutOfRange, match="whole numbers"):
        draw_samples(LABELS.astype(float), {1}, num_classes=5)


@pytest.mark.parametrize(
    "options",
    [
        {"excluded": ["a"]},
        {"excluded": [1.5]},
        {"excluded": 3},
        {"seed": -1},
        {"seed": None},
        {"num_classes": "5"},
        {"num_classes": 0},
        {"labels": torch.zeros(4, dtype=torch.bfloat16)},
        {"labels": [[1], [2, 3]]},
    ],
    ids=str,
)
def test_what_is_no_whole_number_is_refused_in_words(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"labels": LABELS, "forget": {1}, "num_classes": 5, **options}
    with pytest.raises(OptionOutOfRange, match=f"Expected {next(iter(options))} to be"):
        draw_samples(**given)
