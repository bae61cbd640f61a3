"""Over-unlearning: what the deletion broke beside the forgotten classes, close to their border."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning.checks import checked_classes, checked_count, checked_finite, checked_labels
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.accuracy import predict_logits
from unlearning.evaluation.class_drops import Labels
from unlearning.evaluation.divergences import jensen_shannon, probabilities
from unlearning.evaluation.intervals import mean_measure
from unlearning.evaluation.measure import Measure
from unlearning.modes import device_of, evaluating

EPSILON = 8 / 255


def border_samples(
    original: nn.Module, inputs: Tensor, labels: Labels, *, epsilon: float = EPSILON, batch_size: int = 256
) -> Tensor:
    """Return forgotten samples moved towards the border of their class, by one signed-gradient step on the original.

    x' = x + epsilon R sign(d cross_entropy(o(x), y) / dx),   R: range of the inputs, to which x' is clipped

    Noise of that size hardly reaches the border in many dimensions, and would need a seed.

    Args:
        original: The model before unlearning; its parameters get no gradient.
        inputs: Samples of the forgotten classes (n, ...), floating point.
        labels: Their classes (n,).
        epsilon: Largest change of one number, as a share of the range of the inputs.
        batch_size: Samples per forward and backward.

    Raises:
        ShapeError: as many labels as samples are needed.
        EmptySide: there are no samples.
        OptionOutOfRange: epsilon is negative, or the inputs are no floating-point numbers.

    References:
        Goodfellow, Shlens, Szegedy, "Explaining and harnessing adversarial examples", ICLR 2015.
    """
    if not len(inputs):
        raise EmptySide("forget")
    y = torch.from_numpy(checked_labels(labels))
    if len(y) != len(inputs):
        raise ShapeError("labels", f"({len(inputs)},)", y.shape)
    if not epsilon >= 0:
        raise OptionOutOfRange("epsilon", "at least 0", epsilon)
    if not inputs.is_floating_point():
        raise OptionOutOfRange("inputs", "floating-point numbers", str(inputs.dtype))
    low, high = torch.aminmax(checked_finite(inputs, "the inputs"))
    step, device = epsilon * (high - low), device_of(original)
    moved = []
    with evaluating(original):
        for part, truth in zip(inputs.split(checked_count("batch_size", batch_size)), y.split(batch_size), strict=True):
            with torch.enable_grad():
                x = part.detach().to(device).requires_grad_(True)
                loss = functional.cross_entropy(original(x.clone()).float(), truth.to(device), reduction="sum")
                (slope,) = torch.autograd.grad(loss, x)
            moved.append((part + step * slope.sign().to(part.device)).clamp(low, high))
    return torch.cat(moved)


def over_unlearning(
    logits: Tensor, original_logits: Tensor, gone: Collection[int], *, name: str = "over_unlearning"
) -> Measure:
    """Return OU@epsilon = mean JS(p_o without the forgotten classes, p_u) on the samples at the border, in bits.

    The target is the original's softmax with the forgotten classes masked and the rest renormalised: what the deletion
    had to leave as it was. The unlearned model's is over all classes, so probability left on a forgotten one counts.

    Args:
        logits: Outputs (n, K) of the unlearned model on `border_samples`.
        original_logits: Outputs of the original on the same samples.
        gone: The forgotten classes.
        name: Name of the measure.

    Returns:
        In [0, 1] with the normal interval of a mean; lower is better, down to the retrained model's.

    Raises:
        ShapeError: the two outputs have different shapes.

    References:
        Ha, Park, Yoon, "Unlearning's Blind Spots", ICML 2026.
    """
    if logits.shape != original_logits.shape:
        raise ShapeError("two outputs", f"{tuple(original_logits.shape)}", logits.shape)
    p = probabilities(logits)
    masked = original_logits.detach().cpu().double()
    masked[:, list(checked_classes(gone, masked.shape[1]))] = -torch.inf
    checked_finite(original_logits, "the original's outputs")
    return mean_measure(name, jensen_shannon(torch.softmax(masked, dim=1), p), direction="lower")


def over_unlearning_measure(
    unlearned: nn.Module,
    original: nn.Module,
    forgotten: tuple[Tensor, Labels],
    gone: Collection[int],
    *,
    epsilon: float = EPSILON,
    batch_size: int = 256,
) -> Measure:
    """Return `over_unlearning` of two models: samples moved, both models run, outputs compared.

    Args:
        unlearned: The model that is judged.
        original: The model it was made from.
        forgotten: Test samples of the forgotten classes, and their classes.
        gone: The forgotten classes.
        epsilon: See `border_samples`.
        batch_size: Samples per forward.
    """
    moved = border_samples(original, *forgotten, epsilon=epsilon, batch_size=batch_size)
    ours, before = (predict_logits(model, moved, batch_size=batch_size) for model in (unlearned, original))
    return over_unlearning(ours, before, gone)
