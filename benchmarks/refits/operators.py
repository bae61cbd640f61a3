"""The projection on the layers that the refit changes, with the published operator or with the symmetric one.

    published   W' = W (I - P),  P = (I - M_r) M_f             what is in the forget side and not in the retain side
    symmetric   W' = W (I - P),  P = (M_f^-1 + (I - M_r)^-1 - I)^-1

The second is "and not" of conceptors (Jaeger, "Controlling recurrent neural networks by conceptors", 2014): symmetric,
0 <= P <= I, so that no direction is amplified.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from unlearning import collect
from unlearning.batches import Batches
from unlearning.inventory import assemble, read_rows
from unlearning.projection import project
from unlearning.statistics import SecondMoment

Operator = Callable[[Tensor, SecondMoment, SecondMoment, float, float], Tensor]
MAX_ROWS = 10_000
_FLOOR = 1e-6
"""Added to both operands: a direction that one of them lacks altogether has no inverse."""


def published(weight: Tensor, retain: SecondMoment, forget: SecondMoment, alpha_r: float, alpha_f: float) -> Tensor:
    """W - W (I - M_r) M_f, (groups, m, d)."""
    return project(weight, retain, forget, alpha_r, alpha_f)


def symmetric(weight: Tensor, retain: SecondMoment, forget: SecondMoment, alpha_r: float, alpha_f: float) -> Tensor:
    """W - W (M_f^-1 + (I - M_r)^-1 - I)^-1, (groups, m, d); in float64, by three inversions of (d, d)."""
    kept, gone = _soft(retain, alpha_r), _soft(forget, alpha_f)
    unit = torch.eye(gone.shape[-1], dtype=torch.float64)
    removed = both(unit - kept, gone)
    return (weight.double() @ (unit - removed)).to(weight.dtype)


def both(a: Tensor, b: Tensor) -> Tensor:
    """The conceptors' "and" of two symmetric matrices between 0 and I, (..., d, d): (a^-1 + b^-1 - I)^-1."""
    unit = torch.eye(a.shape[-1], dtype=a.dtype)
    return _inverse(_inverse(a + _FLOOR * unit) + _inverse(b + _FLOOR * unit) - unit)


def removed_from(
    model: nn.Module,
    retain: Batches,
    forget: Batches,
    layers: Sequence[str],
    operator: Operator,
    alphas: tuple[float, float],
    seed: int,
) -> nn.Module:
    """A copy of `model` with the operator applied to some layers, all on what the original gives them."""
    sides = [
        collect(model, batches, weights=layers, max_rows=MAX_ROWS, seed=seed, side=side)
        for side, batches in (("retain", retain), ("forget", forget))
    ]
    edited = copy.deepcopy(model)
    for layer in sides[0].layers:
        kept, gone = (side.moments[layer.weight] for side in sides)
        values = assemble(edited, {layer.weight: operator(read_rows(model, layer), kept, gone, *alphas)}, [layer])
        with torch.no_grad():
            for name, value in values.items():
                edited.get_parameter(name).copy_(value)
    return edited


def _soft(moment: SecondMoment, alpha: float) -> Tensor:
    """M(alpha) = alpha C ((alpha - 1) C + I)^-1, (groups, d, d), float64."""
    c = moment.gram.double() * moment.inverse_trace[:, None, None]
    unit = torch.eye(c.shape[-1], dtype=torch.float64)
    found: Tensor = torch.cholesky_solve(alpha * c, torch.linalg.cholesky((alpha - 1) * c + unit))
    return (found + found.mT) / 2


def _inverse(a: Tensor) -> Tensor:
    found: Tensor = torch.cholesky_inverse(torch.linalg.cholesky(a))
    return found
