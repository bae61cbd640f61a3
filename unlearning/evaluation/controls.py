"""Controls: models whose right verdict is known in advance, and the parts put back that tell masks from real edits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from itertools import chain, takewhile
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from unlearning.checks import checked_classes, checked_inputs
from unlearning.errors import NothingToProject, WeightsDoNotFit
from unlearning.modes import copied, device_of, evaluating, refused


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
        sample = checked_inputs(example)[:1].to(device_of(model), copy=True)
        with refused(sample), evaluating(model):
            model(sample)
    finally:
        for handle in handles:
            handle.remove()
    if not ran:
        raise NothingToProject(type(model).__name__, "runs an nn.Linear or nn.Conv2d, the last of which is its head")
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
    return _put_back(unlearned, original, [last_layer(original, example)])


def classifier_layers(model: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Return the names of the modules that make up the classifier: everything after the features, in running order.

    The features end where positions do: once a sample is one vector (flattened, pooled, or a class token), what follows
    is the classifier. So these are the modules with parameters or buffers of their own, at the END of the run, whose
    input has two dimensions: three Linear layers of a VGG, one of a ResNet or a ViT, norm and head of a MaxViT. No
    architecture needs code of its own. Where the rule finds no border, because the last layer still sees positions
    (SqueezeNet) or because nothing does (a multilayer perceptron is all classifier), it is the last layer alone.

    Args:
        model: Any module; its mode is restored and nothing stays attached to it.
        example: A batch of inputs; only its first sample is used.

    Raises:
        NothingToProject: no Linear or Conv2d runs.

    Note:
        Parameters that a module uses without calling another one count where that module's own run begins.
    """
    ran: list[tuple[str, bool]] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_module: nn.Module, args: Any, kwargs: Any) -> None:
            inputs = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            ran.append((name, bool(inputs) and inputs[0].ndim == 2))

        return hook

    handles = [
        module.register_forward_pre_hook(watch(name), with_kwargs=True)
        for name, module in model.named_modules()
        if _holds_weights(name, module)
    ]
    try:
        last = last_layer(model, example)
    finally:
        for handle in handles:
            handle.remove()
    tail = [name for name, _ in reversed(list(takewhile(lambda item: item[1], reversed(ran))))]
    is_border = last in tail and len(tail) < len(ran)
    return tuple(dict.fromkeys(tail)) if is_border else (last,)


def classifier_back(unlearned: nn.Module, original: nn.Module, example: Tensor) -> nn.Module:
    """Return a copy of `unlearned` with the original's whole classifier (`classifier_layers`) on its new features.

    What an edit of the fully connected layers achieved is undone by this completely; what stays forgotten has left the
    features themselves.

    Args:
        unlearned: The edited model; not changed.
        original: The model it was made from; not changed.
        example: A batch of inputs, to find where the features end.

    Raises:
        WeightsDoNotFit: the two models have different classifiers.
    """
    return _put_back(unlearned, original, classifier_layers(original, example))


def _holds_weights(name: str, module: nn.Module) -> bool:
    """Whether a module has parameters or buffers of its own; those of a parametrised module lie one level deeper."""
    if "parametrizations" in name.split("."):
        return False
    own = next(chain(module.parameters(recurse=False), module.buffers(recurse=False)), None)
    return own is not None or is_parametrized(module)


def _put_back(unlearned: nn.Module, original: nn.Module, names: Iterable[str]) -> nn.Module:
    restored = copied(unlearned)
    modules = dict(restored.named_modules())
    for name in names:
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
    masked = copied(model)
    bias = getattr(masked.get_submodule(last_layer(masked, example)), "bias", None)
    if not isinstance(bias, Tensor):
        raise WeightsDoNotFit("the last layer has no bias to mask")
    with torch.no_grad():
        bias[list(checked_classes(classes, len(bias)))] -= constant
    return masked
