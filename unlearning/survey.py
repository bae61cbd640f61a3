"""Sorts what `discovery` saw into layers that the update can edit, and parameters it leaves alone, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from unlearning.discovery import Layout, Seen, Use, layouts
from unlearning.errors import NotRepresentable
from unlearning.inventory import Layer, Untouched, View, tensor_of
from unlearning.origins import Origins, merged
from unlearning.parametrized import originals_for, parametrized_tensors
from unlearning.products import PRODUCTS, Product

UNUSED = "never used in the forward pass"
"""The reason of a parameter that no operation met."""
ADDED = ("bias", "added to activations")
"""Reasons of parameters that are added to what a product gives, by the product or after it."""

Key = tuple[str, View]
"""Name of a tensor and the part of it that is multiplied: the same for all products with the same matrix."""


@dataclass(frozen=True)
class Survey:
    """What a model consists of, as one forward pass shows it.

    Attributes:
        layers: Layers by what identifies their products, in order of their first call.
        layouts: How the items of each call follow the samples, by layer key; None where that is unknown.
        reasons: Why a parameter is no layer, for every parameter that is none.
        parameters: The parameters behind each tensor that a layer multiplies: itself, or what it is computed from.
    """

    layers: dict[Key, Layer]
    layouts: dict[str, list[Layout | None]]
    reasons: dict[str, str]
    parameters: dict[str, tuple[str, ...]]


def survey(model: nn.Module, first: Seen, second: Seen, origins: Origins) -> Survey:
    """Return what `model` consists of.

    Args:
        model: The model that was traced.
        first: What was seen of it on two different samples.
        second: What was seen on the first of them, twice.
        origins: The memory of `multiplied_tensors(model)`.
    """
    behind = parametrized_tensors(model)
    names = [*(name for name, _ in model.named_parameters()), *behind]
    layers: dict[Key, Layer] = {}
    reasons: dict[str, str] = {}
    seen, places = _by_tensor(first.products), _holders(model)
    for name in names:
        keys = seen.get(name, {})
        reason = _refusal(model, name, first, keys) or _unwritable(model, name, behind)
        if reason:
            reasons[name] = reason
        else:
            holders = places.get(name, (name.rpartition(".")[0],))
            layers.update(_layers(tensor_of(model, name), name, holders, keys))
    _explain_relations(reasons, layers, behind, origins)
    ordered = {key: layers[key] for key in dict.fromkeys(product.key for product in first.products) if key in layers}
    found: dict[str, list[Layout | None]] = {layer.weight: [] for layer in ordered.values()}
    for product, layout in zip(first.products, layouts(first, second), strict=True):
        if product.key in ordered:
            found[ordered[product.key].weight].append(layout)
    parameters = {layer.tensor: behind.get(layer.tensor, (layer.tensor,)) for layer in ordered.values()}
    return Survey(ordered, found, reasons, parameters)


def multiplied_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all tensors whose products can be recognised: parameters, and what parametrisations compute.

    Only inside `parametrize.cached()` is a computed tensor the one that the forward pass uses, too.
    """
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    tensors.update((name, tensor_of(model, name)) for name in parametrized_tensors(model))
    return tensors


def list_untouched(
    model: nn.Module, found: Survey, reached: Iterable[Layer], late: Mapping[str, str]
) -> tuple[Untouched, ...]:
    """Return all parameters, and parts of parameters, that no layer in `reached` changes, with share and reason.

    Args:
        model: The model.
        found: What it consists of.
        reached: The layers that are edited.
        late: Reasons that turned up after the survey, by name of the tensor.
    """
    edited: Counter[str] = Counter()
    owners = {name: tensor for tensor, names in found.parameters.items() for name in names}
    for layer in reached:
        edited[layer.tensor] += prod(layer.shape)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total = max(sum(sizes.values()), 1)
    untouched = []
    for name, size in sizes.items():
        tensor = owners.get(name, name)
        if tensor != name and edited[tensor]:
            continue  # one of the parameters that a tensor is computed from; their sizes need not add up to its own
        left = max(size - edited[tensor], 0)
        if left:
            default = "not multiplied" if edited[tensor] else "not among the layers asked for"
            reason = late.get(tensor) or found.reasons.get(name, default)
            untouched.append(Untouched(name, left, left / total, reason))
    return tuple(untouched)


def _by_tensor(products: Iterable[Product]) -> dict[str, dict[Key, Product]]:
    found: dict[str, dict[Key, Product]] = {}
    for product in products:
        found.setdefault(product.name, {}).setdefault(product.key, product)
    return found


def _refusal(model: nn.Module, name: str, seen: Seen, keys: Mapping[Key, Product]) -> str:
    """Return why the products of a tensor cannot be edited, or an empty string if they can."""
    uses = seen.others.get(name, [])
    described = "; ".join(dict.fromkeys(_described(use) for use in uses))
    if not keys:
        return described or UNUSED
    if described:
        return f"multiplied, but also used otherwise: {described}"
    if not tensor_of(model, name).is_floating_point():
        return "multiplied, but not made of real numbers"
    return "multiplied in overlapping parts, or from both sides" if _overlap(tensor_of(model, name), keys) else ""


def _overlap(tensor: Tensor, keys: Mapping[Key, Product]) -> bool:
    if len(keys) == 1:
        return False
    counts = torch.zeros(tensor.numel(), dtype=torch.uint8)
    for _, view in keys:
        view.of(counts).add_(1)
    return bool((counts > 1).any())


def _unwritable(model: nn.Module, name: str, behind: Collection[str]) -> str:
    """Return why a parametrised tensor cannot take another value, or an empty string if it can."""
    if name not in behind:
        return ""
    value = tensor_of(model, name)
    ripple = torch.arange(value.numel(), dtype=torch.float32, device=value.device).cos_().view(value.shape)
    try:
        originals_for(model, name, value * (1 + 0.1 * ripple).to(value.dtype))
    except NotRepresentable as error:
        return f"its parametrisation cannot take any value: {error.reason}"
    return ""


def _layers(tensor: Tensor, name: str, holders: tuple[str, ...], keys: Mapping[Key, Product]) -> dict[Key, Layer]:
    layers = {}
    for (_, view), product in keys.items():
        size = product.m * product.d
        is_whole = size == tensor.numel()
        in_order = view.offset == 0 and merged((*view.groups, *view.outputs, *view.inputs)) in {((size, 1),), ()}
        layers[name, view] = Layer(
            weight=name if is_whole else f"{name}[{_part(tensor, view)}]",
            kind=product.kind,
            modules=holders,
            d=product.d,
            m=product.m,
            groups=product.groups,
            source="" if is_whole else name,
            view=None if is_whole and in_order else view,
        )
    return layers


def _part(tensor: Tensor, view: View) -> str:
    """Return a short name of a part: "64:128" for whole rows of the tensor, else its geometry."""
    row = tensor[0].numel()
    dims = merged(tuple(sorted((*view.groups, *view.outputs, *view.inputs), key=lambda dim: -dim[1])))
    if len(dims) == 1 and dims[0][1] == 1 and view.offset % row == 0 and dims[0][0] % row == 0:
        return f"{view.offset // row}:{(view.offset + dims[0][0]) // row}"
    shape = "x".join(f"{size}({stride})" for size, stride in dims)
    return f"{view.offset}+{shape}"


def _holders(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the names of all modules that hold each parameter, by its name; several where it is tied."""
    places: dict[int, tuple[str, ...]] = {}
    for place, module in model.named_modules():
        for held in module.parameters(recurse=False):
            places[id(held)] = (*places.get(id(held), ()), place)
    return {name: places[id(parameter)] for name, parameter in model.named_parameters()}


# By a word in the operation's name: "native_layer_norm", "mkldnn_rnn_layer", "add_".
_WORDS = (
    ("norm", "scale or shift of a normalisation"),
    ("embedding", "a table that is looked up, not multiplied"),
    ("add", ADDED[1]),
    ("sub", "subtracted from activations"),
    ("mul", "scales activations"),
    ("div", "scales activations"),
    ("cat", "joined to the activations"),
    ("stack", "joined to the activations"),
    ("attention", "added to attention scores"),
    ("rnn", "a recurrence computed by one fused operation"),
    ("lstm", "a recurrence computed by one fused operation"),
    ("gru", "a recurrence computed by one fused operation"),
    ("prelu", "slope of an activation function"),
)


def _described(use: Use) -> str:
    if use.computed_by in PRODUCTS:
        return "takes part in a product whose inputs do not depend on the samples"
    if use.operation in PRODUCTS:
        if not use.is_operand:
            return ADDED[0]
        if use.computed_by:
            return f"the multiplied weight is computed from it in the forward pass ({use.computed_by})"
        return "multiplied in a form that cannot be written back"
    parts = use.operation.split("_")
    words = next((words for part, words in _WORDS if part in parts), f"used by {use.operation}")
    return f"{words} (after {use.computed_by})" if use.computed_by else words


def _explain_relations(
    reasons: dict[str, str], layers: Mapping[Key, Layer], behind: Mapping[str, tuple[str, ...]], origins: Origins
) -> None:
    """Give the parameters behind a parametrised tensor, and those that share memory, the reason of what they are."""
    edited = {layer.tensor for layer in layers.values()}
    for tensor, names in behind.items():
        reason = reasons.pop(tensor, "")
        for name in names:
            if tensor in edited:
                reasons.pop(name, None)
            elif name in reasons:
                reasons[name] = f"stands behind '{tensor}': {reason}"
    for alias, owner in origins.aliases.items():
        if alias in reasons:
            shared = reasons.get(owner, "which is edited")
            reasons[alias] = f"shares its memory with '{owner}': {shared}"
