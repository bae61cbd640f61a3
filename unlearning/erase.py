"""Class erasure, the public door of the engine: statistics of both sides in, edited weights and a report out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from unlearning.capture import Batches, Progress
from unlearning.checks import checked_alpha
from unlearning.errors import WeightsDoNotFit
from unlearning.inventory import Kind, Layer, Untouched
from unlearning.projection import LayerUpdate
from unlearning.statistics import LayerStatistics, chosen_layers, collect

PUBLISHED_ALPHA_R = 100.0
PUBLISHED_ALPHA_F = 3.0


@dataclass(frozen=True)
class LayerReport:
    """What happened to one weight.

    Attributes:
        weight: Parameter name.
        kind: "linear" or "conv2d".
        d: Inputs of one output.
        m: Outputs.
        groups: Groups of the convolution, else 1.
        retain_rows: Rows behind the retain side's second moment.
        forget_rows: Rows behind the forget side's.
        relative_change: ||W' - W|| / ||W||, Frobenius; 0 for a zero weight.
    """

    weight: str
    kind: Kind
    d: int
    m: int
    groups: int
    retain_rows: int
    forget_rows: int
    relative_change: float


@dataclass(frozen=True)
class Erasure:
    """Edited weights by parameter name, and the account of the edit. Nothing is applied until `apply_to`.

    Attributes:
        weights: New weights, in the shape, dtype and device of the old ones; read-only mapping in order of execution.
        layers: One report per edited weight, in the same order.
        untouched: Every other parameter, with its share of all parameters and the reason.
        alpha_r: Strength with which retained directions were kept.
        alpha_f: Strength with which the forget side's directions were removed.
    """

    weights: Mapping[str, Tensor]
    layers: tuple[LayerReport, ...]
    untouched: tuple[Untouched, ...]
    alpha_r: float
    alpha_f: float

    def apply_to(self, model: nn.Module) -> None:
        """Copy the new weights into `model`, all or nothing: everything is checked before anything is written.

        Raises:
            WeightsDoNotFit: a parameter is missing or has another shape; the model is unchanged.
        """
        parameters = dict(model.named_parameters())
        for name, weight in self.weights.items():
            if name not in parameters:
                raise WeightsDoNotFit(f"'{name}' is missing")
            if parameters[name].shape != weight.shape:
                shapes = f"'{name}' is {tuple(parameters[name].shape)}, the edited one {tuple(weight.shape)}"
                raise WeightsDoNotFit(shapes)
        with torch.no_grad():
            for name, weight in self.weights.items():
                parameters[name].copy_(weight)


def erase_classes(
    model: nn.Module,
    *,
    retain: Batches,
    forget: Batches,
    alpha_r: float = PUBLISHED_ALPHA_R,
    alpha_f: float = PUBLISHED_ALPHA_F,
    layers: Collection[str] | None = None,
    max_rows: int | None = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Erasure:
    """Return the weights of `model` after forgetting the classes of the `forget` samples; the model is not changed.

    W' = W - W (I - M_r(alpha_r)) M_f(alpha_f) for every Linear and Conv2d weight, with the second moments of the inputs
    that the ORIGINAL model's layers see (all layers are measured first, then edited together). Gradient-free: one
    forward pass over each side.

    Args:
        model: Any classifier whose call takes one batch; CPU or CUDA; its mode does not matter and is restored.
        retain: Batches of samples of all retained classes, balanced, without augmentation (see `draw_samples`).
        forget: Batches of samples of the classes to forget.
        alpha_r: Larger keeps more of what the retained classes use; above 0.
        alpha_f: Larger removes more of what the forgotten classes use; above 0.
        layers: Parameter names of the weights to edit; None for all that can be projected.
        max_rows: Most rows per layer and side (see `capture`); None takes all positions.
        seed: Seed of the choice of positions.
        progress: Called as progress(stage, done, total), stage being "retain", "forget" or "project".

    Returns:
        New weights and the report. Deterministic for a given seed, device and thread count.

    Raises:
        OptionOutOfRange: an alpha is not a finite number above 0.

    Note:
        Errors of `collect` and `erase_from_statistics` pass through. Biases, norms and embeddings are never edited and
        are listed in the report. Depthwise convolutions are edited like all grouped ones, channel by channel: d is only
        kh * kw, so such an edit can express little, but leaving it out would be a silent exception.
    """
    checked_alpha("alpha_r", alpha_r)
    checked_alpha("alpha_f", alpha_f)
    kept = collect(model, retain, weights=layers, max_rows=max_rows, seed=seed, progress=progress, side="retain")
    gone = collect(model, forget, weights=layers, max_rows=max_rows, seed=seed, progress=progress, side="forget")
    return erase_from_statistics(model, kept, gone, alpha_r=alpha_r, alpha_f=alpha_f, progress=progress)


def erase_from_statistics(
    model: nn.Module,
    retain: LayerStatistics,
    forget: LayerStatistics,
    *,
    alpha_r: float,
    alpha_f: float,
    layers: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Erasure:
    """Return the edit for one pair of alphas from statistics already at hand; see `erase_classes`.

    Errors of `chosen_layers` and of `LayerUpdate.once` pass through.
    """
    checked_alpha("alpha_r", alpha_r)
    checked_alpha("alpha_f", alpha_f)
    chosen = chosen_layers(retain, forget, layers)
    weights: dict[str, Tensor] = {}
    reports = []
    for done, layer in enumerate(chosen, start=1):
        old = model.get_parameter(layer.weight).detach()
        moments = retain.moments[layer.weight], forget.moments[layer.weight]
        weights[layer.weight] = LayerUpdate(layer, old, *moments).once(alpha_r, alpha_f)
        reports.append(_report(layer, old, weights[layer.weight], moments[0].rows, moments[1].rows))
        if progress is not None:
            progress("project", done, len(chosen))
    untouched = (*retain.untouched, *_left_out(model, retain.layers, weights))
    return Erasure(MappingProxyType(weights), tuple(reports), untouched, float(alpha_r), float(alpha_f))


def _report(layer: Layer, old: Tensor, new: Tensor, retain_rows: int, forget_rows: int) -> LayerReport:
    size = float(old.double().norm())
    change = float((new.double() - old.double()).norm()) / size if size else 0.0
    return LayerReport(layer.weight, layer.kind, layer.d, layer.m, layer.groups, retain_rows, forget_rows, change)


def _left_out(model: nn.Module, layers: tuple[Layer, ...], edited: Collection[str]) -> tuple[Untouched, ...]:
    total = sum(parameter.numel() for parameter in model.parameters())
    return tuple(
        Untouched(layer.weight, size, size / total, "not among the layers asked for")
        for layer in layers
        if layer.weight not in edited and (size := model.get_parameter(layer.weight).numel())
    )
