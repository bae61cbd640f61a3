"""The original's last layer put back, after the new features were turned to where the old ones pointed.

An old layer finds nothing on features that were only rotated, permuted or slightly moved, although all they knew is
still in them. A linear map from the new features to the old ones takes that away. It is fitted on retained samples
alone, so the map learns nothing about the forgotten classes: what comes back with it was in the features.

A model that was retrained without the classes has features of its own. A linear map brings them to the old ones for the
classes that both have learned, and hardly for the others.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearning.checks import checked_finite
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation.controls import last_layer, last_layer_back

RIDGE = 1e-2


@dataclass(frozen=True)
class Alignment:
    """A linear map between the features of two models: x -> (x - mean) weight + target.

    Attributes:
        weight: (p, q) float64.
        mean: (p,) of the features it takes.
        target: (q,) of those it leads to.
    """

    weight: Tensor
    mean: Tensor
    target: Tensor


def fit_alignment(features: Tensor, wanted: Tensor, *, ridge: float = RIDGE) -> Alignment:
    """Fit the map that leads from one model's features to another's, for the same samples.

    minimise  ||(X - mean) W - (Y - mean)||^2 + ridge v ||W||^2,   v: the mean over features of the sum of squares of X

    The penalty is relative, because an edit may shrink features and a fixed one would call that forgetting. Without it
    a few hundred samples would be matched exactly, and nothing could be told about others.

    Args:
        features: X (n, p), of the model that is judged, on retained samples.
        wanted: Y (n, q), of the original on the same samples.
        ridge: Strength of the penalty, above 0.

    Raises:
        EmptySide: there are no samples.
        ShapeError: the two do not hold the same samples.
        OptionOutOfRange: the penalty is not above 0.
        NonFinite: a feature is NaN or infinite, or none of them varies.

    Note:
        n p min(n, p) multiplications: with more features than samples the dual problem is solved.
    """
    if features.ndim != 2 or wanted.ndim != 2 or len(features) != len(wanted):
        raise ShapeError("features of the same samples", f"({len(wanted)}, p)", features.shape)
    if not len(features):
        raise EmptySide("retain")
    if not ridge > 0:
        raise OptionOutOfRange("ridge", "above 0", ridge)
    x, y = (checked_finite(side.detach().cpu().double(), "the features to align") for side in (features, wanted))
    mean, target = x.mean(dim=0), y.mean(dim=0)
    x, y = x - mean, y - target
    n, p = x.shape
    penalty = ridge * x.square().sum() / p
    if p <= n:
        weight = torch.linalg.solve(x.T @ x + penalty * torch.eye(p, dtype=x.dtype), x.T @ y)
    else:
        weight = x.T @ torch.linalg.solve(x @ x.T + penalty * torch.eye(n, dtype=x.dtype), y)
    return Alignment(checked_finite(weight, "the map between features that do not vary"), mean, target)


def aligned_layer_back(unlearned: nn.Module, original: nn.Module, alignment: Alignment, example: Tensor) -> nn.Module:
    """Return a copy of `unlearned` whose last layer is the original's, behind the map to the original's features.

    Args:
        unlearned: The edited model; not changed.
        original: The model it was made from; not changed.
        alignment: Fitted on the inputs of both models' last layers (see `trace`).
        example: A batch of inputs, to find the layer that runs last.

    Note:
        Errors of `last_layer_back` pass through.
    """
    restored = last_layer_back(unlearned, original, example)
    name = last_layer(original, example)
    parent, _, own = name.rpartition(".")
    aligned = behind(alignment, restored.get_submodule(name))
    if not own:
        return aligned.eval()
    setattr(restored.get_submodule(parent), own, aligned)
    return restored


def behind(alignment: Alignment, layer: nn.Module) -> nn.Module:
    """Return the map and behind it the layer, as one module in evaluation mode.

    Args:
        alignment: See `fit_alignment`.
        layer: What takes the features that it leads to.
    """
    return nn.Sequential(_Aligned(alignment, layer), layer).eval()


class _Aligned(nn.Module):
    """The map as a layer, along the dimension that holds the features of the layer behind it."""

    def __init__(self, alignment: Alignment, layer: nn.Module) -> None:
        super().__init__()
        like = next(layer.parameters())
        self.channels_second = not isinstance(layer, nn.Linear)
        for name in ("weight", "mean", "target"):
            self.register_buffer(name, copy.deepcopy(getattr(alignment, name)).to(like))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.movedim(1, -1) if self.channels_second else x
        turned = (rows - self.get_buffer("mean")) @ self.get_buffer("weight") + self.get_buffer("target")
        return turned.movedim(-1, 1) if self.channels_second else turned
