"""A model's layers in running order, and fresh weights for some of them."""

import torch
from torch import Tensor, nn

from models_store.architectures import initialise
from unlearning.modes import device_of, evaluating

PRODUCTS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, nn.LayerNorm)


def layers_in_order(model: nn.Module, example: Tensor) -> list[tuple[str, ...]]:
    """Names of the modules with parameters of their own, layer by layer as they run.

    A layer is a Linear or a convolution together with the norms that follow it before the next one.

    Args:
        model: Any module; its mode is restored and nothing stays attached to it.
        example: A batch of inputs; its first sample is used.
    """
    ran: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda _module, _args, name=name: ran.append(name))
        for name, module in model.named_modules()
        if next(module.parameters(recurse=False), None) is not None
    ]
    try:
        with evaluating(model):
            model(example[:1].to(device_of(model)))
    finally:
        for handle in handles:
            handle.remove()
    layers: list[list[str]] = []
    for name in dict.fromkeys(ran):
        if not layers or isinstance(model.get_submodule(name), PRODUCTS):
            layers.append([])
        layers[-1].append(name)
    return [tuple(layer) for layer in layers]


def reinitialise(model: nn.Module, names: list[str], generator: torch.Generator) -> None:
    """Give the modules of these names fresh weights, in place: He normal, biases zero, norms as new.

    Raises:
        TypeError: a module's weights are of a kind that is not known here.
    """
    device = device_of(model)
    model.cpu()  # the same weights for a seed, whatever the device
    for name in names:
        module = model.get_submodule(name)
        if isinstance(module, PRODUCTS):
            initialise(module, generator)
        elif isinstance(module, NORMS):
            module.reset_parameters()
        else:
            raise TypeError(f"Expected a Linear, a convolution or a norm at '{name}', got {type(module).__name__}.")
    model.to(device)
