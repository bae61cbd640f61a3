"""Divergences between the outputs of two models on the same samples, one number per sample."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unlearning.checks import checked_finite
from unlearning.errors import EmptySide, ShapeError


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Return H((p + q) / 2) - (H(p) + H(q)) / 2 per row in bits, (n,) in [0, 1], for probabilities (n, K)."""
    nats = entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2
    return (nats / math.log(2)).clamp(0.0, 1.0)


def entropy(p: Tensor) -> Tensor:
    """Return -sum_j p_j log p_j per row in nats, (n,), for probabilities (n, K)."""
    return -torch.xlogy(p, p).sum(dim=1)


def probabilities(logits: Tensor) -> Tensor:
    """Return the softmax over all classes in float64, (n, K).

    Raises:
        ShapeError: the outputs are no (n, K) matrix.
        EmptySide: there are no samples.
    """
    if logits.ndim != 2:
        raise ShapeError("outputs", "(n, K)", logits.shape)
    if not len(logits):
        raise EmptySide("evaluated")
    return torch.softmax(checked_finite(logits.detach().cpu().double(), "the outputs to compare"), dim=1)


def paired_probabilities(logits: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """Return `probabilities` of both models.

    Raises:
        ShapeError: the two outputs have different shapes.
    """
    if logits.shape != reference.shape:
        raise ShapeError("two outputs", f"{tuple(reference.shape)}", logits.shape)
    return probabilities(logits), probabilities(reference)
