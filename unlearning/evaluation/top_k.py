"""A class that is only pushed out of the first place is still there: accuracy among the largest outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from unlearning.checks import checked_classes, checked_count, checked_finite, checked_labels
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.outcomes import share_measure


def top_k_forget_accuracy(
    logits: Tensor,
    labels: Iterable[int] | NDArray[Any] | Tensor,
    forget: Collection[int],
    *,
    k: int = 5,
    split: str = "test",
) -> Measure:
    """Return the share of the forgotten classes' samples whose class is among the k largest outputs.

    Equal outputs are ranked by class index, as argmax does.

    Args:
        logits: Outputs (n, K).
        labels: True classes (n,); samples of other classes are not looked at.
        forget: The forgotten classes.
        k: How many places count; fewer than K.
        split: Prefix of the name: "train" or "test".

    Returns:
        `<split>_forget_accuracy_top<k>` with Wilson's interval.

    Raises:
        OptionOutOfRange: k is not below the number of classes: every sample would count.
        ShapeError: as many labels as outputs are needed.
        EmptySide: there is no sample of the classes.
    """
    num_classes = logits.shape[1]
    if checked_count("k", k) >= num_classes:
        raise OptionOutOfRange("k", f"below the number of classes, {num_classes}", k)
    truth = torch.from_numpy(checked_labels(labels, num_classes))
    if len(truth) != len(logits):
        raise ShapeError("labels", f"({len(logits)},)", truth.shape)
    chosen = torch.isin(truth, torch.tensor(checked_classes(forget, num_classes)))
    if not chosen.any():
        raise EmptySide(f"forget {split}")
    z, y = checked_finite(logits.detach().cpu(), "the outputs to rank")[chosen], truth[chosen][:, None]
    own = z.gather(1, y)
    before = (z > own) | ((z == own) & (torch.arange(num_classes) < y))
    return share_measure(before.sum(dim=1) < k, f"{split}_forget_accuracy_top{k}")
