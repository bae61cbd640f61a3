"""The last layer's forgotten rows made neutral, so that a mask in them does not pass for forgetting."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from unlearning.checks import checked_classes
from unlearning.errors import WeightsDoNotFit


def reset_head(model: nn.Module, head: str, classes: Collection[int]) -> nn.Module:
    """Return a copy whose last layer knows nothing of `classes`: their rows and biases become the retained ones' mean.

    Without it a masked bias passes for forgetting in every test of relearning: -100 is not unlearned in 20 steps, yet
    the features are untouched and a fresh row finds them at once. The mean row is the one without an opinion: its
    output is the mean of the retained outputs, never the largest, at a scale that the model is used to.

    Args:
        model: A classifier; not changed.
        head: Name of its last layer (see `last_layer`), with one output per class.
        classes: The classes to reset.

    Raises:
        WeightsDoNotFit: the layer has no weight with one row per class.
    """
    copied = copy.deepcopy(model)
    layer = copied.get_submodule(head)
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if not isinstance(weight, Tensor) or weight.ndim < 2:
        raise WeightsDoNotFit(f"'{head}' has no weight with one row per class")
    gone = list(checked_classes(classes, len(weight)))
    kept = [index for index in range(len(weight)) if index not in gone]
    with torch.no_grad():
        for parameter in (weight, bias):
            if isinstance(parameter, Tensor):
                parameter[gone] = parameter[kept].mean(dim=0, keepdim=True)
    return copied


def has_bias(model: nn.Module, head: str) -> bool:
    """Whether the layer adds a bias."""
    return isinstance(getattr(model.get_submodule(head), "bias", None), Tensor)


def zero_bias(model: nn.Module, head: str, classes: Collection[int]) -> nn.Module:
    """Return a copy of `model` in which the last layer's biases of `classes` are 0: the simplest way to undo a mask.

    Args:
        model: The unlearned model; not changed.
        head: Name of its last layer.
        classes: The forgotten classes.

    Raises:
        WeightsDoNotFit: the layer has no bias.
    """
    copied = copy.deepcopy(model)
    bias = getattr(copied.get_submodule(head), "bias", None)
    if not isinstance(bias, Tensor):
        raise WeightsDoNotFit(f"'{head}' has no bias to set")
    with torch.no_grad():
        bias[list(checked_classes(classes, len(bias)))] = 0.0
    return copied
