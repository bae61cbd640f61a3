"""What can still be read from the features: a fresh linear probe, and class centres made from a few images.

Forget accuracy looks at the outputs alone; these ask whether the class is still there, one step before. A retrained
model is not blank here either (it sorts unseen classes by what it learned from the others), so the right target is a
retrained model's value, never chance.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from unlearning.checks import checked_count, checked_finite, checked_labels
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.accuracy import wilson_interval
from unlearning.evaluation.measure import Measure

Labels = Iterable[int] | NDArray[Any] | Tensor
PROBE_L2 = 5e-3
SHOTS = (1, 5, 10, 50)
_Z95 = 1.959963984540054


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
    features: Tensor, labels: Labels, *, num_classes: int, l2: float = PROBE_L2, max_iterations: int = 1000
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

    Raises:
        ShapeError: features and labels do not fit.
        OptionOutOfRange: l2 is not above 0.

    Note:
        Float64; n p K multiplications per iteration.
    """
    x, y = _paired(features, labels, num_classes)
    if not (math.isfinite(l2) and l2 > 0):
        raise OptionOutOfRange("l2", "a finite number above 0", l2)
    checked_count("max_iterations", max_iterations)
    mean, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    z = (x - mean) / scale
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
        loss = functional.cross_entropy(functional.linear(z, weight, bias), y) + l2 / 2 * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimiser.step(objective)
    return LinearProbe(weight.detach(), bias.detach(), mean, scale)


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
    _, y = _paired(features, labels, len(probe.bias))
    return share_measure(probe.logits(features).argmax(dim=1) == y, name)


def share_measure(right: Tensor, name: str, seed: int | None = None) -> Measure:
    """Return the share of hits among the forgotten classes' samples, bool (n,), with Wilson's interval."""
    hits, n = int(right.sum()), len(right)
    return Measure(name, hits / n, *wilson_interval(hits, n), n, seed, "lower")


def mean_over_draws(name: str, accuracies: Sequence[float], n: int, seed: int) -> Measure:
    """Return the mean of accuracies on the same n samples, one for each random choice of the attack.

    The interval adds the spread of the choices (normal, of their mean) to Wilson's interval of the samples; after a
    single choice it is Wilson's alone.
    """
    mean = float(np.mean(accuracies))
    spread = _Z95 * float(np.std(accuracies, ddof=1)) / math.sqrt(len(accuracies)) if len(accuracies) > 1 else 0.0
    low, high = wilson_interval(round(mean * n), n)
    below, above = math.hypot(max(0.0, mean - low), spread), math.hypot(max(0.0, high - mean), spread)
    return Measure(name, mean, max(0.0, mean - below), min(1.0, mean + above), n, seed, "lower")


def few_shot(
    train: tuple[Tensor, Labels],
    test: tuple[Tensor, Labels],
    classes: Collection[int],
    *,
    shots: Sequence[int] = SHOTS,
    draws: int = 20,
    seed: int,
    prefix: str = "",
) -> tuple[Measure, ...]:
    """Return how much of the forgotten classes comes back from k images each, for every k in `shots`.

    Nearest class centre by cosine: a retained class's centre is the mean of all its training features, a forgotten
    class's that of k random ones, and a test sample belongs to the centre at the smallest angle. No training, no
    labels but k per class: the cheapest way back.

    Args:
        train: Features (n, p) and classes of training samples of all classes.
        test: The same of test samples of the forgotten classes.
        classes: The forgotten classes; each class needs training samples.
        shots: Numbers of images; those that some forgotten class cannot fill are left out.
        draws: Random choices of the k images that are averaged: a single one of 5 images varies by points.
        seed: Seed of the choices.
        prefix: Before the names.

    Returns:
        Measures `<prefix>few_shot_<k>_forget_accuracy`: the mean accuracy over draws. The interval adds the spread of
        the draws to Wilson's interval of the test samples.

    Raises:
        EmptySide: there are no retained, forgotten or test samples.
        ShapeError: features and labels do not fit.
    """
    x, y = _paired(*train, None)
    x_test, y_test = _paired(*test, None)
    wanted = sorted({int(index) for index in classes})
    pools = [torch.nonzero(y == index).flatten() for index in wanted]
    kept = sorted(set(y.tolist()) - set(wanted))
    if not kept:
        raise EmptySide("retain")
    if not all(len(pool) for pool in pools):
        raise EmptySide("forget")
    centres = torch.stack([x[y == index].mean(dim=0) for index in kept])
    judged, owners = functional.normalize(x_test, dim=1), torch.tensor([*kept, *wanted])
    best_kept = (judged @ functional.normalize(centres, dim=1).T).amax(dim=1)
    checked_count("draws", draws)
    generator = torch.Generator().manual_seed(seed)
    measures = []
    for k in shots:
        checked_count("a number of shots", k)
        if k > min(len(pool) for pool in pools):
            continue
        accuracies = []
        for _ in range(draws):
            picked = [pool[torch.randperm(len(pool), generator=generator)[:k]] for pool in pools]
            drawn = torch.stack([x[pick].mean(dim=0) for pick in picked])
            cosine, place = (judged @ functional.normalize(drawn, dim=1).T).max(dim=1)
            right = (cosine > best_kept) & (owners[len(kept) :][place] == y_test)
            accuracies.append(float(right.double().mean()))
        measures.append(mean_over_draws(f"{prefix}few_shot_{k}_forget_accuracy", accuracies, len(y_test), seed))
    return tuple(measures)


def _paired(features: Tensor, labels: Labels, num_classes: int | None) -> tuple[Tensor, Tensor]:
    """Return features in float64 and their classes, both on the CPU."""
    vector = torch.from_numpy(checked_labels(labels, num_classes))
    if features.ndim != 2 or len(features) != len(vector):
        raise ShapeError("features", f"({len(vector)}, p)", features.shape)
    return checked_finite(features.detach().cpu().double(), "the features to probe"), vector
