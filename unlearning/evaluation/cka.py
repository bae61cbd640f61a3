"""Are two networks' features the same up to rotation? Centred kernel alignment, stage by stage.

CKA near 1 on retained samples says that nothing but the deletion changed; on forgotten samples an unlearned model
should be about as far from the original as a retrained one is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.checks import checked_count, checked_finite
from unlearning.errors import NonFinite, OptionOutOfRange, ShapeError, UnknownLayer
from unlearning.evaluation.intervals import Z95
from unlearning.evaluation.measure import Direction, Measure

MAX_SAMPLES = 2000
_FEWEST = 5


def linear_cka(
    features: Tensor,
    other: Tensor,
    *,
    name: str = "cka",
    direction: Direction = "two-sided",
    max_samples: int = MAX_SAMPLES,
    seed: int,
) -> Measure:
    """Return the debiased linear CKA of two networks' features of the same samples, with a jackknife interval.

    CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)), each HSIC by its unbiased estimator, for K = X X' and L = Y Y'
    with their diagonals set to zero:

        HSIC = [tr(K L) + (1' K 1)(1' L 1) / ((n - 1)(n - 2)) - 2 (1' K L 1) / (n - 2)] / (n (n - 3))

    The plain estimator is biased upwards, the more so the fewer samples there are per feature: unrelated features of
    512 dimensions on 100 samples have a plain CKA above 0.8. The unbiased one may fall below 0.

    Args:
        features: (n, p), of the model that is judged; see `trace`.
        other: (n, q), of the other model, for the same samples in the same order.
        name: Name of the measure.
        direction: Which direction is good.
        max_samples: Most samples; a seeded choice if there are more.
        seed: Of that choice.

    Returns:
        At most 1, and exactly that for features which are rotated, shifted or scaled copies; 95 % interval from the
        leave-one-out values.

    Raises:
        ShapeError: the two do not hold the same samples.
        OptionOutOfRange: fewer than five samples.
        NonFinite: features of one side do not vary, or are not finite.

    Note:
        n p q or n^2 (p + q) multiplications, whichever is less; the jackknife costs the same again, not n times that.

    References:
        Kornblith et al., "Similarity of neural network representations revisited", ICML 2019; Song et al., "Feature
        selection via dependence maximization", JMLR 13, 2012 (the estimator); Nguyen, Raghu, Kornblith, "Do wide and
        deep networks learn the same things?", ICLR 2021 (its use for CKA).
    """
    if features.ndim != 2 or other.ndim != 2 or len(features) != len(other):
        raise ShapeError("features of the same samples", f"({len(other)}, p)", features.shape)
    n = min(len(features), checked_count("max_samples", max_samples))
    if n < _FEWEST:
        raise OptionOutOfRange("the number of samples", f"at least {_FEWEST}", n)
    chosen = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))[:n].sort().values
    x, y = (_centred(side, chosen) for side in (features, other))
    shared, own_x, own_y = _Hsic.of(x, y), _Hsic.of(x, x), _Hsic.of(y, y)
    value = _ratio(shared.value, own_x.value, own_y.value)
    left_out = _ratio(shared.left_out, own_x.left_out, own_y.left_out)
    half = Z95 * math.sqrt((n - 1) * float(left_out.var(correction=0)))
    centre = float(checked_finite(value, "the CKA of features that do not vary"))
    checked_finite(left_out, "the CKA of features that do not vary")
    return Measure(name, centre, max(-1.0, centre - half), min(1.0, centre + half), n, seed, direction)


def cka_measures(
    features: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    *,
    name: str,
    direction: Direction = "higher",
    max_samples: int = MAX_SAMPLES,
    seed: int,
) -> tuple[Measure, ...]:
    """Return `<name>_at_<stage>` for every stage, in the order of `features`.

    Args:
        features: By stage, (n, p); `Trace.features` of the model that is judged.
        other: The same of the retrained or of the original model.
        name: Begins the names: say what is compared, on which samples.
        direction: Which direction is good.
        max_samples: Most samples.
        seed: Of their choice.

    Raises:
        UnknownLayer: the other model was not traced at a stage.
    """
    if missing := set(features) - set(other):
        raise UnknownLayer(missing, other)
    return tuple(
        linear_cka(x, other[stage], name=f"{name}_at_{stage}", direction=direction, max_samples=max_samples, seed=seed)
        for stage, x in features.items()
    )


@dataclass(frozen=True)
class _Hsic:
    """The unbiased estimate from all samples, and without each of them."""

    value: Tensor
    left_out: Tensor

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> _Hsic:
        """From the sums of both kernels without diagonals, which lose one row and one column with a sample."""
        n = len(x)
        on_k, on_l = (side.square().sum(dim=1) for side in (x, y))  # the diagonals
        r, s = (side @ side.sum(dim=0) - diagonal for side, diagonal in ((x, on_k), (y, on_l)))
        products = _products(x, y) - on_k * on_l
        across = (y @ (y.T @ r) - on_l * r) + (x @ (x.T @ s) - on_k * s)
        total_k, total_l, trace, chained = r.sum(), s.sum(), products.sum(), (r * s).sum()
        left_chained = chained - across + products - r * s
        return cls(
            _unbiased(trace, total_k, total_l, chained, n),
            _unbiased(trace - 2 * products, total_k - 2 * r, total_l - 2 * s, left_chained, n - 1),
        )


def _products(x: Tensor, y: Tensor) -> Tensor:
    """Return (n,): row sums of (X X') * (Y Y'), in the cheaper order."""
    n, p, q = len(x), x.shape[1], y.shape[1]
    if p * q <= n * (p + q):
        return ((x @ (x.T @ y)) * y).sum(dim=1)
    return ((x @ x.T) * (y @ y.T)).sum(dim=1)


def _unbiased(trace: Tensor, total_k: Tensor, total_l: Tensor, chained: Tensor, n: int) -> Tensor:
    return (trace + total_k * total_l / ((n - 1) * (n - 2)) - 2 * chained / (n - 2)) / (n * (n - 3))


def _ratio(shared: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Return the alignment; NaN where a side has no variance beyond chance."""
    return (shared / (own.clamp(min=0) * other.clamp(min=0)).sqrt()).clamp(max=1.0)


def _centred(features: Tensor, chosen: Tensor) -> Tensor:
    """Return float64 features around their mean and of unit size, which the estimate ignores and rounding does not."""
    x = checked_finite(features.detach().cpu().double(), "the features to compare")[chosen]
    x = x - x.mean(dim=0)
    size = x.norm()
    if size == 0:
        raise NonFinite("the CKA of features that do not vary")
    scaled: Tensor = x / size
    return scaled
