"""How sure an audit is: both populations' models and the samples are drawn anew, each as a whole.

A model's confidences on all samples move together, and so do all models' confidences on one sample. Resampling single
cells would take their number for the evidence; here a model is drawn with all its samples, and a sample with all its
models (the pigeonhole bootstrap). It errs on the wide side where cells are independent.

Statistics of few models are biased, and more so on the fewer distinct models of a resample, therefore the spread of the
resamples is taken and not their location: value +- t sqrt(N / (N - 1)) s, with s the standard deviation of the
resamples, N the smaller number of models and t Student's quantile with N - 1 degrees of freedom.

References:
    Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007; Cameron, Gelbach and Miller,
    "Bootstrap-based improvements for inference with clustered errors", Review of Economics and Statistics 90, 2008.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unlearning.checks import checked_count
from unlearning.errors import OptionOutOfRange
from unlearning.evaluation.audit.confidences import Vector

RESAMPLES = 100
LEAST_RESAMPLES = 20
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Resample:
    """One drawing with replacement.

    Attributes:
        unlearned: How often each unlearned model was drawn (N,).
        retrained: How often each retrained model was drawn (N',).
        samples: Positions of the drawn samples (n,).
        seed: For whatever else the drawing needs.
    """

    unlearned: NDArray[np.int64]
    retrained: NDArray[np.int64]
    samples: NDArray[np.int64]
    seed: int


def drawn(models: tuple[int, int], num_samples: int, *, seed: int, count: int, distinct: int = 2) -> Iterator[Resample]:
    """Yield `count` resamples.

    Args:
        models: Numbers of unlearned and of retrained models.
        num_samples: Number of samples.
        seed: Seed; the same seed draws the same.
        count: How many.
        distinct: Fewest different models of a population in a resample; drawings with fewer are drawn again.
    """
    rng = np.random.default_rng(seed)
    for _ in range(count):
        unlearned, retrained = (_counts(number, distinct, rng) for number in models)
        samples = rng.integers(num_samples, size=num_samples)
        yield Resample(unlearned, retrained, samples, int(rng.integers(1 << 62)))


def halves(
    models: tuple[int, int], *, seed: int, count: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield positions of h unlearned models and of two disjoint halves of the retrained ones, h models each."""
    rng = np.random.default_rng(seed)
    size = min(models[0], models[1] // 2)
    for _ in range(count):
        order = rng.permutation(models[1])
        yield rng.permutation(models[0])[:size], order[:size], order[size : 2 * size]


def interval(
    value: float, draws: Vector, models: int, lowest: float = -math.inf, highest: float = math.inf
) -> tuple[float, float]:
    """Return the 95 % interval of a value from its resamples.

    Args:
        value: The statistic of the data as they are.
        draws: The statistic of each resample.
        models: The smaller number of models, at least 2.
        lowest: Least possible value.
        highest: Largest possible value.
    """
    half = student_95(models - 1) * math.sqrt(models / (models - 1)) * float(draws.std(ddof=1))
    return max(lowest, value - half), min(highest, value + half)


def student_95(degrees: int) -> float:
    """Return the 97.5 % quantile of Student's t, within 0.03 from 3 degrees of freedom on, 0.001 from 7 on.

    References:
        Abramowitz and Stegun, "Handbook of mathematical functions", 1964, formula 26.7.5.

    Example:
        >>> round(student_95(15), 3)
        2.131
    """
    z, v = _Z95, float(degrees)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / v + second / v**2 + third / v**3


def checked_resamples(count: Any) -> int:
    """Return `count` if a standard deviation of so many resamples means anything.

    Raises:
        OptionOutOfRange: it is below 20, or no whole number.
    """
    if checked_count("resamples", count) < LEAST_RESAMPLES:
        raise OptionOutOfRange("resamples", f"at least {LEAST_RESAMPLES}", count)
    return int(count)


def _counts(number: int, distinct: int, rng: np.random.Generator) -> NDArray[np.int64]:
    while True:
        counts = rng.multinomial(number, np.full(number, 1 / number))
        if np.count_nonzero(counts) >= min(distinct, number):
            return counts
