"""Refitting layers in closed form, so that forgotten images are treated as the retained images they resemble.

The projection (see `projection`) removes what only the forget side uses. What is left of a forgotten image is weak and
lies where no retained image lies, and it is scattered over classes it does not resemble. A network retrained without
the class does something else: it sees in a cat the dog or the frog that it knows. So here each layer is refitted, one
after the other, to

    retained rows   the output that the ORIGINAL layer gave
    forgotten rows  sum_j p_j mu_j,  p = the original's softmax without the forgotten classes,
                    mu_j = the original layer's mean output on retained samples, weighted by their p_j,
                    in several hidden layers of a classifier up to twice as far from their mean (see `targets.SPREAD`)

and the output layer to the original's logits, with those of forgotten classes at 2 min - mean of the R others: as far
below the least likely retained class as that lies below the average, and at least by 4 (1/4)^R of the spread (max -
min) of all logits, since one retained class has no spread of its own and two may have next to none. Each is a ridge
regression towards the old weights (see `leastsquares`), biases included, on the inputs that the layers refitted before
it produce.

Neither labels nor neighbours are needed: drawn neighbours would add their own noise, and the nearest are the retained
images that the original confuses with the class.

References: ridge regression towards the old weights is the closed form of model editing (Meng et al., "Mass-Editing
Memory in a Transformer", ICLR 2023; Gandikota et al., "Unified Concept Editing in Diffusion Models", WACV 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from unlearning.batches import Batches, inputs_of
from unlearning.capture import Captured, Progress
from unlearning.checks import checked_alpha, checked_count
from unlearning.deferred import Part
from unlearning.erase import Erasure, LayerReport, report_of
from unlearning.errors import EmptySide, NonFinite, NothingToProject, UnknownLayer
from unlearning.evaluation.controls import classifier_layers
from unlearning.inventory import Layer, Untouched, assemble, read_rows
from unlearning.leastsquares import RidgeFit, refitted
from unlearning.modes import copied
from unlearning.outputs import Outputs, output_layer
from unlearning.passes import Passes, at_least_single
from unlearning.targets import Samples, targets_of

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

    Gradient-free: one forward of all samples, and then, for each layer, one that begins at the layer refitted before it
    and ends where this one multiplies.

    Args:
        model: Any classifier whose call takes one batch and returns logits (B, K).
        retain: Batches of samples of all retained classes, balanced, without augmentation (see `draw_samples`).
        forget: Batches of samples of the classes to forget.
        classes: All classes that shall be predicted no more, those forgotten earlier included.
        layers: Keys of the layers to refit, the one that gives the logits among them; None for all. The last few are
            what pays (see `deepest_refit`).
        forget_weight: Weight of the forget side, the retain side having 1; above 0.
        ridge: How strongly the old weights attract, as a share of the inputs' mean square; above 0.
        max_rows: Most rows per layer, both sides together; each sample gives the same number, at least one.
        seed: Seed of the choice of positions.
        progress: Called as progress("refit", samples done, samples in total) over all passes.

    Returns:
        New weights and biases, and the report. A layer whose rows cannot be told apart by sample (a weight used several
        times in one forward), or of which some samples have more than others (images of several sizes), is left alone
        and reported. Deterministic for a given seed, device and thread count.

    Raises:
        OptionOutOfRange: a weight or the ridge is not a finite number above 0.
        NotRefittable: the logits are not what one of the layers gives, or its rows cannot be told apart by sample; the
            projection (`erase_classes`) asks for less.

    Note:
        Errors of `capture` pass through. Inputs are held in memory, and the rows of one layer, or only sums over them
        if it has more rows than inputs.
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
        self._model, self._work = model, copied(model)
        sides = {name: tuple(inputs_of(batches, name)) for name, batches in (("retain", retain), ("forget", forget))}
        for name, held in sides.items():
            if not held:
                raise EmptySide(name)
        batches = (*sides["retain"], *sides["forget"])
        num_forget = sum(map(len, sides["forget"]))
        self._passes = Passes(self._work, batches, layers, max_rows, seed, progress)
        outputs = Outputs(self._work, self._passes)
        logits, self._found = self._passes.first(outputs.emptied)
        self._samples = Samples.of(logits, num_forget, classes)
        output = output_layer(self._work, self._passes, logits)
        self._classifier = _classifier(self._work, batches[0])
        self._targets = targets_of(self._found, outputs, self._passes.each, self._samples, output, self._classifier)
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
            for place, layer in enumerate(chosen):
                self._passes.follow(chosen[place:])
                before = read_rows(self._work, layer).clone()
                changed.update(self._fit(layer))
                reports.append(self._report(layer, before, read_rows(self._work, layer)))
        finally:
            self._passes.rewind()
            _write(self._work, {name: self._model.get_parameter(name) for name in changed})
        untouched = _untouched(self._model, self._found, changed, wanted)
        return Erasure(MappingProxyType(changed), tuple(reports), untouched, method="refit")

    def _fit(self, layer: Layer) -> dict[str, Tensor]:
        """Refit one layer of the working copy and return its new parameters by name."""
        work = self._work
        weight, bias = at_least_single(read_rows(work, layer)), self._passes.bias_of(layer)
        if bias is not None:
            weight = torch.cat([weight, bias[1].to(weight).view(*layer.shape[:2], 1)], dim=2)
        try:
            new = self._solved(layer, weight)
        except NonFinite as error:
            raise NonFinite(f"{error.where} of '{layer.weight}'") from error
        values = assemble(work, {layer.weight: new[:, :, : layer.d]}, [layer])
        if bias is not None:
            values[bias[0]] = new[:, :, -1].reshape(bias[1].shape).to(bias[1].dtype)
        _write(work, values)
        return values

    def _solved(self, layer: Layer, weight: Tensor) -> Tensor:
        """Return the new matrices of a layer, whose inputs have one column more where the bias is one of `weight`."""
        targets, has_bias = self._targets[layer.weight], weight.shape[2] > layer.d
        importance = self._samples.importance(len(targets), self._forget_weight)
        if len(targets) < weight.shape[2]:
            rows = self._passes.rows(layer)
            return refitted(weight, _with_ones(rows) if has_bias else rows, targets, importance, self._ridge)
        fits: list[RidgeFit] = []

        def begun() -> Callable[[Part], None]:
            fits[:] = [RidgeFit(weight, self._ridge)]
            return take

        def take(part: Part) -> None:
            rows, columns = at_least_single(part.rows), part.columns
            if has_bias:
                rows, columns = _with_ones(rows), None if columns is None else (*columns, (layer.d, layer.d + 1))
            fits[0].add(rows, targets[part.numbers], importance[part.numbers], columns)

        self._passes.show_parts(layer, begun)
        return fits[0].solved()

    def _report(self, layer: Layer, before: Tensor, after: Tensor) -> LayerReport:
        each = len(self._targets[layer.weight]) // len(self._samples)
        gone = each * self._samples.num_forget
        return report_of(layer, before, after, each * len(self._samples) - gone, gone)


def _classifier(model: nn.Module, batch: Tensor) -> frozenset[str]:
    """Return the names of the modules behind the features; none if the model multiplies without modules."""
    try:
        return frozenset(classifier_layers(model, batch))
    except NothingToProject:
        return frozenset()


def _with_ones(rows: Tensor) -> Tensor:
    return torch.cat([rows, rows.new_ones(*rows.shape[:2], 1)], dim=2)


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
        if layer.weight not in wanted:
            size = read_rows(model, layer).numel()
            items.append(Untouched(layer.weight, size, size / total, _left_out(found, layer)))
    return tuple(items)


def _left_out(found: Captured, layer: Layer) -> str:
    if layer.weight not in found.assigned:
        return "its rows belong to no sample"
    return "some samples have more of its rows" if layer.weight in found.uneven else "not among the layers asked for"
