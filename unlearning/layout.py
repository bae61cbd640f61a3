"""How batches lie: in memory of their own, and with channels last where that is faster and the model takes it.

A model may work in place on what it is called with, and the same samples are shown to it again and again. So it never
gets the caller's tensor, and no batch pays for two copies: the one that puts channels last is a batch's own as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlearning.errors import ForwardFailed
from unlearning.modes import device_of, evaluating, refused

Layout = Callable[[Tensor], Tensor]

_NO_VIEW = "view size is not compatible"
"""What PyTorch says when a tensor cannot be flattened without a copy."""


def layout_of(model: nn.Module, example: Tensor) -> Layout:
    """Return how to lay a batch: on the model's device, in memory of its own, in its values without a difference.

    Channels last for images on a CPU, because its convolutions run faster then (a quarter less time for a VGG11),
    unless the model refuses them so: one that flattens with `view` needs its inputs as they are. It is asked with
    `example` (B, ...).

    Raises:
        ForwardFailed: the model has something else against the example.
    """
    device = device_of(model)
    is_last = _takes_channels_last(model, example.to(device))

    def laid(batch: Tensor) -> Tensor:
        moved = batch.to(device)
        ready = _channels_last(moved) if is_last else moved
        return ready.clone() if ready is batch else ready

    return laid


def _takes_channels_last(model: nn.Module, example: Tensor) -> bool:
    turned = _channels_last(example)
    if turned is example:
        return False
    try:
        with refused(turned), evaluating(model):
            model(turned)
    except ForwardFailed as error:
        if _NO_VIEW not in str(error):
            raise
        return False
    return True


def _channels_last(batch: Tensor) -> Tensor:
    if batch.ndim != 4 or batch.shape[1] == 1 or batch.device.type != "cpu" or not batch.is_floating_point():
        return batch
    return batch.contiguous(memory_format=torch.channels_last)
