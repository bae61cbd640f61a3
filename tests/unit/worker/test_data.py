"""The slice for choosing: disjoint from what is measured, balanced over classes, the same for the same seed."""

import numpy as np
import pytest

from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from worker.pipeline.data import (
    ATTACKER_PER_CLASS,
    BATCH_SIZE,
    FEWEST_OF_A_FORGOTTEN_CLASS,
    LEAST_ATTACKED,
    MAX_ATTACKED,
    MAX_ATTACKER,
    MAX_BESIDE,
    MAX_NUMBERS,
    MAX_RETAINED_TRAIN,
    MAX_VALIDATION,
    Images,
    at_most,
    attacked,
    attackers,
    beside,
    set_aside,
    thinned,
)

SPEC = InputSpec(height=2, width=2, channels=1, mean=(0.5,), std=(0.5,))


def labels_of(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts).astype(np.int64)


def images_of(labels: np.ndarray) -> Images:
    x = (np.arange(len(labels) * 4) % 256).astype(np.uint8).reshape(-1, 2, 2, 1)
    return Images.whole(ImageSet(x, labels), SPEC)


def test_both_sides_together_are_everything_and_share_nothing() -> None:
    rest, aside = set_aside(labels_of(50, 20, 30), num_classes=3, seed=0)
    assert sorted([*rest, *aside]) == list(range(100))


def test_each_class_gives_half_and_a_single_image_is_left_where_it_is() -> None:
    labels = labels_of(50, 20, 2, 1, 0)
    _rest, aside = set_aside(labels, num_classes=5, seed=0)
    assert np.bincount(labels[aside], minlength=5).tolist() == [25, 10, 1, 0, 0]


def test_a_large_class_gives_no_more_than_its_share() -> None:
    labels = labels_of(20_000, 20_000)
    _rest, aside = set_aside(labels, num_classes=2, seed=0)
    assert np.bincount(labels[aside]).tolist() == [MAX_VALIDATION // 2] * 2


def test_the_seed_decides() -> None:
    labels = labels_of(100, 100)
    first, again, other = (set_aside(labels, num_classes=2, seed=seed)[1].tolist() for seed in (1, 1, 2))
    assert first == again != other


def test_a_large_validation_split_is_thinned_and_keeps_small_classes_whole() -> None:
    thin = at_most(images_of(labels_of(3000, 7)), num_classes=2, seed=0)
    assert np.bincount(thin.labels).tolist() == [MAX_VALIDATION // 2, 7]
    small = images_of(labels_of(10, 7))
    assert at_most(small, num_classes=2, seed=0) is small


def test_verification_sees_every_forgotten_image_and_a_seeded_part_of_many_others() -> None:
    images = images_of(labels_of(MAX_RETAINED_TRAIN, 50, 500))
    thin = thinned(images, whole=[1], seed=0)
    assert np.bincount(thin.labels == 1).tolist() == [MAX_RETAINED_TRAIN, 50]
    assert {0, 2} <= set(thin.labels.tolist())
    assert thin.index.tolist() == sorted(thinned(images, whole=[1], seed=0).index.tolist())
    assert thin.index.tolist() != thinned(images, whole=[1], seed=1).index.tolist()


def test_verification_of_a_small_split_sees_all_of_it() -> None:
    images = images_of(labels_of(30, 7))
    assert thinned(images, whole=[1], seed=0).index.tolist() == list(range(37))


@pytest.mark.parametrize("count", [1, BATCH_SIZE, BATCH_SIZE + 1])
def test_batches_hold_every_image_once_and_in_order(count: int) -> None:
    import torch

    images = images_of(np.zeros(count, dtype=np.int64))
    batches = list(images.batches())
    assert len(batches) == images.num_batches
    assert torch.equal(torch.cat(batches), images.tensor())


def test_a_subset_of_a_subset_counts_from_the_first_one() -> None:
    images = images_of(labels_of(3, 3))
    ones = images.of_classes([1])
    assert ones.index.tolist() == [3, 4, 5]
    assert ones.subset(np.array([2])).index.tolist() == [5]


def test_the_attacker_holds_some_of_every_class_and_more_of_the_forgotten_ones_of_many() -> None:
    images = images_of(labels_of(*[500] * 10))
    held = attackers(images, forget=[3], num_classes=10, seed=0)
    assert np.bincount(held.labels).tolist() == [ATTACKER_PER_CLASS] * 10
    many = images_of(np.tile(np.arange(1000), 30).astype(np.int64))
    counts = np.bincount(attackers(many, forget=[3], num_classes=1000, seed=0).labels)
    assert counts[3] == FEWEST_OF_A_FORGOTTEN_CLASS
    assert set(np.delete(counts, 3).tolist()) == {MAX_ATTACKER // 1000}


def test_small_splits_are_taken_whole_and_keep_their_order() -> None:
    images = images_of(labels_of(30, 7, 12))
    assert attackers(images, forget=[1], num_classes=3, seed=0).index.tolist() == list(range(49))
    assert attacked(images, forget=[1], seed=0).index.tolist() == list(range(30, 37))
    assert beside(images, forget=[1], seed=0).index.tolist() == [*range(30), *range(37, 49)]


def test_large_ones_are_thinned_by_the_seed() -> None:
    images = images_of(labels_of(5000, 5000))
    for draw, limit in ((attacked, MAX_ATTACKED), (beside, MAX_BESIDE)):
        first, again, other = (draw(images, forget=[1], seed=seed) for seed in (1, 1, 2))
        assert len(first) == limit
        assert first.index.tolist() == sorted(again.index.tolist())
        assert first.index.tolist() != other.index.tolist()
        assert set(first.labels.tolist()) == ({1} if draw is attacked else {0})


def test_each_of_many_forgotten_classes_has_enough_to_be_judged_alone() -> None:
    images = images_of(labels_of(*[150] * 20, 150))
    assert np.bincount(attacked(images, forget=list(range(20)), seed=0).labels).tolist() == [LEAST_ATTACKED] * 20
    assert np.bincount(attacked(images, forget=[0, 1], seed=0).labels).tolist() == [150, 150]
    assert len(attacked(images, forget=[], seed=0)) == 0


def test_large_images_are_fewer() -> None:
    large = InputSpec(height=1024, width=1024, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
    labels = labels_of(300, 300)
    # One byte stands for them all: no draw looks at pixels.
    pixels = np.broadcast_to(np.zeros((), dtype=np.uint8), (len(labels), 1024, 1024, 3))
    held = attacked(Images.whole(ImageSet(pixels, labels), large), forget=[1], seed=0)
    assert len(held) == MAX_NUMBERS // (3 * 1024 * 1024)
