"""Controls: models whose right verdict is known in advance, and the probe that tells a masked head from a real edit."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from unlearning.checks import checked_classes, checked_inputs
from unlearning.errors import NothingToProject, WeightsDoNotFit
from unlearning.modes import device_of, evaluating


def last_layer(model: nn.Module, example: Tensor) -> str:
    """Return the name of the Linear or Conv2d that runs last, whatever the order of definition.

    Args:
        model: Any module; its mode is restored and nothing stays attached to it.
        example: A batch of inputs; only its first sample is used.

    Raises:
        NothingToProject: no Linear or Conv2d runs.
    """
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _module, _args, name=name: ran.append(name))
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    ]
    try:
        with evaluating(model):
            model(checked_inputs(example)[:1].to(device_of(model)))
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise NothingToProject(type(model).__name__)
    return ran[-1]


def last_layer_back(unlearned: nn.Module, original: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of `unlearned` with the original's last layer (weight and bias) on its new features.

    An edit of the last layer alone, or of one bias, is undone by this completely; if the class stays forgotten, the
    features themselves have changed.

    Args:
        unlearned: The edited model; not changed.
        original: The model it was made from; not changed.
        example: A batch of inputs, to find the layer that runs last.

    Raises:
        WeightsDoNotFit: the two models have different last layers.
    """
    name = last_layer(original, example)
    restored = copy.deepcopy(unlearned)
    modules = dict(restored.named_modules())
    if name not in modules:
        raise WeightsDoNotFit(f"'{name}' is missing")
    try:
        modules[name].load_state_dict(original.get_submodule(name).state_dict())
    except RuntimeError as error:
        raise WeightsDoNotFit(f"'{name}': {error}") from error
    return restored


def mask_bias(model: nn.Module, classes: Collection[int], example: Tensor, *, constant: float = 100.0) -> nn.Module:
    """Return a copy of `model` whose last layer's biases of `classes` are lowered by `constant`.

    The null method: it forgets nothing, yet its forget accuracy is 0 and its retain accuracy does not fall. Every
    verification worth the name must reject it.

    Raises:
        WeightsDoNotFit: the last layer has no bias.
    """
    masked = copy.deepcopy(model)
    bias = getattr(masked.get_submodule(last_layer(masked, example)), "bias", None)
    if not isinstance(bias, Tensor):
        raise WeightsDoNotFit("the last layer has no bias to mask")
    with torch.no_grad():
        bias[list(checked_classes(classes, len(bias)))] -= constant
    return masked
