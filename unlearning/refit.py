"""Refitting layers in closed form, so that forgotten images are treated as the retained images they resemble.

The projection (see `projection`) removes what only the forget side uses. What is left of a forgotten image is weak and
lies where no retained image lies, which betrays it: a fresh probe still finds the class. A network retrained without
the class does something else: it sees in a cat the dog or the frog that it knows. So here each layer is refitted, one
after the other, to

    retained rows   the output that the ORIGINAL layer gave
    forgotten rows  sum_j p_j mu_j,  p = the original's softmax without the forgotten classes,
                    mu_j = the original layer's mean output on retained samples, weighted by their p_j

and the output layer to the original's logits, with those of forgotten classes at 2 min - mean of the others: as far
below the least likely retained class as that lies below the average. Each is a ridge regression towards the old weights
(see `leastsquares`), biases included, on the inputs that the layers refitted before it produce.

Neither labels nor neighbours are needed: drawn neighbours would add their own noise, and the nearest are the retained
images that the original confuses with the class.

References: ridge regression towards the old weights is the closed form of model editing (Meng et al., "Mass-Editing
Memory in a Transformer", ICLR 2023; Gandikota et al., "Unified Concept Editing in Diffusion Models", WACV 2024).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from unlearning.capture import Batches, Captured, Forward, Progress, RowSink, capture, find_layers
from unlearning.checks import checked_alpha, checked_classes, checked_count, checked_finite, checked_inputs
from unlearning.erase import Erasure, LayerReport, report_of
from unlearning.errors import EmptySide, NonFinite, ShapeError, UnknownLayer
from unlearning.inventory import Layer, Untouched, assemble, read_rows
from unlearning.leastsquares import refitted
from unlearning.modes import watchable
from unlearning.replay import Replay

FORGET_WEIGHT = 0.5
RIDGE = 1e-2
MAX_ROWS = 20_000


def refit_classes(
    model: nn.Module,
    *,
    retain: Batches,
    forget: Batches,
    classes: Collection[int],
    layers: Collection[str] | None = None,
    forget_weight: float = FORGET_WEIGHT,
    ridge: float = RIDGE,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
    progress: Progress | None = None,
) -> Erasure:
    """Return the weights of `model` after its `layers` were refitted without `classes`; the model is not changed.

    Gradient-free: one forward of all samples, and then one per layer that begins at the first of `layers`.

    Args:
        model: Any classifier whose call takes one batch and returns logits (B, K).
        retain: Batches of samples of all retained classes, balanced, without augmentation (see `draw_samples`).
        forget: Batches of samples of the classes to forget.
        classes: All classes that shall be predicted no more, those forgotten earlier included.
        layers: Keys of the layers to refit; None for all. The last few are what pays (see `choose_refit`).
        forget_weight: Weight of the forget side, the retain side having 1; above 0.
        ridge: How strongly the old weights attract, as a share of the inputs' mean square; above 0.
        max_rows: Most rows per layer, both sides together; each sample gives the same number, at least one.
        seed: Seed of the choice of positions.
        progress: Called as progress("refit", samples done, samples in total) over all passes.

    Returns:
        New weights and biases, and the report. A layer whose rows cannot be told apart by sample (a weight used several
        times in one forward) is left alone and reported. Deterministic for a given seed, device and thread count.

    Raises:
        OptionOutOfRange: a weight or the ridge is not a finite number above 0.

    Note:
        Errors of `capture` pass through. Inputs are held in memory, and the rows of one layer.
        Time beside the forwards: see `leastsquares.refitted`, d counting the bias as one input more.
    """
    refit = Refit(
        model,
        retain=retain,
        forget=forget,
        classes=classes,
        layers=layers,
        forget_weight=forget_weight,
        ridge=ridge,
        max_rows=max_rows,
        seed=seed,
        progress=progress,
    )
    return refit.of(layer.weight for layer in refit.layers)


class Refit:
    """Refits of one model for one request: the targets are made once, for as many choices of layers as one likes.

    Arguments and errors are those of `refit_classes`.

    Attributes:
        layers: All layers that may be refitted, in order of execution.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        retain: Batches,
        forget: Batches,
        classes: Collection[int],
        layers: Collection[str] | None = None,
        forget_weight: float = FORGET_WEIGHT,
        ridge: float = RIDGE,
        max_rows: int = MAX_ROWS,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._forget_weight = checked_alpha("forget_weight", forget_weight)
        self._ridge = checked_alpha("ridge", ridge)
        checked_count("max_rows", max_rows)
        self._model, self._work = model, copy.deepcopy(model)
        sides = {name: tuple(_inputs(batches)) for name, batches in (("retain", retain), ("forget", forget))}
        for name, held in sides.items():
            if not held:
                raise EmptySide(name)
        batches = (*sides["retain"], *sides["forget"])
        num_forget = sum(map(len, sides["forget"]))
        self._passes = _Passes(self._work, batches, layers, max_rows, seed, progress)
        self._samples = _Samples.of(self._passes.logits(), num_forget, classes)
        self._found, self._targets = _targets(self._work, self._passes, self._samples)
        self.layers = tuple(layer for layer in self._found.layers if layer.weight in self._targets)

    def of(self, layers: Iterable[str]) -> Erasure:
        """Return the refit of these layers, one after the other, each on what the ones before it produce.

        Raises:
            UnknownLayer: a key is not among `self.layers`.
            NonFinite: a layer's fit is not finite; the layer is named.
        """
        wanted = set(layers)
        unknown = wanted - {layer.weight for layer in self.layers}
        if unknown:
            raise UnknownLayer(unknown, [layer.weight for layer in self.layers])
        chosen = [layer for layer in self.layers if layer.weight in wanted]
        self._passes.expect(len(chosen))
        changed, reports = dict[str, Tensor](), list[LayerReport]()
        try:
            for layer in chosen:
                before = read_rows(self._work, layer).clone()
                changed.update(self._fit(layer))
                reports.append(self._report(layer, before, read_rows(self._work, layer)))
        finally:
            _write(self._work, {name: self._model.get_parameter(name) for name in changed})
        untouched = _untouched(self._model, self._found, changed, wanted)
        return Erasure(MappingProxyType(changed), tuple(reports), untouched, method="refit")

    def _fit(self, layer: Layer) -> dict[str, Tensor]:
        """Refit one layer of the working copy and return its new parameters by name."""
        work, targets = self._work, self._targets[layer.weight]
        rows = self._passes.rows(layer)
        weight, bias = _single(read_rows(work, layer)), _bias_of(work, layer)
        if bias is not None:
            weight = torch.cat([weight, bias[1].to(weight).view(*layer.shape[:2], 1)], dim=2)
            rows = torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], dim=2)
        importance = self._samples.importance(len(rows), self._forget_weight)
        try:
            new = refitted(weight, rows, targets, importance.to(rows), self._ridge)
        except NonFinite as error:
            raise NonFinite(f"{error.where} of '{layer.weight}'") from error
        values = assemble(work, {layer.weight: new[:, :, : layer.d]}, [layer])
        if bias is not None:
            values[bias[0]] = new[:, :, -1].reshape(bias[1].shape).to(bias[1].dtype)
        _write(work, values)
        return values

    def _report(self, layer: Layer, before: Tensor, after: Tensor) -> LayerReport:
        each = len(self._targets[layer.weight]) // len(self._samples)
        gone = each * self._samples.num_forget
        return report_of(layer, before, after, each * len(self._samples) - gone, gone)


@dataclass(frozen=True)
class _Samples:
    """Both sides as one stream, retained samples first, and how the original would sort them without the classes."""

    num_forget: int
    kept: tuple[int, ...]
    num_classes: int
    shares: Tensor
    """(N, K'): softmax of the original's logits over the retained classes."""

    @classmethod
    def of(cls, logits: Tensor, num_forget: int, classes: Collection[int]) -> _Samples:
        gone = checked_classes(classes, logits.shape[1])
        kept = tuple(index for index in range(logits.shape[1]) if index not in gone)
        return cls(num_forget, kept, logits.shape[1], logits[:, list(kept)].softmax(dim=1))

    def __len__(self) -> int:
        return len(self.shares)

    def logits(self, given: Tensor) -> Tensor:
        """Return what the output layer shall give (n, K), from what the original's gave."""
        kept = given[:, list(self.kept)]
        low = 2 * kept.amin(dim=1) - kept.mean(dim=1)
        goals = low[:, None].expand_as(given).clone()
        goals[:, list(self.kept)] = kept
        return goals

    def mixtures(self, given: Tensor) -> Tensor:
        """Return what a hidden layer shall give (N, positions, m), from what the original's gave.

        Means are made for each position on its own.
        """
        num_retain, shares = len(self) - self.num_forget, self.shares.to(given)
        seen = shares[:num_retain] / shares[:num_retain].sum(dim=0).clamp_min(torch.finfo(given.dtype).tiny)
        means = torch.einsum("nk,npm->kpm", seen, given[:num_retain])
        return torch.cat([given[:num_retain], torch.einsum("nk,kpm->npm", shares[num_retain:], means)])

    def spread(self, per_sample: Tensor, num_rows: int) -> Tensor:
        """Give each row what its sample has; all samples have as many rows."""
        return per_sample.repeat_interleave(num_rows // len(self), dim=0)

    def importance(self, num_rows: int, forget_weight: float) -> Tensor:
        """Return weights (n,) of the rows: 1 in total for the retain side, `forget_weight` for the other."""
        num_retain = len(self) - self.num_forget
        each = torch.full((len(self),), 1.0 / num_retain)
        each[num_retain:] = forget_weight / self.num_forget
        return self.spread(each * len(self) / num_rows, num_rows)


def _inputs(batches: Batches) -> Iterator[Tensor]:
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        inputs = checked_inputs(batch)
        if len(inputs):
            yield inputs


class _Passes:
    """Runs a model over all samples, again and again while its layers change, and says how far the whole work is.

    What comes before the first of the layers is computed once (see `replay`).
    """

    def __init__(
        self,
        model: nn.Module,
        batches: tuple[Tensor, ...],
        layers: Collection[str] | None,
        max_rows: int,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self._model, self._batches, self._seed, self._progress = model, batches, seed, progress
        self.num_samples = sum(map(len, batches))
        self.each = max(1, max_rows // self.num_samples)
        self.layers = _checked_layers(find_layers(model, batches[0]).layers, layers)
        self._done, self._total = 0, 2 * self.num_samples
        names = {name for layer in self.layers for name in (layer.tensor, _bias_name(layer))}
        with watchable(model):
            self._replay = Replay(model, batches, names.intersection(name for name, _ in model.named_parameters()))

    def logits(self) -> Tensor:
        """Return the outputs (N, K) on the CPU."""
        parts = []
        with watchable(self._model):
            for number, batch in enumerate(self._batches):
                parts.append(self._replay.logits(number, {}).float().cpu())
                self._advance(len(batch))
        logits = torch.cat(parts)
        if logits.ndim != 2:
            raise ShapeError("outputs", "(n, K)", logits.shape)
        return checked_finite(logits, "the model's outputs")

    def expect(self, passes: int) -> None:
        """Announce the next passes; what is done before them counts as well."""
        self._total = self._done + passes * self.num_samples

    def show(self, make_sink: Callable[[], RowSink], layers: Collection[str]) -> Captured:
        """Show the rows of these layers to a sink, sample after sample."""
        broken = self._replay.num_broken
        captured = self._capture(make_sink(), layers, lambda number, _batch: self._replay.logits(number, {}))
        if self._replay.num_broken > broken:  # some rows were shown twice
            captured = self._capture(make_sink(), layers, None)
        self._advance(self.num_samples)
        return captured

    def rows(self, layer: Layer) -> Tensor:
        """Return the inputs (n, groups, d) of one layer, at least float32."""
        parts: list[Tensor] = []

        def sink(_layer: Layer, rows: Tensor) -> None:
            parts.append(_single(rows))

        def emptied() -> RowSink:
            parts.clear()
            return sink

        self.show(emptied, [layer.weight])
        return torch.cat(parts)

    def _capture(self, sink: RowSink, layers: Collection[str], forward: Forward | None) -> Captured:
        return capture(
            self._model,
            self._batches,
            sink,
            weights=layers,
            max_rows=self.each * self.num_samples,
            seed=self._seed,
            num_samples=self.num_samples,
            forward=forward,
        )

    def _advance(self, samples: int) -> None:
        self._done += samples
        if self._progress is not None:
            self._progress("refit", self._done, self._total)


def _checked_layers(found: tuple[Layer, ...], wanted: Collection[str] | None) -> tuple[Layer, ...]:
    if wanted is None:
        return found
    unknown = set(wanted) - {layer.weight for layer in found}
    if unknown:
        raise UnknownLayer(unknown, [layer.weight for layer in found])
    return tuple(layer for layer in found if layer.weight in wanted)


def _targets(model: nn.Module, passes: _Passes, samples: _Samples) -> tuple[Captured, dict[str, Tensor]]:
    """Return what ran, and for each layer whose rows can be assigned to samples its targets (n, groups, m / groups)."""
    matrices = dict[str, tuple[Tensor, Tensor]]()
    parts: dict[str, list[Tensor]] = {}

    def sink(layer: Layer, rows: Tensor) -> None:
        if layer.weight not in matrices:
            matrix, bias = _single(read_rows(model, layer)), _bias_of(model, layer)
            shift = matrix.new_zeros(layer.m) if bias is None else bias[1].to(matrix)
            matrices[layer.weight] = matrix.mT, shift.view(layer.groups, 1, -1)
        matrix, shift = matrices[layer.weight]
        given = rows.to(matrix.dtype).transpose(0, 1) @ matrix + shift
        parts.setdefault(layer.weight, []).append(given.transpose(0, 1).flatten(1))

    def emptied() -> RowSink:
        parts.clear()
        return sink

    found = passes.show(emptied, [layer.weight for layer in passes.layers])
    targets = {}
    for layer in found.layers:
        given = torch.cat(parts.pop(layer.weight))
        if layer.weight in found.assigned and len(given) % found.num_samples == 0:
            targets[layer.weight] = _goal(samples, layer, given, each=passes.each, is_last=layer is found.layers[-1])
    return found, targets


def _goal(samples: _Samples, layer: Layer, given: Tensor, *, each: int, is_last: bool) -> Tensor:
    """Return targets (n, groups, m / groups) from what the original layer gave (n, m)."""
    if is_last and layer.m == samples.num_classes:
        return samples.logits(given).view(-1, *layer.shape[:2])
    positions = given.view(len(samples), -1, layer.m)
    if positions.shape[1] < each:  # all positions are there, in order
        return samples.mixtures(positions).view(-1, *layer.shape[:2])
    pooled = samples.mixtures(positions.mean(dim=1, keepdim=True))
    num_retain = len(samples) - samples.num_forget
    goals = torch.cat([positions[:num_retain], pooled[num_retain:].expand_as(positions[num_retain:])])
    return goals.view(-1, *layer.shape[:2])


def _single(rows: Tensor) -> Tensor:
    return rows.to(torch.promote_types(rows.dtype, torch.float32), copy=True)


def _bias_of(model: nn.Module, layer: Layer) -> tuple[str, Tensor] | None:
    """Return the bias that belongs to a weight by its name, if there is one of the right size."""
    name = _bias_name(layer)
    found = dict(model.named_parameters()).get(name)
    return (name, found.detach()) if found is not None and found.shape == (layer.m,) else None


def _bias_name(layer: Layer) -> str:
    return layer.weight.removesuffix("weight") + "bias" if layer.weight.endswith("weight") else ""


def _write(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in values.items():
            model.get_parameter(name).copy_(value)


def _untouched(
    model: nn.Module, found: Captured, changed: Collection[str], wanted: Collection[str]
) -> tuple[Untouched, ...]:
    """Everything that was not changed, the layers left out among it."""
    total = sum(parameter.numel() for parameter in model.parameters())
    items = [item for item in found.untouched if item.name not in changed]
    for layer in found.layers:
        if layer.weight not in wanted or layer.weight not in found.assigned:
            size = read_rows(model, layer).numel()
            reason = (
                "not among the layers asked for" if layer.weight in found.assigned else "its rows belong to no sample"
            )
            items.append(Untouched(layer.weight, size, size / total, reason))
    return tuple(items)
