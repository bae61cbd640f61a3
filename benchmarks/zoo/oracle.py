"""An oracle that shares no code with the engine: inputs by module hooks and `unfold`, SVDs, dense projections."""

from itertools import islice
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unlearning import Layer
from unlearning.inventory import read_rows

WIDEST = 1280
ALPHA_R, ALPHA_F = 100.0, 3.0
FUSED = ("in_proj_weight", "qkv.weight")


def updated(model: nn.Module, layer: Layer, retain: Tensor, forget: Tensor) -> Tensor:
    """Return the first group's matrix after the update as the paper writes it: SVDs, dense projections, float64."""
    m_r, m_f = (
        _importance(_observed(model, layer, side)[:, 0].double(), alpha)
        for side, alpha in ((retain, ALPHA_R), (forget, ALPHA_F))
    )
    identity = torch.eye(layer.d, dtype=torch.float64)
    return read_rows(model, layer)[0].double() @ (identity - m_f @ (identity - m_r)).T


def _importance(rows: Tensor, alpha: float) -> Tensor:
    # The SVD of the triangular factor has the singular values and directions of the rows, at the cost of a QR.
    triangle = torch.linalg.qr(rows, mode="r").R if len(rows) > rows.shape[1] else rows
    u, sigma, _ = torch.linalg.svd(triangle.T, full_matrices=True)
    share = torch.zeros(len(u), dtype=torch.float64)
    share[: len(sigma)] = sigma**2 / (sigma**2).sum()
    weighed: Tensor = u @ torch.diag(alpha * share / ((alpha - 1) * share + 1)) @ u.T
    return weighed


def _observed(model: nn.Module, layer: Layer, x: Tensor) -> Tensor:
    """Return the inputs of a layer (n, groups, d) as hooks on its module see them; none if they do not.

    The projection of functional attention is never called; its inputs are those of the attention around it.
    """
    path = layer.modules[0]
    for place in (path, path.rpartition(".")[0]) if layer.weight.endswith(FUSED) else (path,):
        inputs = _hooked(model, place, x)
        holder = model.get_submodule(place)
        if isinstance(holder, nn.Conv2d):
            geometry: dict[str, Any] = {
                "padding": holder.padding,
                "dilation": holder.dilation,
                "stride": holder.stride,
            }
            columns = [functional.unfold(part, holder.kernel_size, **geometry).mT for part in inputs]
            # `unfold` keeps a channel's pixels together, the engine a pixel's channels.
            inputs = [
                part.unflatten(2, (layer.groups, -1, prod(holder.kernel_size))).mT.flatten(0, 1) for part in columns
            ]
            inputs = [part.reshape(len(part), -1) for part in inputs]
        rows = [part.reshape(-1, layer.groups, layer.d) for part in inputs if part.shape[-1] == layer.groups * layer.d]
        if rows:
            return torch.cat(rows)
    return torch.empty(0, layer.groups, layer.d)


def _hooked(model: nn.Module, path: str, x: Tensor) -> list[Tensor]:
    seen: list[Tensor] = []

    def hook(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = args[0] if args else next(iter(kwargs.values()))
        seen.append(first.detach().clone())

    handle = model.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)
    try:
        with torch.no_grad():
            model(x)
    finally:
        handle.remove()
    return seen


def sampled_layers(model: nn.Module, layers: tuple[Layer, ...], x: Tensor) -> list[Layer]:
    """Return a middle one of the fused attention weights and of plain Linear and Conv2d modules that hooks can see."""
    whole = [layer for layer in layers if not layer.source]
    fused = [layer for layer in whole if layer.weight.endswith(FUSED) and layer.d <= WIDEST]
    plain = [layer for layer in whole if not layer.weight.endswith(FUSED) and _is_plain(model, layer)]
    narrow = [layer for layer in plain if layer.d <= WIDEST] or sorted(plain, key=lambda layer: layer.d)[:1]
    sampled = []
    for group in (fused, narrow):
        from_the_middle = [*group[len(group) // 2 :], *group[: len(group) // 2]]
        seen = (layer for layer in from_the_middle if len(_observed(model, layer, x)))
        sampled += list(islice(seen, 1))
    return sampled


def _is_plain(model: nn.Module, layer: Layer) -> bool:
    holder = model.get_submodule(layer.modules[0])
    if len(layer.modules) > 1 or f"{layer.modules[0]}.weight" != layer.weight:
        return False
    if isinstance(holder, nn.Conv2d):
        return isinstance(holder.padding, tuple) and holder.padding_mode == "zeros"
    return isinstance(holder, nn.Linear)


def difference_of(before: Tensor, got: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Return how far the edited matrix is from the wanted one, and how large the wanted edit is, as shares of it."""
    size = float(wanted.norm())
    return float((got.double() - wanted).norm()) / size, float((wanted - before).norm()) / size
