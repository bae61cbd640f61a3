"""What a model consists of: the weights that the update can reach, and those it leaves alone, each with a reason."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

Kind = Literal["linear", "conv2d"]


@dataclass(frozen=True)
class Layer:
    """A weight that the update can reach, under the name its parameter has in the model.

    Attributes:
        weight: Name of the parameter, as in `model.named_parameters()`.
        kind: "linear" or "conv2d".
        modules: Names of the modules that apply this weight; more than one when weights are tied.
        d: Inputs of one output: in_features, or c_in / groups * kh * kw.
        m: Outputs, over all groups.
        groups: Groups of a convolution; 1 for a Linear. A depthwise convolution has one group per channel.
    """

    weight: str
    kind: Kind
    modules: tuple[str, ...]
    d: int
    m: int
    groups: int


@dataclass(frozen=True)
class Untouched:
    """A parameter that the update does not change, with its share of all parameters and the reason."""

    name: str
    parameters: int
    share: float
    reason: str


def find_layers(model: nn.Module) -> dict[str, Layer]:
    """Return every Linear or Conv2d weight that can be projected, by parameter name, in order of definition.

    A weight counts only if all its owners are plain Linear or Conv2d modules: projecting a matrix that an embedding
    also looks up, or that a subclass standardises before use, would change something that was never measured.
    """
    layers = {}
    for name, owners in _owners(model).items():
        if not _refusal(owners):
            module = owners[0][1]
            weight = module.get_parameter("weight")
            layers[name] = Layer(
                weight=name,
                kind="linear" if isinstance(module, nn.Linear) else "conv2d",
                modules=tuple(path for path, _, _ in owners),
                d=weight[0].numel(),
                m=weight.shape[0],
                groups=_groups(module),
            )
    return layers


def list_untouched(model: nn.Module, reached: Collection[str], asked: Collection[str]) -> tuple[Untouched, ...]:
    """Return all parameters but the `reached` weights, with reasons; `asked` are those the caller wanted reached."""
    owners = _owners(model)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    total = max(sum(sizes.values()), 1)
    return tuple(
        Untouched(name, size, size / total, _reason(name, owners[name], asked))
        for name, size in sizes.items()
        if name not in reached
    )


def module_weights(model: nn.Module, layers: Mapping[str, Layer]) -> Iterable[tuple[nn.Module, Layer]]:
    """Yield each module that applies a weight of `layers`, with that layer."""
    for layer in layers.values():
        for path in layer.modules:
            yield model.get_submodule(path), layer


def as_rows(weight: Tensor, groups: int) -> Tensor:
    """Return a weight (m, ...) as one matrix per group, shape (groups, m / groups, d)."""
    return weight.reshape(groups, weight.shape[0] // groups, -1)


_Owner = tuple[str, nn.Module, str]


def _owners(model: nn.Module) -> dict[str, list[_Owner]]:
    """Map each parameter's name to all (module path, module, local name) that hold it."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    owners: dict[str, list[_Owner]] = {name: [] for name in names.values()}
    for path, module in model.named_modules():
        for local, parameter in module.named_parameters(recurse=False):
            owners[names[id(parameter)]].append((path, module, local))
    return owners


def _refusal(owners: list[_Owner]) -> str:
    """Return why a parameter cannot be projected, or an empty string when it can."""
    for _, module, local in owners:
        kind = type(module).__name__
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            return f"parameter of {kind}, not a Linear or Conv2d weight"
        if local != "weight":
            return "bias" if local == "bias" else f"'{local}' of a reparametrised {kind}"
        if type(module).forward not in {nn.Linear.forward, nn.Conv2d.forward}:
            return f"{kind} computes with its weight in its own way"
    if len({(_groups(module), isinstance(module, nn.Linear)) for _, module, _ in owners}) > 1:
        return "tied between layers of different geometry"
    return ""


def _reason(name: str, owners: list[_Owner], asked: Collection[str]) -> str:
    refusal = _refusal(owners)
    if refusal:
        return refusal
    return "its module was never called" if name in asked else "not among the layers asked for"


def _groups(module: nn.Module) -> int:
    return module.groups if isinstance(module, nn.Conv2d) else 1
