"""Which samples are measured: balanced over classes, at random, and never a forgotten class on the retain side."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearning.checks import checked_classes, checked_count, checked_indices, checked_labels
from unlearning.errors import ClassWithoutSamples, EmptySide


@dataclass(frozen=True)
class Draw:
    """Indices into the label vector, int64, sorted, without repetition."""

    retain: NDArray[np.int64]
    forget: NDArray[np.int64]


def draw_samples(
    labels: NDArray[Any],
    forget: Collection[int],
    *,
    num_classes: int,
    num_samples: int = 900,
    seed: int = 0,
    excluded: Collection[int] = (),
) -> Draw:
    """Draw at most `num_samples` indices per side, spread over the side's classes as evenly as their sizes allow.

    A class with fewer samples than its share gives all it has, and the others make up for it. When the share is no
    whole number, or smaller than one, a random choice of classes gives one sample more.

    Args:
        labels: Class indices (n,), whole numbers.
        forget: Classes to forget.
        num_classes: Number of classes K of the model.
        num_samples: Most samples per side.
        seed: Seed of the draw, 0 or more; equal input gives equal indices.
        excluded: Classes forgotten earlier: they are on neither side.

    Returns:
        The indices of both sides; disjoint, and `retain` holds no forgotten and no excluded class.

    Raises:
        ClassWithoutSamples: a class to forget does not occur.
        EmptySide: no sample of a retained class occurs.
        ClassIndexOutOfRange: an index is not among the K classes.
        OptionOutOfRange: a label, an index, a number or the seed is no whole number, or too small.

    Example:
        >>> import numpy as np
        >>> draw = draw_samples(np.arange(40) % 4, {1}, num_classes=4, num_samples=6)
        >>> len(draw.retain), len(draw.forget), bool((draw.forget % 4 == 1).all())
        (6, 6, True)
    """
    vector = checked_labels(labels, checked_count("num_classes", num_classes))
    wanted = checked_classes(forget, num_classes)
    checked_count("num_samples", num_samples)
    gone = {*wanted, *checked_indices("excluded", excluded, num_classes)}
    rng = np.random.default_rng(checked_count("seed", seed, least=0))
    retain_pools = [np.flatnonzero(vector == index) for index in range(num_classes) if index not in gone]
    forget_pools = [np.flatnonzero(vector == index) for index in wanted]
    for index, pool in zip(wanted, forget_pools, strict=True):
        if not pool.size:
            raise ClassWithoutSamples(index)
    if not any(pool.size for pool in retain_pools):
        raise EmptySide("retain")
    return Draw(_balanced(retain_pools, num_samples, rng), _balanced(forget_pools, num_samples, rng))


def _balanced(pools: list[NDArray[np.int64]], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    shares = _shares([pool.size for pool in pools], total, rng)
    drawn = [rng.choice(pool, share, replace=False) for pool, share in zip(pools, shares, strict=True)]
    return np.sort(np.concatenate(drawn))


def _shares(sizes: list[int], total: int, rng: np.random.Generator) -> list[int]:
    """Fill all classes to the same level, smaller ones to the brim; the last few go to random classes."""
    shares = [0] * len(sizes)
    left = min(total, sum(sizes))
    while left:
        open_classes = [place for place, size in enumerate(sizes) if size > shares[place]]
        each, rest = divmod(left, len(open_classes))
        if each == 0:
            open_classes = sorted(rng.choice(open_classes, rest, replace=False).tolist())
        for place in open_classes:
            step = min(max(each, 1), sizes[place] - shares[place])
            shares[place] += step
            left -= step
    return shares
