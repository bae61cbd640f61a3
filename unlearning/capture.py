"""Watches a model run, and streams the inputs of its matrix products as rows to whoever wants to sum them up.

The products are seen where they are executed (see `products`), so no architecture needs code of its own. Nothing is
attached to the model, and every mode is restored, whatever happens inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from unlearning.arithmetic import full_precision
from unlearning.batches import Batches as Batches  # noqa: PLC0414 - part of what this module offers
from unlearning.batches import counted, first_samples, inputs_of
from unlearning.checks import checked_count, checked_finite, checked_inputs
from unlearning.discovery import Decomposing, told_apart, trace
from unlearning.errors import (
    ForwardFailed,
    NothingToProject,
    OptionOutOfRange,
    SampleCountMismatch,
    UnknownLayer,
)
from unlearning.inventory import Layer, Untouched, read_rows
from unlearning.layout import layout_of
from unlearning.leaving import Enough
from unlearning.modes import device_of, refused, watchable
from unlearning.origins import Origins
from unlearning.patches import Drawn
from unlearning.positions import PositionSampler
from unlearning.products import Product, is_copy, operands, resolved
from unlearning.survey import UNUSED, Survey, list_untouched, multiplied_tensors, survey

Progress = Callable[[str, int, int | None], None]
"""Called as progress(stage, done, total); total is None while unknown. An exception it raises ends the work cleanly."""


Forward = Callable[[int, Tensor], object]
"""Runs a model on a batch, given the batch's number and the batch."""


class Sink(Protocol):
    """Takes what one product of a layer multiplies, in the order of the samples; autocast is off while it does."""

    def __call__(self, layer: Layer, drawn: Drawn, /) -> None:
        """Receive rows that are not copied yet: they show the model's own memory, and only until this returns."""


class RowSink(Protocol):
    """Takes the rows of one layer, in the order of the samples; autocast is off while it does."""

    def __call__(self, layer: Layer, rows: Tensor, /) -> None:
        """Receive `rows` (n, groups, d); they may be views, so a sink copies what it keeps."""


def in_pieces(sink: RowSink) -> Sink:
    """Return a sink that takes the rows out, and hands them to another one piece by piece."""

    def take_out(layer: Layer, drawn: Drawn) -> None:
        for rows in drawn.pieces():
            if len(rows):
                sink(layer, rows)

    return take_out


@dataclass(frozen=True)
class Captured:
    """What was seen.

    Attributes:
        layers: The layers that ran, in order of their first call.
        untouched: The parameters out of reach.
        num_samples: Samples that passed.
        assigned: Keys of the layers that are applied once to each batch and whose rows can be told apart by sample:
            they come sample after sample.
        uneven: Those among them of which some batches gave more rows per sample than others, as images of several sizes
            do. Of all others each sample gave as many, with `max_rows` None or a multiple of `num_samples`.
    """

    layers: tuple[Layer, ...]
    untouched: tuple[Untouched, ...]
    num_samples: int
    assigned: frozenset[str]
    uneven: frozenset[str] = frozenset()


class _Samplers:
    """One sampler per layer and call, so that the order in which calls alternate with batches cannot matter."""

    def __init__(self, found: Survey, max_rows: int | None, num_samples: int | None, seed: int) -> None:
        self._found, self._max_rows, self._num_samples, self._seed = found, max_rows, num_samples, seed
        self._made: dict[str, PositionSampler] = {}

    def of(self, layer: Layer, call: int) -> PositionSampler:
        key = f"{layer.weight}#{call}"
        if key not in self._made:
            calls = len(self._found.layouts[layer.weight])
            share = None if self._max_rows is None else max(1, self._max_rows // calls)
            self._made[key] = PositionSampler(share, self._num_samples or 0, seed=self._seed, key=key)
        return self._made[key]


class _Watch(Decomposing):
    """Sees the products of one forward after the other, and hands their rows on."""

    def __init__(
        self,
        found: Survey,
        chosen: Collection[str],
        origins: Origins,
        sink: Sink,
        draws: _Samplers,
        *,
        stops: bool,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._enough = Counter({key: len(found.layouts[key]) for key in chosen}) if stops else None
        self._found, self._chosen, self._origins, self._sink, self._draws = found, chosen, origins, sink, draws
        self._batch = 0
        self._calls: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self.late: dict[str, str] = {}
        # By layer, the rows per sample of all batches; None where nobody can say which sample a row belongs to.
        self.shares: dict[str, set[int | None]] = {key: set() for key in chosen}

    def forward(self, run: Forward, number: int, batch: Tensor) -> None:
        """Run the model on a batch."""
        self._batch, self._calls = len(batch), Counter()
        try:
            with refused(batch), self:
                run(number, batch)
        except Enough:
            pass
        except ForwardFailed as error:
            if self.failure is None or error.__cause__ is not self.failure:
                raise
            raise self.failure from None
        finally:
            self._origins.forget_copies()
        for key in self._chosen:
            if self._calls[key] != 1:
                self.shares[key].add(None)

    def execute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run the operation, which checks its operands, and then hand on its rows if it is a product of a layer."""
        result = func(*args, **kwargs)
        for operand in operands(func, args):
            product = resolved(operand, self._origins)
            if product is not None and self._handed_on(product):
                if self._enough is not None and self._calls >= self._enough:
                    raise Enough
                break
        if is_copy(func):
            self._origins.note_copy(args[0], result)
        return result

    def _handed_on(self, product: Product) -> bool:
        layer = self._found.layers.get(product.key)
        if layer is None:
            if self._found.reasons.get(product.name, UNUSED) == UNUSED:
                self.late[product.name] = "multiplied for some samples only, or in different ways"
            return False
        if layer.weight in self._chosen:
            try:
                self._see(layer, product)
            except BaseException as error:
                self.failure = error
                raise
        return True

    def _see(self, layer: Layer, product: Product) -> None:
        call = self._calls[layer.weight]
        self._calls[layer.weight] += 1
        index = self._index(layer, call, product.rows.items, product.rows.positions)
        with full_precision():
            self._sink(layer, Drawn(product.rows, index))

    def _index(self, layer: Layer, call: int, items: int, positions: int) -> Tensor | None:
        """Return the numbers of the rows to take, sample after sample; None for all in the order they stand in."""
        sampler, batch = self._draws.of(layer, call), self._batch
        known = self._found.layouts[layer.weight]
        layout = known[call] if call < len(known) else None
        split = None if layout is None else layout.fits(items, batch)
        if split is None:
            self.shares[layer.weight].add(None)
            return sampler.draw_unassigned(batch, items * positions)
        outer, inner = split
        index = sampler.draw(batch, outer * inner * positions)
        self.shares[layer.weight].add(outer * inner * positions if index is None else len(index) // batch)
        if outer == 1:
            return index
        if index is None:
            index = torch.arange(batch * outer * inner * positions)
        place, position = index // positions, index % positions
        sample, place = place // (outer * inner), place % (outer * inner)
        item = (place // inner * batch + sample) * inner + place % inner
        return item * positions + position


def capture(
    model: nn.Module,
    batches: Batches,
    sink: Sink,
    *,
    weights: Collection[str] | None = None,
    max_rows: int | None = None,
    seed: int = 0,
    num_samples: int | None = None,
    progress: Progress | None = None,
    stage: str = "capture",
    forward: Forward | None = None,
    stops: bool = False,
) -> Captured:
    """Run `model` over `batches` in evaluation mode and hand the input rows of every layer to `sink`.

    A matrix that is applied several times (a module called twice, tied weights) sends the rows of all its calls, each
    call with its share of `max_rows`. Two extra forwards of two samples find the layers, their order, the number of
    their calls, and which rows belong to which sample; a third, how images shall lie in memory.

    Args:
        model: Any module whose call takes one batch of inputs.
        batches: Inputs on any device; the model gets copies of them on its own.
        sink: Receives the rows (see `in_pieces`).
        weights: Keys of the layers to watch (`Layer.weight`); None for all that can be projected.
        max_rows: Most rows of one layer; more are subsampled without bias (see `PositionSampler`); None takes all.
        seed: Seed of the subsampling; the same seed draws by the same rule on every side.
        num_samples: Samples in the stream, needed to spread `max_rows` evenly. If it is None, they are counted:
            `batches` is iterated twice, or, if it is an iterator and can be iterated only once, its inputs (never the
            activations) are held in memory.
        progress: Called after each batch with the number of samples seen.
        stage: Name under which progress is reported.
        forward: How to run `model` on a batch, if another way gives the same products for the chosen layers (see
            `Replay`); None calls it.
        stops: Whether to leave each forward as soon as these layers have been seen as often as in the first forward;
            what runs differently for some samples is then not noticed. Not every model allows it: see `may_be_left`.

    Returns:
        The layers that ran, what is untouched, and the number of samples.

    Raises:
        EmptySide: there is no batch, or only empty ones.
        NothingToProject: no layer runs that can be projected.
        UnknownLayer: a name in `weights` is no layer that runs.
        NonFinite: a watched weight or an input holds NaN or infinity.
        ForwardFailed: the model refuses a batch.
        OptionOutOfRange: `max_rows` is below 1, or the model holds no data (device "meta").
        SampleCountMismatch: `num_samples` is not what the stream holds.

    Note:
        With max_rows the drawn positions do not depend on the batch size; the activations themselves may differ in
        their last bits, because libraries choose other kernels for other batch sizes. Where samples mix, or a layer
        sees a number of rows that depends on the data (routed experts), nobody can say which sample a row belongs to:
        there every row of a batch is equally likely, and the draw does depend on the batch size.
    """
    if max_rows is not None:
        checked_count("max_rows", max_rows)
    announced, stream = counted(batches, num_samples, needed=max_rows is not None, side=stage)
    seen = 0
    with watchable(model):
        head, pair = first_samples(stream, stage, device_of(model))
        with refused(pair):
            layout = layout_of(model, pair)
        origins = Origins(multiplied_tensors(model))
        found = _surveyed(model, layout(pair), origins)
        chosen = _chosen(model, found, weights)
        draws = _Samplers(found, max_rows, announced, seed)
        watch = _Watch(found, chosen, origins, sink, draws, stops=stops)
        run = forward or (lambda _number, batch: model(batch))
        for number, batch in enumerate(chain(head, stream)):
            watch.forward(run, number, layout(batch))
            seen += len(batch)
            if progress is not None:
                progress(stage, seen, announced)
    if announced is not None and seen != announced:
        raise SampleCountMismatch(announced, seen)
    layers = tuple(
        layer for layer in found.layers.values() if layer.weight in chosen and layer.tensor not in watch.late
    )
    assigned = _assigned(found) - {key for key, shares in watch.shares.items() if None in shares}
    uneven = assigned.intersection(key for key, shares in watch.shares.items() if len(shares) > 1)
    return Captured(layers, list_untouched(model, found, layers, watch.late), seen, assigned, uneven)


def find_layers(model: nn.Module, example: Tensor) -> Captured:
    """Return the layers of `model` and what is untouched, from the first sample of `example` (B, ...) alone.

    Errors of `capture` pass through.
    """
    with watchable(model):
        _, pair = first_samples(inputs_of([checked_inputs(example)[:2]], "example"), "example", device_of(model))
        found = _surveyed(model, pair, Origins(multiplied_tensors(model)))
        chosen = _chosen(model, found, None)
        layers = tuple(layer for layer in found.layers.values() if layer.weight in chosen)
        return Captured(layers, list_untouched(model, found, layers, {}), min(len(example), 2), _assigned(found))


def _assigned(found: Survey) -> frozenset[str]:
    return frozenset(key for key, calls in found.layouts.items() if len(calls) == 1 and calls[0] is not None)


def _surveyed(model: nn.Module, pair: Tensor, origins: Origins) -> Survey:
    """Run the model on two samples, then on the first one twice, and return what it consists of."""
    if pair.is_meta:
        raise OptionOutOfRange("the model's device", "one that holds data", "meta")
    with refused(pair):
        first = trace(model, origins, told_apart(pair))
        second = trace(model, origins, torch.cat([pair[:1], pair[:1]]))
    return survey(model, first, second, origins)


def _chosen(model: nn.Module, found: Survey, weights: Collection[str] | None) -> tuple[str, ...]:
    known = {layer.weight: layer for layer in found.layers.values()}
    if not known:
        raise NothingToProject(type(model).__name__)
    if weights is not None and set(weights) - set(known):
        raise UnknownLayer(set(weights) - set(known), known)
    chosen = tuple(name for name in known if weights is None or name in weights)
    if not chosen:
        raise NothingToProject(type(model).__name__)
    for name in chosen:
        checked_finite(read_rows(model, known[name]), f"weight '{name}'")
    return chosen
