"""The update of one layer: what is discriminative for the forget class alone is taken out of the weight.

    C      = X^T X / trace(X^T X)                  per side, trace 1
    M(a)   = a C ((a - 1) C + I)^-1                soft projection onto the directions that matter, 0 <= M <= I
    W'     = W - W (I - M_r) M_f

No SVD is taken, M is never formed, and (I - M_r) M_f only where m > 2 d (see `project`). With A(a) = (a - 1) C + I,
all of whose eigenvalues lie between 1 and a (which makes float32 safe),

    W M(a) = a (W C) A^-1                              one product, one factorisation, m right-hand sides
           = a / (a - 1) (W - W A^-1)                  the same without the product; loses digits when a is small
           = a (W X^T) (tr I + (a - 1) X X^T)^-1 X     the same from n < d rows, tr = trace(X^T X)

so that each side takes whichever form its statistics have.
"""

from __future__ import annotations

import torch
from torch import Tensor

from unlearning.arithmetic import full_precision
from unlearning.checks import checked_alpha
from unlearning.errors import NonFinite, ShapeError, StatisticsMismatch
from unlearning.inventory import Layer
from unlearning.statistics import SecondMoment
from unlearning.symmetric import BlockSymmetric, Factor

# From here on W - W A^-1 is as accurate as W C A^-1. Both lose digits to the condition number of A, at most alpha; the
# difference also loses those that W and W A^-1 share, which are many when alpha is small (at alpha = 3, a whole digit).
_LARGE_ALPHA = 10.0


class SoftProjection:
    """W -> W M(alpha) for one side and one alpha; the factorisation is done once, here.

    Raises:
        NonFinite: it failed, because the moment is not finite or not a second moment.

    Note:
        1/3 d^3 operations here and 2 m d^2 (4 for a small alpha) for each product from sums; n^2 d + 1/3 n^3 here and
        4 m n d + 2 m n^2 for each product from n rows. Memory: half a (d, d) matrix, or half an (n, n) one.
    """

    def __init__(self, moment: SecondMoment, alpha: float) -> None:
        self._alpha = alpha
        self._held = moment.held
        self._scale = moment.inverse_trace
        # At alpha = 1, M is C itself.
        self._factor = None if alpha == 1 else Factor(_smaller(moment).scaled((alpha - 1) * self._scale, 1.0))

    def right_product(self, w: Tensor) -> Tensor:
        """Return W M, (groups, m, d), in the dtype of `w`, which must be that of the moment."""
        if isinstance(self._held, Tensor) or self._alpha < _LARGE_ALPHA:
            return self.completed(first_product(w, self._held))
        solved = self._solved(w)
        return torch.sub(w, solved, out=solved).mul_(self._alpha / (self._alpha - 1))

    def completed(self, product: Tensor) -> Tensor:
        """Return W M from `first_product` of W: what is left to do once per alpha."""
        solved = self._solved(product)
        if isinstance(self._held, Tensor):
            solved = solved @ self._held
        return solved * (self._alpha * self._scale).to(solved.dtype)[:, None, None]

    def _solved(self, w: Tensor) -> Tensor:
        return w if self._factor is None else self._factor.right_solve(w)


def first_product(w: Tensor, held: BlockSymmetric | Tensor) -> Tensor:
    """Return W X^T X, (groups, m, d), or W X^T, (groups, m, n): the part of W M that no alpha changes."""
    return w @ held.mT if isinstance(held, Tensor) else held.right_product(w)


def _smaller(moment: SecondMoment) -> BlockSymmetric:
    """Return X^T X, or X X^T when rows are held."""
    if not isinstance(moment.held, Tensor):
        return moment.held
    rows = moment.held
    products = BlockSymmetric.zeros(rows.shape[1], len(rows), dtype=rows.dtype, device=rows.device)
    products.add_product(rows.mT)
    return products


@full_precision()
def project(weight: Tensor, retain: SecondMoment, forget: SecondMoment, alpha_r: float, alpha_f: float) -> Tensor:
    """Return W - W (I - M_r(alpha_r)) M_f(alpha_f): as accurate as by SVD in the same precision, many times faster.

    Args:
        weight: (groups, m, d), floating point; groups are independent problems.
        retain: The retain side's second moment.
        forget: The forget side's.
        alpha_r: Strength with which retained directions are kept; above 0.
        alpha_f: Strength with which the forget side's directions are removed; above 0.

    Returns:
        (groups, m, d) in the dtype of the moments, on their device. Equal to `weight` where the forget side is zero.

    Raises:
        ShapeError: the shapes do not fit each other.

    Note:
        2/3 d^3 + 4 to 8 m d^2 operations from sums; with m > 2 d the operator is applied to the identity instead, and
        then to the weight, for 14/3 to 26/3 d^3 + 2 m d^2 (never from rows, where no (d, d) matrix is made). Finiteness
        of the input is checked at collection, not here; a factorisation that fails raises `NonFinite`.

    References:
        Kodge, Saha, Roy, "Deep Unlearning: Fast and Efficient Gradient-free Approach to Class Forgetting", TMLR 2024.

    Example:
        >>> import torch
        >>> retain = SecondMoment.of(torch.diag(torch.tensor([1.0, 0.0]))[None], rows=1)
        >>> forget = SecondMoment.of(torch.diag(torch.tensor([0.5, 0.5]))[None], rows=2)
        >>> project(torch.ones(1, 1, 2), retain, forget, alpha_r=100.0, alpha_f=3.0)
        tensor([[[1.0000, 0.2500]]])
    """
    checked_alpha("alpha_r", alpha_r)
    checked_alpha("alpha_f", alpha_f)
    if weight.ndim != 3:
        raise ShapeError("the weight", "(groups, m, d)", weight.shape)
    d = weight.shape[-1]
    for side, moment in (("retain", retain), ("forget", forget)):
        if (moment.groups, moment.d) != (len(weight), d):
            shape = (moment.groups, moment.d, moment.d)
            raise ShapeError(f"the {side} side's second moment", f"({weight.shape[0]}, {d}, {d})", shape)
    w = weight.to(retain.dtype)
    if w.shape[1] > 2 * d and not (isinstance(retain.held, Tensor) or isinstance(forget.held, Tensor)):
        identity = torch.eye(d, dtype=w.dtype, device=w.device).expand(len(w), d, d)
        return torch.baddbmm(w, w, _removed(identity, retain, forget, alpha_r, alpha_f), alpha=-1)
    removed = _removed(w, retain, forget, alpha_r, alpha_f)
    return torch.sub(w, removed, out=removed)


def _removed(w: Tensor, retain: SecondMoment, forget: SecondMoment, alpha_r: float, alpha_f: float) -> Tensor:
    """Return W (I - M_r) M_f; the first factor is gone before the second is made."""
    discriminative = _discriminative(w, retain, alpha_r)
    return SoftProjection(forget, alpha_f).right_product(discriminative)


def _discriminative(w: Tensor, retain: SecondMoment, alpha_r: float) -> Tensor:
    kept = SoftProjection(retain, alpha_r).right_product(w)
    return torch.sub(w, kept, out=kept)


class LayerUpdate:
    """The update of one layer for many pairs of alphas: the numbers of `project`, each half computed once.

    W (I - M_r) C_f depends on alpha_r alone and the factor of A_f on alpha_f alone, so a grid of k x k pairs costs 2 k
    factorisations and k^2 solves. An eigendecomposition would save factorisations, but it costs as much as dozens of
    them, and a product per pair, which costs as much as a solve, would remain.

    All W (I - M_r) C_f are kept (one weight each), but only the factor of the last alpha_f, which is half a moment.
    """

    def __init__(self, layer: Layer, rows: Tensor, retain: SecondMoment, forget: SecondMoment) -> None:
        if not retain.d == forget.d == layer.d:
            sizes = f"'{layer.weight}' has d = {layer.d}, retain {retain.d}, forget {forget.d}"
            raise StatisticsMismatch(sizes)
        if tuple(rows.shape) != layer.shape:
            raise ShapeError(f"the rows of '{layer.weight}'", str(layer.shape), rows.shape)
        self.layer = layer
        self._rows = rows.detach()
        self._retain, self._forget = retain, forget
        self._first: dict[float, Tensor] = {}
        self._projection: tuple[float, SoftProjection] | None = None

    def once(self, alpha_r: float, alpha_f: float) -> Tensor:
        """Return the new rows (groups, m / groups, d) for one pair, in the dtype of the old ones; nothing is kept.

        Raises:
            NonFinite: the result is not finite; the layer is named.
        """
        return self._checked(project(self._rows, self._retain, self._forget, alpha_r, alpha_f))

    @full_precision()
    def at(self, alpha_r: float, alpha_f: float) -> Tensor:
        """Return the same for one of many pairs; cheapest when consecutive calls share `alpha_f`.

        Raises:
            NonFinite: the result is not finite; the layer is named.
        """
        checked_alpha("alpha_r", alpha_r)
        projection = self._projection_at(checked_alpha("alpha_f", alpha_f))
        w = self._rows.to(self._retain.dtype)
        if alpha_r not in self._first:
            self._first[alpha_r] = first_product(_discriminative(w, self._retain, alpha_r), self._forget.held)
        removed = projection.completed(self._first[alpha_r])
        return self._checked(torch.sub(w, removed, out=removed))

    def _projection_at(self, alpha_f: float) -> SoftProjection:
        if self._projection is None or self._projection[0] != alpha_f:
            self._projection = None  # first, so that there are never two
            self._projection = (alpha_f, SoftProjection(self._forget, alpha_f))
        return self._projection[1]

    def _checked(self, rows: Tensor) -> Tensor:
        if not bool(torch.isfinite(rows).all()):
            raise NonFinite(f"the update of '{self.layer.weight}'")
        return rows.to(self._rows.dtype)
