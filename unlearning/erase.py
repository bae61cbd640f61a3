"""Class erasure, the public door of the engine: statistics of both sides in, edited weights and a report out."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType

import torch
from torch import Tensor, nn

from unlearning.arithmetic import full_precision, swift_products
from unlearning.capture import Batches, Progress
from unlearning.checks import checked_alpha, checked_finite, checked_module
from unlearning.errors import StatisticsMismatch, WeightsDoNotFit
from unlearning.inventory import Layer, Untouched, assemble, read_rows
from unlearning.projection import LayerUpdate
from unlearning.statistics import LayerStatistics, SecondMoment, chosen_layers, collect
from unlearning.survey import UNUSED

Moments = tuple[dict[str, SecondMoment], dict[str, SecondMoment]]
"""The retain side's and the forget side's, by layer."""

PUBLISHED_ALPHA_R = 100.0
PUBLISHED_ALPHA_F = 3.0


@dataclass(frozen=True)
class LayerReport:
    """What happened to one weight.

    Attributes:
        weight: Key of the layer; the parameter's name, unless it is a part of a parameter or parametrised.
        kind: "linear", or "conv1d", "conv2d", "conv3d".
        d: Inputs of one output.
        m: Outputs.
        groups: Groups of the convolution, else 1.
        retain_rows: Rows behind the retain side's second moment.
        forget_rows: Rows behind the forget side's.
        relative_change: ||W' - W|| / ||W||, Frobenius; 0 for a zero weight.
    """

    weight: str
    kind: str
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
        weights: New parameters, in the shape, dtype and device of the old ones; read-only, in order of execution.
        layers: One report per edited weight, in the same order.
        untouched: Every other parameter, with its share of all parameters and the reason.
        method: "paper" (the projection) or "refit".
        alpha_r: Strength with which retained directions were kept; None for another method than the projection.
        alpha_f: Strength with which the forget side's directions were removed; None likewise.
    """

    weights: Mapping[str, Tensor]
    layers: tuple[LayerReport, ...]
    untouched: tuple[Untouched, ...]
    method: str
    alpha_r: float | None = None
    alpha_f: float | None = None

    def apply_to(self, model: nn.Module) -> None:
        """Copy the new weights into `model`, all or nothing.

        Everything is checked before anything is written; if writing is interrupted all the same, what was written is
        taken back.

        Raises:
            WeightsDoNotFit: a parameter is missing, has another shape or is no floating-point tensor; the model is
                unchanged.
            NonFinite: a new weight overflows in the parameter's dtype; the model is unchanged.
        """
        parameters = dict(checked_module(model).named_parameters())
        for name, weight in self.weights.items():
            if name not in parameters:
                raise WeightsDoNotFit(f"'{name}' is missing")
            if parameters[name].shape != weight.shape:
                shapes = f"'{name}' is {tuple(parameters[name].shape)}, the edited one {tuple(weight.shape)}"
                raise WeightsDoNotFit(shapes)
            if not parameters[name].is_floating_point():
                raise WeightsDoNotFit(f"'{name}' is {parameters[name].dtype}, the edited one {weight.dtype}")
            checked_finite(weight.to(parameters[name].dtype), f"the edited '{name}'")
        replaced: dict[str, Tensor] = {}
        try:
            for name, weight in self.weights.items():
                replaced[name] = parameters[name].detach().clone()
                _write(parameters[name], weight)
        except BaseException:
            for name, old in replaced.items():
                _write(parameters[name], old)
            raise
        finally:
            torch.clear_autocast_cache()  # inside autocast, it may hold casts of what was there before


def _write(parameter: Tensor, value: Tensor) -> None:
    # What was made in inference mode can be written to in inference mode only.
    with torch.inference_mode(parameter.is_inference()), torch.no_grad():
        parameter.copy_(value)


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

    W' = W - W (I - M_r(alpha_r)) M_f(alpha_f) for every matrix W that the model multiplies its activations with, and
    the second moments of the inputs that the ORIGINAL model's layers see (all layers are measured first, then edited
    together). Gradient-free: one forward pass over each side.

    Args:
        model: Any classifier whose call takes one batch; CPU or CUDA; its mode does not matter and is restored.
        retain: Batches of samples of all retained classes, balanced, without augmentation (see `draw_samples`). With
            `max_rows` they are counted first: see `capture` for what is iterated twice, and what is held.
        forget: Batches of samples of the classes to forget; likewise.
        alpha_r: Larger keeps more of what the retained classes use; above 0.
        alpha_f: Larger removes more of what the forgotten classes use; above 0.
        layers: Keys of the layers to edit (`Layer.weight`, mostly the parameter's name); None for all.
        max_rows: Most rows per layer and side (see `capture`); None takes all positions.
        seed: Seed of the choice of positions.
        progress: Called as progress(stage, done, total), stage being "retain", "forget" or "project".

    Returns:
        New weights and the report. Deterministic for a given seed, device and thread count.

    Raises:
        OptionOutOfRange: an alpha is not a finite number above 0.
        NonFinite: a parameter that runs holds NaN or infinity.

    Note:
        Errors of `collect` and `erase_from_statistics` pass through. Biases, norms and embeddings are never edited;
        whatever is left alone is listed in the report with its share and a reason. Depthwise kernels are edited like
        any other matrix, channel by channel: d is only kh * kw, and within it M_r is close to the identity on what the
        retained classes use (smooth patches dominate), so the update bounds itself; leaving them out by a rule of our
        own would be a silent exception, while `layers` leaves them out by name.
    """
    checked_alpha("alpha_r", alpha_r)
    checked_alpha("alpha_f", alpha_f)
    kept = collect(model, retain, weights=layers, max_rows=max_rows, seed=seed, progress=progress, side="retain")
    gone = collect(model, forget, weights=layers, max_rows=max_rows, seed=seed, progress=progress, side="forget")
    kept, gone = _common(model, kept, gone)
    _refuse_non_finite(model, kept.untouched)
    moments = dict(kept.moments), dict(gone.moments)
    # No moment is held once its layer is done: all of them beside all new weights would be the peak of memory.
    measured = replace(kept, moments=MappingProxyType({}))
    del kept, gone
    return _erased(model, measured, measured.layers, moments, alpha_r=alpha_r, alpha_f=alpha_f, progress=progress)


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
    moments = dict(retain.moments), dict(forget.moments)
    return _erased(model, retain, chosen, moments, alpha_r=alpha_r, alpha_f=alpha_f, progress=progress)


@full_precision()
@swift_products()
def _erased(
    model: nn.Module,
    measured: LayerStatistics,
    chosen: tuple[Layer, ...],
    moments: Moments,
    *,
    alpha_r: float,
    alpha_f: float,
    progress: Progress | None,
) -> Erasure:
    """Return the edit of the chosen layers; their moments are taken out of `moments` on the way."""
    weights: dict[str, Tensor] = {}
    reports: dict[str, LayerReport] = {}
    done = 0
    # Parts of one parameter are assembled together.
    for tensor in dict.fromkeys(layer.tensor for layer in chosen):
        parts = [layer for layer in chosen if layer.tensor == tensor]
        new: dict[str, Tensor] = {}
        for layer in parts:
            old = read_rows(model, layer)
            kept, gone = (side.pop(layer.weight) for side in moments)
            new[layer.weight] = LayerUpdate(layer, old, kept, gone).once(alpha_r, alpha_f)
            reports[layer.weight] = report_of(layer, old, new[layer.weight], kept.rows, gone.rows)
            done += 1
            if progress is not None:
                progress("project", done, len(chosen))
        weights.update(assemble(model, new, parts))
    untouched = (*measured.untouched, *_left_out(model, measured.layers, reports))
    ordered = tuple(reports[layer.weight] for layer in chosen)
    return Erasure(MappingProxyType(weights), ordered, untouched, "paper", float(alpha_r), float(alpha_f))


def _refuse_non_finite(model: nn.Module, untouched: tuple[Untouched, ...]) -> None:
    """Look at what no layer's inputs tell of, such as the last bias; what never runs may hold anything."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for item in untouched:
        if item.name in parameters and item.reason != UNUSED:
            checked_finite(parameters[item.name], f"'{item.name}'")


def _common(
    model: nn.Module, retain: LayerStatistics, forget: LayerStatistics
) -> tuple[LayerStatistics, LayerStatistics]:
    """Leave out layers that only one side ran, as routed experts may: without both moments there is no update."""
    if retain.layers == forget.layers:
        return retain, forget
    both = tuple(layer for layer in retain.layers if layer in forget.layers)
    if not both:
        raise StatisticsMismatch("no layer ran on both sides")
    total = sum(parameter.numel() for parameter in model.parameters())
    alone = [layer for layer in retain.layers if layer not in both]
    untouched = (*retain.untouched, *(_entry(layer, total, "ran on one side only") for layer in alone))
    moments = [{layer.weight: side.moments[layer.weight] for layer in both} for side in (retain, forget)]
    return (
        LayerStatistics(MappingProxyType(moments[0]), both, untouched, retain.num_samples),
        LayerStatistics(MappingProxyType(moments[1]), both, untouched, forget.num_samples),
    )


def report_of(layer: Layer, old: Tensor, new: Tensor, retain_rows: int, forget_rows: int) -> LayerReport:
    """Return what happened to one layer, from its matrices before and after."""
    size = float(old.double().norm())
    change = float((new.double() - old.double()).norm()) / size if size else 0.0
    return LayerReport(layer.weight, layer.kind, layer.d, layer.m, layer.groups, retain_rows, forget_rows, change)


def _left_out(model: nn.Module, layers: tuple[Layer, ...], edited: Collection[str]) -> tuple[Untouched, ...]:
    total = sum(parameter.numel() for parameter in model.parameters())
    return tuple(
        _entry(layer, total, "not among the layers asked for") for layer in layers if layer.weight not in edited
    )


def _entry(layer: Layer, total: int, reason: str) -> Untouched:
    size = prod(layer.shape)
    return Untouched(layer.weight, size, size / max(total, 1), reason)
