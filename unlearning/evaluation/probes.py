"""What can still be read from the features: a fresh linear probe.

Forget accuracy looks at the outputs alone; this asks whether the class is still there, one step before or earlier. A
retrained model is not blank here either (it sorts unseen classes by what it learned from the others), so the right
target is a retrained model's value, never chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unlearning.checks import checked_count, checked_finite, checked_labels
from unlearning.errors import OptionOutOfRange, ShapeError
from unlearning.evaluation.measure import Measure
from unlearning.evaluation.outcomes import share_measure

Labels = Iterable[int] | NDArray[Any] | Tensor
PROBE_L2 = 5e-3


@dataclass(frozen=True)
class LinearProbe:
    """A fitted multinomial logistic regression on standardised features.

    Attributes:
        weight: (K, p) float64, for features (x - mean) / scale.
        bias: (K,) float64.
        mean: (p,) of the training features.
        scale: (p,) their standard deviations; 1 where a feature is constant.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    scale: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Return the probe's outputs (n, K) for features (n, p)."""
        return functional.linear((features.double() - self.mean) / self.scale, self.weight, self.bias)


def fit_probe(
    features: Tensor,
    labels: Labels,
    *,
    num_classes: int,
    l2: float = PROBE_L2,
    max_iterations: int = 1000,
    weights: Tensor | None = None,
) -> LinearProbe:
    """Fit a linear head on frozen features to convergence: nothing in it depends on a seed or a learning rate.

    minimise  mean_i cross_entropy(W z_i + b, y_i) + l2 / 2 ||W||^2,   z = (x - mean) / std per feature

    The features are standardised first, because an edit may shrink them, and a penalty on the raw weights would call
    that forgetting. The objective is strictly convex in W, so the probe is unique up to a constant added to b.

    Args:
        features: (n, p), of all classes, the forgotten ones among them.
        labels: Their classes (n,).
        num_classes: K.
        l2: Strength of the penalty, above 0; 1 / (C n) in scikit-learn's terms.
        max_iterations: Most L-BFGS iterations; a few hundred are enough for thousands of samples.
        weights: How much each sample counts (n,), 0 or more; None for all alike.

    Raises:
        ShapeError: features, labels and weights do not fit.
        OptionOutOfRange: l2 is not above 0.

    Note:
        Float64; n K min(n, p) multiplications per iteration: with more features than samples the rows of W are sought
        among the samples' combinations, where the optimum lies (representer theorem).
    """
    x, y = labelled_features(features, labels, num_classes)
    if not (math.isfinite(l2) and l2 > 0):
        raise OptionOutOfRange("l2", "a finite number above 0", l2)
    checked_count("max_iterations", max_iterations)
    mean, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    z = (x - mean) / scale
    if z.shape[1] <= len(z):
        weight, bias = _optimum(z, y, num_classes, l2, max_iterations, weights)
    else:
        basis = torch.linalg.qr(z.T).Q
        weight, bias = _optimum(z @ basis, y, num_classes, l2, max_iterations, weights)
        weight = weight @ basis.T
    return LinearProbe(weight, bias, mean, scale)


def _optimum(
    z: Tensor, y: Tensor, num_classes: int, l2: float, max_iterations: int, weights: Tensor | None
) -> tuple[Tensor, Tensor]:
    if weights is not None and weights.shape != y.shape:
        raise ShapeError("weights", f"({len(y)},)", weights.shape)
    shares = (torch.ones(len(y)) if weights is None else weights).double()
    shares = shares / shares.sum()
    weight = torch.zeros(num_classes, z.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [weight, bias],
        max_iter=max_iterations,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimiser.zero_grad()
        losses = functional.cross_entropy(functional.linear(z, weight, bias), y, reduction="none")
        loss = shares @ losses + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(objective)
    return weight.detach(), bias.detach()


def probe_accuracy(
    probe: LinearProbe, features: Tensor, labels: Labels, *, name: str = "probe_forget_accuracy"
) -> Measure:
    """Return the share of samples that the probe puts into their class, with Wilson's interval.

    Args:
        probe: Fitted on training features of the same model.
        features: (n, p); of the forgotten classes' test samples, normally.
        labels: Their classes.
        name: Name of the measure.
    """
    _, y = labelled_features(features, labels, len(probe.bias))
    return share_measure(probe.logits(features).argmax(dim=1) == y, name)


def labelled_features(features: Tensor, labels: Labels, num_classes: int | None) -> tuple[Tensor, Tensor]:
    """Return features (n, p) in float64 and their classes (n,), both on the CPU.

    Raises:
        ShapeError: features and labels do not fit.
    """
    vector = torch.from_numpy(checked_labels(labels, num_classes))
    if features.ndim != 2 or len(features) != len(vector):
        raise ShapeError("features", f"({len(vector)}, p)", features.shape)
    return checked_finite(features.detach().cpu().double(), "the features to probe"), vector
