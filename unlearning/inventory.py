"""What a model consists of: the matrices that the update can reach, and the parameters it leaves alone, with reasons.

A `Layer` is one matrix product with parameters, found where it happens (see `products`). It may multiply a whole
parameter, a part of one (the query rows of a fused attention weight), its transpose, or a tensor that a parametrisation
computes. `read_rows` and `assemble` are the only places that know the difference: between them a layer is a stack of
matrices (groups, m / groups, d), whose product with the rows that `capture` hands out is what the model computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod

import torch
from torch import Tensor, nn

from unlearning.arithmetic import full_precision
from unlearning.errors import ShapeError, UnknownLayer
from unlearning.parametrized import is_parametrized, originals_for

Dims = tuple[tuple[int, int], ...]
"""(size, stride) of some dimensions, outermost first; strides count elements of the tensor in row-major order."""


@dataclass(frozen=True)
class View:
    """Which elements of a tensor form the matrices of a layer, as strides over the tensor in row-major order.

    Attributes:
        offset: Place of the first element.
        groups: Dimensions that count independent matrices.
        outputs: Dimensions that count the rows of a matrix.
        inputs: Dimensions that count its columns.
    """

    offset: int
    groups: Dims
    outputs: Dims
    inputs: Dims

    @property
    def sizes(self) -> tuple[int, ...]:
        """All sizes, groups first."""
        return tuple(size for size, _ in (*self.groups, *self.outputs, *self.inputs))

    def of(self, flat: Tensor) -> Tensor:
        """Return the elements of a contiguous vector that the view names, with all its dimensions, as a view."""
        strides = tuple(stride for _, stride in (*self.groups, *self.outputs, *self.inputs))
        return flat.as_strided(self.sizes, strides, flat.storage_offset() + self.offset)


@dataclass(frozen=True)
class Layer:
    """One matrix product with parameters.

    Attributes:
        weight: The unique key: the parameter's name as in `model.named_parameters()`; for a part of a parameter the
            name with the part in brackets (`attn.in_proj_weight[0:64]`); for a parametrised tensor the attribute's
            name (`head.weight`, though its parameters are `head.parametrizations.weight.original0` and so on).
        kind: "linear", or "conv1d", "conv2d", "conv3d".
        modules: Names of the modules that hold the tensor; more than one when weights are tied.
        d: Inputs of one output: in_features, or c_in / groups times the kernel's size.
        m: Outputs, over all groups.
        groups: Groups of a convolution or matrices of a batched product, else 1. A depthwise convolution has one group
            per channel.
        source: Name of the tensor that holds the matrix; empty when that is `weight`.
        view: Which part of it, and how; None for the whole tensor, row by row.
    """

    weight: str
    kind: str
    modules: tuple[str, ...]
    d: int
    m: int
    groups: int
    source: str = ""
    view: View | None = None

    @property
    def tensor(self) -> str:
        """Name of the tensor that holds the matrix."""
        return self.source or self.weight

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the matrices: (groups, m / groups, d)."""
        return (self.groups, self.m // self.groups, self.d)


@dataclass(frozen=True)
class Untouched:
    """A parameter that the update does not change, with its share of all parameters and the reason."""

    name: str
    parameters: int
    share: float
    reason: str


def tensor_of(model: nn.Module, name: str) -> Tensor:
    """Return the parameter, or the value of the parametrised tensor, that has this name; detached.

    Raises:
        UnknownLayer: the model has no such tensor.
    """
    try:
        with torch.no_grad(), full_precision():
            value: object = reduce(getattr, name.split("."), model)
    except AttributeError:
        value = None
    if not isinstance(value, Tensor):
        raise UnknownLayer([name], [known for known, _ in model.named_parameters()])
    return value.detach()


def read_rows(model: nn.Module, layer: Layer) -> Tensor:
    """Return the matrices that `layer` multiplies its inputs with.

    Returns:
        (groups, m / groups, d), detached, in the dtype and on the device of the weight; it may be a view.

    Raises:
        UnknownLayer: the model has no such tensor.
        ShapeError: the tensor has another size than when the layer was found.
    """
    return _rows_in(tensor_of(model, layer.tensor), layer).reshape(layer.shape)


@full_precision()
def assemble(model: nn.Module, rows: Mapping[str, Tensor], layers: Iterable[Layer]) -> dict[str, Tensor]:
    """Return complete new parameters for new matrices: the inverse of `read_rows`; the model is not changed.

    Args:
        model: The model the layers were found in.
        rows: New matrices (groups, m / groups, d) by layer key; what is not named keeps its value.
        layers: Layers, at least those in `rows`.

    Returns:
        New values by parameter name, in order of the layers, in the shape, dtype, device and memory format of the old
        ones. Parts of one parameter are merged; a parametrised tensor is given back as the parameters behind it.

    Raises:
        UnknownLayer: `rows` names a layer that is not among `layers`, or the model lacks its tensor.
        ShapeError: the new matrices, or the tensor, have another size.
        NotRepresentable: a parametrisation cannot produce the wanted tensor.
    """
    known = {layer.weight: layer for layer in layers}
    if set(rows) - set(known):
        raise UnknownLayer(set(rows) - set(known), known)
    changed: dict[str, Tensor] = {}
    for key, layer in known.items():
        if key in rows:
            if tuple(rows[key].shape) != layer.shape:
                raise ShapeError(f"the new rows of '{key}'", str(layer.shape), rows[key].shape)
            old = changed.get(layer.tensor)
            changed[layer.tensor] = _replaced(tensor_of(model, layer.tensor) if old is None else old, layer, rows[key])
    assembled: dict[str, Tensor] = {}
    for name, value in changed.items():
        assembled.update(originals_for(model, name, value) if is_parametrized(model, name) else {name: value})
    return assembled


def _replaced(old: Tensor, layer: Layer, rows: Tensor) -> Tensor:
    """Return a copy of `old`, strides included, in which the part that `layer` multiplies is `rows`."""
    new = torch.empty_strided(old.shape, old.stride(), dtype=old.dtype, device=old.device)
    if layer.view is None:
        return new.copy_(rows.reshape(old.shape))
    flat = old.reshape(-1).clone()
    part = _rows_in(flat, layer)
    part.copy_(rows.reshape(part.shape))
    return new.copy_(flat.view(old.shape))


def _rows_in(tensor: Tensor, layer: Layer) -> Tensor:
    if layer.view is None:
        if tensor.numel() != prod(layer.shape):
            raise ShapeError(f"'{layer.tensor}'", f"with {prod(layer.shape)} numbers", tensor.shape)
        return tensor.reshape(layer.shape)
    view = layer.view
    last = view.offset + sum((size - 1) * stride for size, stride in (*view.groups, *view.outputs, *view.inputs))
    if last >= tensor.numel():
        raise ShapeError(f"'{layer.tensor}'", f"with more than {last} numbers", tensor.shape)
    return view.of(tensor.reshape(-1))
