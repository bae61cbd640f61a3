"""Which samples an attack brought back: what a share and a paired difference of two models are both made from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unlearning.evaluation.accuracy import wilson_interval
from unlearning.evaluation.intervals import Z95
from unlearning.evaluation.measure import Measure

SUFFIX = "_forget_accuracy"


@dataclass(frozen=True)
class Outcome:
    """The result of one attack, sample by sample; never to leave the machine that measured it.

    Attributes:
        name: Name of the attack; the measure's is `<name>_forget_accuracy`.
        right: Was each sample put into its class? bool (draws, n): one row per random choice of the attack.
        seed: Seed of the choices; None when nothing is random.
    """

    name: str
    right: NDArray[np.bool_]
    seed: int | None = None

    def measure(self) -> Measure:
        """Return the share of samples that came back, a mean over draws; see `mean_over_draws`."""
        return mean_over_draws(self.name + SUFFIX, self.right.mean(axis=1).tolist(), self.right.shape[1], self.seed)


def single(name: str, right: Tensor, seed: int | None = None) -> Outcome:
    """Return the outcome of an attack without random choices, from hits bool (n,)."""
    return Outcome(name, right.cpu().numpy().astype(bool)[None], seed)


def share_measure(right: Tensor, name: str, seed: int | None = None) -> Measure:
    """Return the share of hits among the forgotten classes' samples, bool (n,), with Wilson's interval."""
    hits, n = int(right.sum()), len(right)
    return Measure(name, hits / n, *wilson_interval(hits, n), n, seed, "lower")


def mean_over_draws(name: str, accuracies: Sequence[float], n: int, seed: int | None) -> Measure:
    """Return the mean of accuracies on the same n samples, one for each random choice of the attack.

    The interval adds the spread of the choices (normal, of their mean) to Wilson's interval of the samples; after a
    single choice it is Wilson's alone.
    """
    mean, spread = float(np.mean(accuracies)), spread_of_draws(accuracies)
    low, high = wilson_interval(round(mean * n), n)
    below, above = math.hypot(max(0.0, mean - low), spread), math.hypot(max(0.0, high - mean), spread)
    return Measure(name, mean, max(0.0, mean - below), min(1.0, mean + above), n, seed, "lower")


def spread_of_draws(values: Sequence[float]) -> float:
    """Return half the width of the normal 95 % interval of the mean over draws; 0 for a single one."""
    return Z95 * float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
