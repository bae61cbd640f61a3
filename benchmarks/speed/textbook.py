"""The update as a textbook writes it, in float32: activation matrices, full SVDs of both sides, dense projections.

The baseline. It sees the same samples and the same positions as the engine (through `capture`), and uses the library's
thin SVD (`full_matrices=False`), which is already kinder than the published code's full one.
"""

import time
from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from unlearning.capture import capture, in_pieces
from unlearning.inventory import Layer, assemble, read_rows

Activations = dict[str, list[Tensor]]


def erase(
    model: nn.Module,
    retain: list[Tensor],
    forget: list[Tensor],
    alphas: tuple[float, float],
    max_rows: int,
    say: Callable[[str], None],
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return new parameters by name, and the seconds of each stage."""
    began = time.perf_counter()
    kept, layers = activations(model, retain, max_rows)
    gone, _ = activations(model, forget, max_rows)
    seconds = {"activations": time.perf_counter() - began, "svd": 0.0, "projections": 0.0}
    rows = {}
    for number, layer in enumerate(layers, start=1):
        weight = read_rows(model, layer)
        x_r, x_f = torch.cat(kept.pop(layer.weight)), torch.cat(gone.pop(layer.weight))
        groups = [
            _updated(weight[group], x_r[:, group], x_f[:, group], alphas, seconds) for group in range(layer.groups)
        ]
        rows[layer.weight] = torch.stack(groups)
        say(f"{number}/{len(layers)} {layer.weight} {time.perf_counter() - began:.0f} s")
    return assemble(model, rows, layers), seconds


def activations(model: nn.Module, batches: list[Tensor], max_rows: int) -> tuple[Activations, tuple[Layer, ...]]:
    """Return the rows (n, groups, d) of every layer, in pieces."""
    held: Activations = defaultdict(list)
    sink = in_pieces(lambda layer, rows: held[layer.weight].append(rows.clone()))
    captured = capture(model, batches, sink, max_rows=max_rows)
    return held, captured.layers


def _updated(
    weight: Tensor, retain: Tensor, forget: Tensor, alphas: tuple[float, float], seconds: dict[str, float]
) -> Tensor:
    """W (I - P)^T with P = M_f (I - M_r)."""
    began = time.perf_counter()
    bases = [torch.linalg.svd(side.T, full_matrices=False)[:2] for side in (retain, forget)]
    split = time.perf_counter()
    m_r, m_f = (_importance(u, sigma, alpha) for (u, sigma), alpha in zip(bases, alphas, strict=True))
    identity = torch.eye(len(m_r), device=m_r.device)
    new = weight @ (identity - m_f @ (identity - m_r)).T
    seconds["svd"] += split - began
    seconds["projections"] += time.perf_counter() - split
    return new


def _importance(u: Tensor, sigma: Tensor, alpha: float) -> Tensor:
    s = sigma.square() / sigma.square().sum()
    return u @ torch.diag(alpha * s / ((alpha - 1) * s + 1)) @ u.T
