"""What a deletion did to the weights, parameter by parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from unlearning.checks import checked_finite
from unlearning.errors import WeightsDoNotFit

LARGEST_SIDE = 4096


@dataclass(frozen=True)
class Edit:
    """How one parameter changed; dW = after minus before, as a matrix with one row per output.

    Attributes:
        name: Key in the state.
        shape: Of the parameter.
        relative_change: ||dW|| / ||W||, Frobenius norms; None where W is zero and dW is not.
        spectral_norm: Largest singular value of dW; None where the shorter side is too long to compute it.
        effective_rank: exp of the entropy of dW's singular values as shares; 0 for no change, between 1 and the rank
            otherwise; None as above.
        changed: How many of its numbers are not what they were.
    """

    name: str
    shape: tuple[int, ...]
    relative_change: float | None
    spectral_norm: float | None
    effective_rank: float | None
    changed: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields as plain JSON types."""
        return {**asdict(self), "shape": list(self.shape)}


def edits(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], *, largest_side: int = LARGEST_SIDE
) -> tuple[Edit, ...]:
    """Return one `Edit` for each floating-point entry of two states, in the order of `before`, changed or not.

    Args:
        before: State of the original.
        after: State of the unlearned model: the same keys and shapes.
        largest_side: Singular values are left out where the shorter side of the matrix is longer.

    Raises:
        WeightsDoNotFit: keys or shapes differ.
        NonFinite: an entry is NaN or infinite.

    Note:
        Not an estimate: there is no interval. A (m, d) matrix that changed costs m d min(m, d) multiplications.

    References:
        Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """
    if odd := set(before) ^ set(after):
        raise WeightsDoNotFit(f"only one of them has {sorted(odd)}")
    found = []
    for name, old in before.items():
        new = after[name]
        if old.shape != new.shape:
            raise WeightsDoNotFit(f"'{name}' is {tuple(old.shape)} and {tuple(new.shape)}")
        if old.is_floating_point():
            found.append(_edit(name, _double(old, name), _double(new, name), largest_side))
    return tuple(found)


def _edit(name: str, old: Tensor, new: Tensor, largest_side: int) -> Edit:
    change = new - old
    size, base = float(change.norm()), float(old.norm())
    relative = size / base if base > 0 else (0.0 if size == 0 else None)
    spectral, rank = _spectrum(change.flatten(1) if change.ndim > 1 else change.reshape(-1, 1), largest_side)
    return Edit(name, tuple(old.shape), relative, spectral, rank, int((change != 0).sum()))


def _spectrum(change: Tensor, largest_side: int) -> tuple[float | None, float | None]:
    if not change.any():
        return 0.0, 0.0
    if min(change.shape) > largest_side:
        return None, None
    # The smaller Gram matrix: much faster than the singular values, and the squared rounding stays below float32's.
    gram = change @ change.T if change.shape[0] <= change.shape[1] else change.T @ change
    values = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    top = float(values.max())
    shares = values[values > 1e-7 * top]
    shares = shares / shares.sum()
    return top, math.exp(-float(torch.xlogy(shares, shares).sum()))


def _double(tensor: Tensor, name: str) -> Tensor:
    return checked_finite(tensor.detach().cpu().double(), f"'{name}'")
