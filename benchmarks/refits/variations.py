"""The refit with one thing changed at a time, and the projection on the same layers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.refits.operators import Operator, published, symmetric
from unlearning.refit import FORGET_WEIGHT, RIDGE
from unlearning.targets import SPREAD

Shares = Callable[[Tensor], Tensor]


def as_they_are(shares: Tensor) -> Tensor:
    """The original's softmax over the retained classes, (N, K')."""
    return shares


def sharpened(shares: Tensor) -> Tensor:
    """Cubes of the shares, with sum 1 again: nearer to the likeliest class alone."""
    cubes = shares.pow(3)
    return cubes / cubes.sum(dim=1, keepdim=True)


def uniform(shares: Tensor) -> Tensor:
    """The same share for every class: all forgotten images are treated alike."""
    return torch.full_like(shares, 1 / shares.shape[1])


@dataclass(frozen=True)
class Variation:
    """What is done, the service's choices unless said otherwise, but for `spread`.

    Attributes:
        note: What is different, for the table.
        depth: Feature layers that are refitted before the classifier; None lets validation choose, as the service does.
        num_retain: Retained samples.
        max_rows: Most rows per layer.
        is_parallel: Every layer is fitted to the original's inputs, not to what the refitted layers before it produce.
        has_bias: Biases are refitted too.
        spread: How far the targets are drawn apart in the classifier's last hidden layer; not at all, unlike SPREAD.
        feature_spread: The same in every layer before the classifier.
        shares: How a forgotten image's classes are weighed in the targets of hidden layers.
        is_zero: Hidden targets of forgotten images are 0, where the projection would send them.
        keeps_residual: Forgotten images keep what distinguishes each of them from the mean of all forgotten ones.
        explained: Of that, only what retained inputs explain: a ridge, as a share of their mean square; None for all.
        after_activation: Means are made of what leaves the layer's norm and ReLU, and brought back before them.
        ridge: How strongly the old weights attract.
        forget_weight: Weight of the forget side, the retain side having 1.
        renormalises: Running statistics of the batch norms behind the refitted layers are taken again, on the retained
            images.
    """

    note: str
    depth: int | None = 4
    num_retain: int = 3_600
    max_rows: int = 20_000
    is_parallel: bool = False
    has_bias: bool = True
    spread: float = 1.0
    feature_spread: float = 1.0
    shares: Shares = as_they_are
    is_zero: bool = False
    keeps_residual: bool = False
    explained: float | None = None
    after_activation: bool = False
    ridge: float = RIDGE
    forget_weight: float = FORGET_WEIGHT
    renormalises: bool = False


@dataclass(frozen=True)
class Removal:
    """A projection in the refit's place.

    Attributes:
        note: What it is, for the table.
        operator: Which.
        alphas: alpha_r and alpha_f.
        depth: Feature layers before the classifier that are edited.
        num_retain: Retained samples.
    """

    note: str
    operator: Operator
    alphas: tuple[float, float] = (100.0, 3.0)
    depth: int = 4
    num_retain: int = 900


VARIATIONS: dict[str, Variation | Removal] = {
    "service": Variation("as shipped", depth=None, spread=SPREAD),
    "wider": Variation("as shipped, spread 3", spread=3.0),
    "wide_features": Variation("as shipped, feature layers drawn apart by 1.5", spread=SPREAD, feature_spread=1.5),
    "wide_sharp": Variation("as shipped, shares p^3", spread=SPREAD, shares=sharpened),
    "plain": Variation("nothing drawn apart; so are all rows below", depth=None),
    "no_feature_layers": Variation("the classifier only", depth=0),
    "fewer_layers": Variation("2 feature layers", depth=2),
    "deeper": Variation("6 feature layers", depth=6),
    "more_samples": Variation("8,100 retained images, 40,000 rows", num_retain=8_100, max_rows=40_000),
    "parallel": Variation("all layers on the original's inputs", is_parallel=True),
    "no_bias": Variation("biases stay", has_bias=False),
    "zero_targets": Variation("forgotten rows to 0, as the projection", is_zero=True),
    "uniform_targets": Variation("forgotten rows to the mean of all retained", shares=uniform),
    "keep_residual": Variation("own deviation from the class mean kept", keeps_residual=True),
    "sharp_residual": Variation(
        "shares p^3, own deviation from the class mean kept", shares=sharpened, keeps_residual=True
    ),
    "sharp_explained": Variation(
        "shares p^3, own deviation kept as far as retained inputs explain it",
        shares=sharpened,
        keeps_residual=True,
        explained=0.1,
    ),
    "sharp": Variation("shares p^3", shares=sharpened),
    "activations": Variation("means after the activation", after_activation=True),
    "activations_sharp": Variation("shares p^3, means after the activation", shares=sharpened, after_activation=True),
    "less_ridge": Variation("ridge / 10", ridge=RIDGE / 10),
    "more_ridge": Variation("ridge x 10", ridge=10 * RIDGE),
    "less_weight": Variation("forget side's weight / 5", forget_weight=FORGET_WEIGHT / 5),
    "more_weight": Variation("forget side's weight x 5", forget_weight=5 * FORGET_WEIGHT),
    "batch_norm": Variation("running statistics of batch norms taken again", renormalises=True),
    "projection": Removal("the paper's (I - M_r) M_f, alphas 100 and 3, in place of the refit", published),
    "conceptor": Removal("the symmetric operator at the same alphas, in place of the refit", symmetric),
    "deep_sharp_activations": Variation(
        "p^3, after the activation, 6 feature layers, 8,100 retained images, 40,000 rows",
        depth=6,
        num_retain=8_100,
        max_rows=40_000,
        shares=sharpened,
        after_activation=True,
    ),
}
