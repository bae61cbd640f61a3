"""How images lie in memory: channels last where a model takes them so, because a CPU's convolutions run faster then."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlearning.modes import evaluating

Layout = Callable[[Tensor], Tensor]

_NO_VIEW = "view size is not compatible"
"""What PyTorch says when a tensor cannot be flattened without a copy."""


def layout_of(model: nn.Module, example: Tensor) -> Layout:
    """Return how the model's batches shall lie in memory, in its values without a difference.

    Channels last for images on a CPU (a quarter less time for a VGG11), unless the model refuses them so: one that
    flattens with `view` needs its inputs as they are. It is asked with `example` (B, ...).

    Raises:
        RuntimeError: whatever else the model has against the example.
    """
    if _channels_last(example) is example:
        return as_it_is
    try:
        with evaluating(model):
            model(_channels_last(example))
    except RuntimeError as error:
        if _NO_VIEW not in str(error):
            raise
        return as_it_is
    return _channels_last


def _channels_last(batch: Tensor) -> Tensor:
    if batch.ndim != 4 or batch.shape[1] == 1 or batch.device.type != "cpu" or not batch.is_floating_point():
        return batch
    return batch.contiguous(memory_format=torch.channels_last)


def as_it_is(batch: Tensor) -> Tensor:
    """Return the batch."""
    return batch
