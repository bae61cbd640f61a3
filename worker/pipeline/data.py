"""Images on their way into the network: batches made when they are needed, and the slice set aside for choosing."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from models_store.normalise import normalise

Indices = NDArray[np.int64]

BATCH_SIZE = 128
VALIDATION_SHARE = 0.5
MAX_VALIDATION = 1000
MAX_RETAINED_TRAIN = 3000
"""Retained training images that verification looks at: their accuracy informs, and 3,000 tell it to one point."""
MAX_BESIDE = 1000
"""Retained test images that tell whether a model still works after something was put back into it."""
ATTACKER_PER_CLASS = 200
"""Training images of a class that probes, class centres and relearning are made with, at most."""
MAX_ATTACKER = 2000
"""The same of all classes together."""
FEWEST_OF_A_FORGOTTEN_CLASS = 20
"""That many of a forgotten class in any case: a data set of a thousand classes would leave two of each."""
MAX_ATTACKED = 1000
"""Forgotten test images that these attacks are judged by."""
LEAST_ATTACKED = 100
"""Of each class where there is room for one, however many are forgotten: each is judged alone."""
MAX_NUMBERS = 1 << 26
"""Numbers in all images that an attack holds in memory at once: 256 MiB."""
_VALIDATION_STREAM = 1
"""Second word of the slice's seed, so that the slice and the draw of samples are independent of each other."""
_VERIFICATION_STREAM, _BESIDE_STREAM, _ATTACKER_STREAM, _ATTACKED_STREAM = 2, 3, 4, 5


@dataclass(frozen=True)
class Images:
    """Some images of a split, as a network takes them."""

    pixels: ImageSet
    spec: InputSpec
    index: Indices

    @classmethod
    def whole(cls, pixels: ImageSet, spec: InputSpec) -> "Images":
        return cls(pixels, spec, np.arange(len(pixels), dtype=np.int64))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> Indices:
        return self.pixels.y[self.index]

    @property
    def num_batches(self) -> int:
        return -(-len(self.index) // BATCH_SIZE)

    def batches(self) -> Iterator[torch.Tensor]:
        """Float batches on the CPU, one in memory at a time."""
        for start in range(0, len(self.index), BATCH_SIZE):
            yield normalise(self.pixels.x[self.index[start : start + BATCH_SIZE]], self.spec)

    def tensor(self) -> torch.Tensor:
        """All of them at once; for small sets."""
        return normalise(self.pixels.x[self.index], self.spec)

    def subset(self, positions: Indices) -> "Images":
        return Images(self.pixels, self.spec, self.index[positions])

    def of_classes(self, classes: list[int]) -> "Images":
        return self.subset(np.flatnonzero(np.isin(self.labels, classes)))


def set_aside(labels: Indices, *, num_classes: int, seed: int) -> tuple[Indices, Indices]:
    """Split positions into those for measuring statistics and a class-balanced slice for choosing alphas.

    Each class gives half of its images, at least one if it has two, and no more than its share of `MAX_VALIDATION`.
    Half, because of a small class (90 images) a smaller share is too few to choose by: one image of 18 would move its
    accuracy by 6 %, while a second moment changes little between 45 images and 72, each with many positions. A large
    class reaches its share of the maximum either way and keeps nearly all of its images for the statistics.

    Returns:
        Both sides sorted and disjoint; together they are all positions.
    """
    rng = np.random.default_rng([seed, _VALIDATION_STREAM])
    most = max(1, MAX_VALIDATION // num_classes)
    aside = []
    for index in range(num_classes):
        pool = np.flatnonzero(labels == index)
        count = min(most, max(int(len(pool) * VALIDATION_SHARE), int(len(pool) > 1)))
        aside.append(rng.choice(pool, count, replace=False) if count else pool[:0])
    chosen = np.sort(np.concatenate(aside)).astype(np.int64)
    rest = np.setdiff1d(np.arange(len(labels)), chosen).astype(np.int64)
    return rest, chosen


def thinned(images: Images, *, whole: list[int], seed: int) -> Images:
    """All images of the classes in `whole` and a random `MAX_RETAINED_TRAIN` of the others, in their old order."""
    kept = np.isin(images.labels, whole)
    others = np.flatnonzero(~kept)
    if len(others) > MAX_RETAINED_TRAIN:
        rng = np.random.default_rng([seed, _VERIFICATION_STREAM])
        others = rng.choice(others, MAX_RETAINED_TRAIN, replace=False)
    return images.subset(np.sort(np.concatenate([np.flatnonzero(kept), others])).astype(np.int64))


def at_most(images: Images, *, num_classes: int, seed: int) -> Images:
    """A data set's own validation split, thinned class by class to about `MAX_VALIDATION`."""
    if len(images) <= MAX_VALIDATION:
        return images
    each = max(1, MAX_VALIDATION // num_classes)
    return _evenly(images, range(num_classes), each, [seed, _VALIDATION_STREAM])


def attackers(images: Images, *, forget: list[int], num_classes: int, seed: int) -> Images:
    """Training images of all classes for whoever wants the forgotten ones back, in their old order."""
    share = max(1, min(ATTACKER_PER_CLASS, _room(images, MAX_ATTACKER) // num_classes))
    rng = np.random.default_rng([seed, _ATTACKER_STREAM])
    chosen = []
    for index in range(num_classes):
        pool = np.flatnonzero(images.labels == index)
        count = max(share, FEWEST_OF_A_FORGOTTEN_CLASS) if index in forget else share
        chosen.append(pool if len(pool) <= count else rng.choice(pool, count, replace=False))
    return images.subset(np.sort(np.concatenate(chosen)).astype(np.int64))


def attacked(images: Images, *, forget: list[int], seed: int) -> Images:
    """Test images of the forgotten classes that the attacks are judged by, about as many of each."""
    room = _room(images, MAX_ATTACKED)
    each = max(min(LEAST_ATTACKED, room), room // max(1, len(forget)))
    return _evenly(images, forget, each, [seed, _ATTACKED_STREAM])


def beside(images: Images, *, forget: list[int], seed: int) -> Images:
    """Test images of the retained classes that tell whether a model still works."""
    kept = images.subset(np.flatnonzero(~np.isin(images.labels, forget)))
    return _some(kept, MAX_BESIDE, [seed, _BESIDE_STREAM])


def _evenly(images: Images, classes: Iterable[int], each: int, seed: list[int]) -> Images:
    """A random choice of `each` images of every class, in their old order; all of a class if it has no more."""
    rng = np.random.default_rng(seed)
    pools = [np.flatnonzero(images.labels == index) for index in classes]
    kept = [pool if len(pool) <= each else rng.choice(pool, each, replace=False) for pool in pools]
    return images.subset(np.sort(np.concatenate([np.empty(0, dtype=np.int64), *kept])))


def _some(images: Images, count: int, seed: list[int]) -> Images:
    """A random choice of `count`, in their old order; all of them if there are no more."""
    if len(images) <= count:
        return images
    chosen = np.random.default_rng(seed).choice(len(images), count, replace=False)
    return images.subset(np.sort(chosen).astype(np.int64))


def _room(images: Images, count: int) -> int:
    """At most `count` images, fewer if they are large."""
    spec = images.spec
    return max(1, min(count, MAX_NUMBERS // (spec.channels * spec.height * spec.width)))
