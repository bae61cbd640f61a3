"""What passes as a reference: a network that never saw the class. What does not: the original, or an untrained one."""

from dataclasses import dataclass

import numpy as np
import pytest
from torch import nn

from tests.unit.worker.retraining.conftest import ABSENT, BLUEPRINT, CPU, Halves, recipe
from unlearning.evaluation import Measure, mask_bias, wilson_interval
from worker.retraining.checks import (
    MIN_TEST_IMAGES,
    Found,
    ReferenceHoldsClass,
    ReferenceTooFar,
    TooFewTestImages,
    measure,
    refuse_unfit,
)
from worker.retraining.training import fresh_network, train


@dataclass(frozen=True)
class Pair:
    original: nn.Module
    reference: nn.Module


@pytest.fixture(scope="module")
def pair(halves: Halves) -> Pair:
    original, reference = (fresh_network(BLUEPRINT, seed, CPU) for seed in (0, 1))
    train(original, halves.train, recipe(), 0)
    train(reference, halves.without, recipe(), 1)
    return Pair(original, reference)


def test_a_network_retrained_without_the_class_passes(halves: Halves, pair: Pair) -> None:
    found = measure(pair.reference, pair.original, halves.test, [ABSENT])
    refuse_unfit(found)
    told = found.as_json()
    assert told["forget_accuracy"][0]["class_index"] == ABSENT
    assert told["forget_accuracy"][0]["value"] == 0.0
    assert told["retain_accuracy"]["value"] > 0.9
    assert told["retain_accuracy"]["n"] == int((halves.test.labels != ABSENT).sum())


def test_the_original_is_refused_by_the_accuracy_that_it_still_has_on_the_class(halves: Halves, pair: Pair) -> None:
    found = measure(pair.original, pair.original, halves.test, [ABSENT])
    assert found.forget[ABSENT].value > 0.85
    with pytest.raises(
        ReferenceHoldsClass, match=r"still recognises class 3 \(\d\d?\d?% of 92 test images\)"
    ) as caught:
        refuse_unfit(found)
    assert caught.value.extensions["class_indices"] == [ABSENT]


def test_one_class_too_few_absent_is_refused_and_named(halves: Halves, pair: Pair) -> None:
    found = measure(pair.reference, pair.original, halves.test, [ABSENT, 5])
    with pytest.raises(ReferenceHoldsClass) as caught:
        refuse_unfit(found)
    assert caught.value.extensions["class_indices"] == [5]


def test_a_network_that_never_learned_is_refused(halves: Halves, pair: Pair) -> None:
    untrained = mask_bias(fresh_network(BLUEPRINT, 5, CPU), {ABSENT}, next(iter(halves.test.batches())))
    with pytest.raises(ReferenceTooFar, match="worse"):
        refuse_unfit(measure(untrained, pair.original, halves.test, [ABSENT]))


def test_a_network_far_better_than_the_original_is_refused(halves: Halves, pair: Pair) -> None:
    untrained = fresh_network(BLUEPRINT, 5, CPU)
    with pytest.raises(ReferenceTooFar, match="better"):
        refuse_unfit(measure(pair.reference, untrained, halves.test, [ABSENT]))


def test_the_original_is_not_held_back_by_a_class_that_the_reference_cannot_name(halves: Halves, pair: Pair) -> None:
    masked = mask_bias(pair.original, {ABSENT}, next(iter(halves.test.batches())))
    found = measure(masked, pair.original, halves.test, [ABSENT])
    assert found.retain_drop.value == 0.0


@pytest.mark.parametrize(
    ("hits", "n", "is_refused"),
    [(0, 92, False), (1, 92, True), (3, 1000, False), (40, 1000, True), (0, 20, False), (1, 20, True)],
)
def test_the_limit_is_five_per_cent_where_that_many_images_can_show_it(hits: int, n: int, is_refused: bool) -> None:
    forget = Measure("forget_accuracy_3", hits / n, *wilson_interval(hits, n), n, None, "lower")
    same = Measure("retain_accuracy_drop", 0.0, -0.01, 0.01, 500, None, "lower")
    found = Found({3: forget}, same, same)
    if is_refused:
        with pytest.raises(ReferenceHoldsClass):
            refuse_unfit(found)
    else:
        refuse_unfit(found)


def test_too_few_test_images_are_told_by_side(halves: Halves, pair: Pair) -> None:
    kept = np.flatnonzero(halves.test.labels != ABSENT)
    gone = np.flatnonzero(halves.test.labels == ABSENT)
    for chosen, whose in (
        (np.concatenate([kept, gone[: MIN_TEST_IMAGES - 1]]), "class index 3"),
        (np.concatenate([kept[: MIN_TEST_IMAGES - 1], gone]), "the other classes"),
    ):
        with pytest.raises(TooFewTestImages, match=f"at least 10 test images of {whose}, got 9"):
            measure(pair.reference, pair.original, halves.test.subset(chosen), [ABSENT])
