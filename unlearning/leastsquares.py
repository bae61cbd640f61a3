"""Ridge regression towards old weights, in whichever form is smaller."""

from __future__ import annotations

import torch
from torch import Tensor

from unlearning.arithmetic import full_precision, swift_products
from unlearning.errors import NonFinite, ShapeError
from unlearning.symmetric import BlockSymmetric


@full_precision()
@swift_products()
def refitted(weight: Tensor, inputs: Tensor, targets: Tensor, importance: Tensor, ridge: float) -> Tensor:
    """Return the matrix that maps inputs to targets best, without leaving the old one further than it must.

        W' = argmin_V  sum_i a_i ||V x_i - t_i||^2 + e ||V - W||^2,   e = ridge mean_k sum_i a_i x_ik^2
           = W + (T - W X^T) D X (X^T D X + e I)^-1            D = diag(a)
           = W + (T - W X^T) (X X^T + e D^-1)^-1 X             used when n < d: n equations instead of d

    Products are made in the inputs' precision, the factorisation in float64: unlike the projection's systems, this one
    may have a condition number near 1 / ridge times the width.

    Args:
        weight: (groups, m, d), the old matrices.
        inputs: (n, groups, d), rows.
        targets: (n, groups, m).
        importance: (n,), the rows' weights, above 0.
        ridge: Above 0.

    Returns:
        (groups, m, d) in the dtype of `inputs`. Equal to `weight` where a group's inputs are all zero.

    Raises:
        ShapeError: the shapes do not fit each other.
        NonFinite: the input was not finite.

    Note:
        n d^2 + d^3 / 3 + 2 m d^2 operations per group, with n and d exchanged in the second form.

    Example:
        >>> import torch
        >>> x = torch.eye(2).unsqueeze(1)
        >>> refitted(torch.zeros(1, 1, 2), x, torch.tensor([[[1.0]], [[2.0]]]), torch.ones(2), ridge=1e-6)
        tensor([[[1.0000, 2.0000]]])
    """
    n, groups, d = inputs.shape
    m = weight.shape[1]
    if weight.shape != (groups, m, d) or targets.shape != (n, groups, m):
        raise ShapeError("targets and weight", f"({n}, {groups}, m) and ({groups}, m, {d})", targets.shape)
    x, old = inputs.transpose(0, 1), weight.to(inputs.dtype)
    root = importance.to(x).sqrt()[None, :, None]
    x, missing = x * root, (targets.transpose(0, 1) - x @ old.mT) * root
    strength = (ridge * x.square().sum(dim=(1, 2)) / d)[:, None]
    # A group of dead channels has nothing to fit: any positive number keeps its system solvable.
    strength = torch.where(strength > 0, strength, torch.ones_like(strength))
    dual = n < d
    solved = _solved(_gram(x.mT), missing, strength) if dual else _solved(_gram(x), x.mT @ missing, strength)
    new = old + (solved.mT @ x if dual else solved.mT)
    if not bool(torch.isfinite(new).all()):
        raise NonFinite("a least-squares fit")
    return new


def _gram(x: Tensor) -> Tensor:
    """Return X^T X of (groups, n, d)."""
    gram = BlockSymmetric.zeros(x.shape[-1], len(x), dtype=x.dtype, device=x.device)
    gram.add_product(x)
    return gram.dense()


def _solved(a: Tensor, b: Tensor, strength: Tensor) -> Tensor:
    """Return (a + strength I)^-1 b for positive semi-definite matrices."""
    a = a.double()
    a.diagonal(dim1=-2, dim2=-1).add_(strength.double())
    factor, info = torch.linalg.cholesky_ex(a)
    if bool(info.any()):
        raise NonFinite("a least-squares fit (its Cholesky factor does not exist)")
    solved: Tensor = torch.cholesky_solve(b.double(), factor).to(b.dtype)
    return solved
