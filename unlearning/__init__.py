"""Closed-form class unlearning for trained classifiers: pure PyTorch, no gradient, no service.

    draw = draw_samples(labels, {3}, num_classes=10, seed=0)
    erasure = erase_classes(model, retain=[x[draw.retain]], forget=[x[draw.forget]], seed=0)
    erasure.apply_to(model)

From the bottom up: `origins`, `products`, `discovery` and `survey` (which parameters are multiplied where, seen at the
level of PyTorch's operators), `inventory` (layers, read and written back), `patches` and `positions` (the rows a layer
multiplies, and which of them are measured), `capture` (running a model and streaming rows), `symmetric` and
`statistics` (second moments), `projection` (the paper's update of one layer), `recording` and `replay` (forwards that
begin at the first edited layer), `bench` and `tuning` (how strong, how deep), `erase` (the public door of the
projection); `leastsquares`, `passes`, `outputs`, `targets`, `refit` and `deepening` (the refit); beside them `sampling`
and `evaluation`.

One alphabet of shapes, everywhere:

    B   samples in a batch
    K   classes
    d   inputs of a layer's output: in_features, or c_in / groups * kh * kw
    m   outputs of a layer
    n   rows: samples, positions or patches
    G   groups of a convolution (1 for a Linear); spelled `groups` in code
    W   (m, d) weight;  X (n, d) inputs;  C (d, d) trace-normalised second moment;  M (d, d) soft projection

Subscripts r and f mean the retain and the forget side.
"""

from unlearning.bench import Bench, Judgement
from unlearning.deepening import Deepening, Depth, deepest_refit, layers_at_most
from unlearning.erase import (
    PUBLISHED_ALPHA_F,
    PUBLISHED_ALPHA_R,
    Erasure,
    LayerReport,
    erase_classes,
    erase_from_statistics,
)
from unlearning.errors import UnlearningError
from unlearning.inventory import Layer, Untouched
from unlearning.refit import Refit, refit_classes
from unlearning.sampling import Draw, draw_samples
from unlearning.statistics import LayerStatistics, SecondMoment, collect
from unlearning.tuning import Candidate, Choice, choose

__all__ = [
    "PUBLISHED_ALPHA_F",
    "PUBLISHED_ALPHA_R",
    "Bench",
    "Candidate",
    "Choice",
    "Deepening",
    "Depth",
    "Draw",
    "Erasure",
    "Judgement",
    "Layer",
    "LayerReport",
    "LayerStatistics",
    "Refit",
    "SecondMoment",
    "UnlearningError",
    "Untouched",
    "choose",
    "collect",
    "deepest_refit",
    "draw_samples",
    "erase_classes",
    "erase_from_statistics",
    "layers_at_most",
    "refit_classes",
]
