"""Ridge regression towards old weights, in whichever form is smaller."""

from __future__ import annotations

import torch
from torch import Tensor

from unlearning.arithmetic import full_precision, swift_products
from unlearning.errors import NonFinite, ShapeError
from unlearning.patches import Columns
from unlearning.symmetric import BlockSymmetric, evened


class RidgeFit:
    """The matrix that maps inputs to targets best, without leaving the old one further than it must.

        W' = argmin_V  sum_i a_i ||V x_i - t_i||^2 + e ||V - W||^2,   e = ridge mean_k sum_i a_i x_ik^2
           = W + (T - W X^T) D X (X^T D X + e I)^-1            D = diag(a)

    The sums are additive over rows, which may come in any order and are not kept. Products are made in the weight's
    precision, the factorisation in float64: unlike the projection's systems, this one may have a
    condition number near 1 / ridge times the width.

    Args:
        weight: W, (groups, m, d), float32 or float64.
        ridge: Above 0.

    Note:
        n d^2 + 4 m n d operations per group for n rows, less where columns are left out, and d^3 / 3 + 2 m d^2.
    """

    def __init__(self, weight: Tensor, ridge: float) -> None:
        groups, m, d = weight.shape
        self._weight, self._ridge = weight, ridge
        self._gram = BlockSymmetric.zeros(d, groups, dtype=weight.dtype, device=weight.device)
        self._missing = weight.new_zeros(groups, d, m)

    @full_precision()
    @swift_products()
    def add(self, inputs: Tensor, targets: Tensor, importance: Tensor, columns: Columns | None = None) -> None:
        """Add rows.

        Args:
            inputs: X, (n, groups, width).
            targets: T, (n, groups, m).
            importance: a, (n,), above 0.
            columns: Runs of columns that `inputs` has, the others being zero; None for all d.
        """
        runs = ((0, self._weight.shape[2]),) if columns is None else columns
        if not runs:
            return  # rows of zeros
        old = self._weight if columns is None else torch.cat([self._weight[..., slice(*run)] for run in runs], dim=2)
        root = evened(importance.to(old).sqrt()[None, :, None])
        x = evened(inputs.transpose(0, 1).to(old.dtype))
        missing = (evened(targets.transpose(0, 1)) - x @ old.mT) * root
        x = x * root
        self._gram.add_product(x, columns)
        product, done = x.mT @ missing, 0
        for start, stop in runs:
            self._missing[:, start:stop] += product[:, done : done + stop - start]
            done += stop - start

    @full_precision()
    @swift_products()
    def solved(self) -> Tensor:
        """Return W', (groups, m, d), in the dtype of W. Equal to W where a group's inputs are all zero.

        Raises:
            NonFinite: the input was not finite.
        """
        squares = self._gram.diagonal().sum(dim=1, keepdim=True)
        strength = _strength(self._ridge * squares / self._weight.shape[2])
        return _finite(self._weight + _solved(self._gram.dense(), self._missing, strength).mT)


@full_precision()
@swift_products()
def refitted(weight: Tensor, inputs: Tensor, targets: Tensor, importance: Tensor, ridge: float) -> Tensor:
    """Return the result of `RidgeFit` for rows that are all at hand, in whichever form is smaller.

           W + (T - W X^T) (X X^T + e D^-1)^-1 X               used when n < d: n equations instead of d

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
        Operations as in `RidgeFit`, with n and d exchanged in the second form.

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
    old = weight.to(inputs.dtype)
    if n >= d:
        fit = RidgeFit(old, ridge)
        fit.add(inputs, targets, importance)
        return fit.solved()
    root = importance.to(inputs).sqrt()[None, :, None]
    x = inputs.transpose(0, 1)
    x, missing = x * root, (targets.transpose(0, 1) - x @ old.mT) * root
    products = BlockSymmetric.zeros(n, groups, dtype=x.dtype, device=x.device)
    products.add_product(x.mT)
    strength = _strength(ridge * x.square().sum(dim=(1, 2))[:, None] / d)
    return _finite(old + _solved(products.dense(), missing, strength).mT @ x)


def _strength(wanted: Tensor) -> Tensor:
    # A group of dead channels has nothing to fit: any positive number keeps its system solvable.
    return torch.where(wanted > 0, wanted, torch.ones_like(wanted))


def _finite(matrix: Tensor) -> Tensor:
    if not bool(torch.isfinite(matrix).all()):
        raise NonFinite("a least-squares fit")
    return matrix


def _solved(a: Tensor, b: Tensor, strength: Tensor) -> Tensor:
    """Return (a + strength I)^-1 b for positive semi-definite matrices."""
    a = a.double()
    a.diagonal(dim1=-2, dim2=-1).add_(strength.double())
    factor, info = torch.linalg.cholesky_ex(a)
    if bool(info.any()):
        raise NonFinite("a least-squares fit (its Cholesky factor does not exist)")
    solved: Tensor = torch.cholesky_solve(b.double(), factor).to(b.dtype)
    return solved
