"""Where the forgotten samples go: their outputs over the retained classes, beside those of another model.

A retrained model sends each forgotten sample to the retained class it resembles most. A uniform or scattered output
tells an observer that something was removed, so it is the distance to a retrained model that counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_classes, checked_finite
from unlearning.errors import EmptySide, ShapeError
from unlearning.evaluation.accuracy import confusion_matrix
from unlearning.evaluation.divergences import jensen_shannon
from unlearning.evaluation.intervals import mean_measure
from unlearning.evaluation.measure import Measure

Distance = Literal["total_variation", "jensen_shannon"]


def retained_probabilities(logits: Tensor, gone: Collection[int]) -> Tensor:
    """Return the softmax over the retained classes alone, (n, K - |gone|) float64, in order of class index.

    Args:
        logits: Outputs (n, K).
        gone: Forgotten classes, all of them.

    Raises:
        ShapeError: the outputs are no (n, K) matrix.
    """
    if logits.ndim != 2:
        raise ShapeError("outputs", "(n, K)", logits.shape)
    z = checked_finite(logits.detach().cpu().double(), "the outputs to compare")
    missing = set(checked_classes(gone, z.shape[1]))
    return torch.softmax(z[:, [index for index in range(z.shape[1]) if index not in missing]], dim=1)


def routing_distance(
    logits: Tensor,
    reference: Tensor,
    gone: Collection[int],
    *,
    distance: Distance = "total_variation",
    name: str | None = None,
) -> Measure:
    """Return the mean distance of two models' outputs on the same forgotten samples, over the retained classes.

    total variation: 1/2 sum_j |p_j - q_j|;   Jensen-Shannon: H((p + q) / 2) - (H(p) + H(q)) / 2, in bits, so that both
    lie in [0, 1]. The mean is over samples (a mean over samples and classes would shrink with the number of classes).

    Args:
        logits: Outputs (n, K) of the model that is judged.
        reference: Outputs (n, K) of a retrained model, or of what stands in for it.
        gone: Forgotten classes; both models' probabilities are renormalised without them.
        distance: Which.
        name: Name of the measure; None for `routing_<distance>`.

    Returns:
        The mean with the normal 95 % interval of a mean, clipped to [0, 1].

    Raises:
        ShapeError: the two outputs have different shapes.
        EmptySide: there are no samples.
    """
    if logits.shape != reference.shape:
        raise ShapeError("two outputs", f"{tuple(reference.shape)}", logits.shape)
    if not len(logits):
        raise EmptySide("forget")
    p, q = retained_probabilities(logits, gone), retained_probabilities(reference, gone)
    values = (p - q).abs().sum(dim=1) / 2 if distance == "total_variation" else jensen_shannon(p, q)
    return mean_measure(name or f"routing_{distance}", values, direction="lower")


def routing_table(
    logits: Tensor, labels: Iterable[int] | NDArray[Any] | Tensor, classes: Collection[int]
) -> dict[int, NDArray[np.int64]]:
    """Return for each forgotten class how many of its samples are given to each class: counts (K,).

    Args:
        logits: Outputs (n, K).
        labels: True classes (n,).
        classes: The forgotten classes to list.
    """
    confusion = confusion_matrix(labels, logits)
    return {index: confusion[index] for index in checked_classes(classes, len(confusion))}
