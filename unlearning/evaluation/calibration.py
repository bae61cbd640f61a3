"""How sure the outputs are: calibrated on retained samples, and not unusual on forgotten ones.

Outputs that are uniform, or all certain, on forgotten samples tell an observer which class was removed; a retrained
model's are the target.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unlearning.checks import checked_count, checked_labels
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.class_drops import Labels
from unlearning.evaluation.divergences import entropy, paired_probabilities, probabilities
from unlearning.evaluation.intervals import Z95, mean_measure
from unlearning.evaluation.measure import Measure


def calibration_error(
    logits: Tensor, labels: Labels, *, bins: int = 15, name: str = "retain_calibration_error"
) -> Measure:
    """Return the expected calibration error: mean over bins of |accuracy - mean confidence|.

    Bins hold equally many samples (by confidence, sorted), since a sure model leaves most bins of equal width empty.

    Args:
        logits: Outputs (n, K).
        labels: True classes (n,).
        bins: How many; fewer when there are fewer samples.
        name: Name of the measure.

    Returns:
        In [0, 1]; lower is better. The interval takes each bin's difference as normal and its sign as known. With few
        samples per bin the error is overestimated, equally for all models that are measured on as many.

    Raises:
        ShapeError: as many labels as outputs are needed.

    References:
        Guo et al., "On calibration of modern neural networks", ICML 2017; Nguyen and O'Connor, "Posterior calibration
        and exploratory analysis", EMNLP 2015 (bins of equal size).
    """
    p = probabilities(logits)
    y = torch.from_numpy(checked_labels(labels, p.shape[1]))
    if len(y) != len(p):
        raise ShapeError("labels", f"({len(p)},)", y.shape)
    confidence, predicted = p.max(dim=1)
    order = torch.argsort(confidence, stable=True)
    error = ((predicted == y).double() - confidence)[order]
    n = len(error)
    value, variance = 0.0, 0.0
    for part in error.tensor_split(min(checked_count("bins", bins), n)):
        share = len(part) / n
        value += share * abs(float(part.mean()))
        spread = float(part.var(correction=1)) if len(part) > 1 else 1.0
        variance += share**2 * spread / len(part)
    half = Z95 * math.sqrt(variance)
    return Measure(name, value, max(0.0, value - half), min(1.0, value + half), n, None, "lower")


def confidence_measures(
    logits: Tensor, reference: Tensor | None = None, *, prefix: str = "forget"
) -> tuple[Measure, ...]:
    """Return how sure the outputs are on the forgotten samples, and how much more than a reference's.

    Args:
        logits: Outputs (n, K) on the forgotten classes' samples.
        reference: A retrained model's outputs on the same samples.
        prefix: Begins the names.

    Returns:
        `<prefix>_max_probability` and `<prefix>_entropy` (divided by log K, so 1 is uniform), means over samples; with
        a reference also `..._gap` of both, ours minus reference, paired by sample.
    """
    found = _sureness(probabilities(logits))
    measures = [mean_measure(f"{prefix}_{name}", values, direction="two-sided") for name, values in found.items()]
    if reference is not None:
        theirs = _sureness(paired_probabilities(logits, reference)[1])
        measures += [
            mean_measure(f"{prefix}_{name}_gap", values - theirs[name], direction="two-sided", within=(-1.0, 1.0))
            for name, values in found.items()
        ]
    return tuple(measures)


def entropy_histogram(logits: Tensor, *, bins: int = 10) -> tuple[int, ...]:
    """Return how many samples have an entropy in each of `bins` equal parts of [0, log K].

    Args:
        logits: Outputs (n, K).
        bins: How many parts.

    Raises:
        EmptySide: there are no samples.
    """
    if not len(logits):
        raise EmptySide("evaluated")
    values = _sureness(probabilities(logits))["entropy"].clamp(0.0, 1.0)
    counts = torch.histc(values, bins=checked_count("bins", bins), min=0.0, max=1.0)
    return tuple(int(count) for count in counts)


def _sureness(p: Tensor) -> dict[str, Tensor]:
    return {"max_probability": p.amax(dim=1), "entropy": entropy(p) / math.log(max(2, p.shape[1]))}
