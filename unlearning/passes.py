"""Runs of a model whose layers change one after the other: what comes before the next of these is computed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import torch
from torch import Tensor, nn

from unlearning.capture import Captured, Forward, Progress, RowSink, Sink, capture, find_layers, in_pieces
from unlearning.checks import checked_finite
from unlearning.deferred import Part, Parts
from unlearning.errors import NonFinite, ShapeError, UnknownLayer
from unlearning.inventory import Layer
from unlearning.leaving import may_be_left
from unlearning.modes import device_of, watchable
from unlearning.patches import Drawn
from unlearning.replay import Replay
from unlearning.survey import ADDED


class Passes:
    """Runs a model over all samples, again and again while its layers change, and says how far the whole work is.

    What comes before the first of the layers is computed once (see `replay`); `follow` lets that go with the work, so
    that of each layer no more is computed than the one before it. Where one of them is parametrised,
    everything is computed each time: its weight is made before it is used, and a replay would not see that it changed.
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
        found = find_layers(model, batches[0])
        self.layers = _checked_layers(found.layers, layers)
        self.assigned = found.assigned
        self._added = {item.name for item in found.untouched if set(item.reason.split("; ")) <= set(ADDED)}
        self._done, self._total = 0, self.num_samples
        with watchable(model):
            self._replay = Replay(model, batches, self._edited(self.layers))
        self._outrun = self._ahead = self._replay
        self._stops: bool | None = None

    def first(self, make_sink: Callable[[], RowSink]) -> tuple[Tensor, Captured]:
        """Show the rows of all layers to a sink, sample after sample, and return the outputs (N, K), on the CPU.

        Raises:
            ForwardFailed: the model refuses a batch.
            OptionOutOfRange: it returns something else than a tensor.
            ShapeError: the outputs are no logits.
            NonFinite: they are not finite; the first layer with such inputs is named, if there is one.
        """
        outputs: dict[int, Tensor] = {}

        def forward(number: int, _batch: Tensor) -> None:
            outputs[number] = self._replay.logits(number, {}).float().cpu()

        keys = [layer.weight for layer in self.layers]
        captured = self._shown(self._replay, forward, lambda: in_pieces(make_sink()), keys)
        logits = torch.cat([outputs[number] for number in range(len(self._batches))])
        if logits.ndim != 2:
            raise ShapeError("outputs", "(n, K)", logits.shape)
        try:
            return checked_finite(logits, "the model's outputs"), captured
        except NonFinite:
            self._capture(in_pieces(_refuse_non_finite))
            raise

    def expect(self, passes: int) -> None:
        """Announce the next passes; what is done before them counts as well."""
        self._total = self._done + passes * self.num_samples

    def follow(self, layers: Iterable[Layer]) -> None:
        """Let the next `rows` begin where the first of these layers does; until `rewind` no other may change."""
        self._release(self._outrun)
        self._outrun = self._ahead
        with watchable(self._model):
            self._ahead = self._outrun.behind(self._edited(layers))

    def rewind(self) -> None:
        """Begin where the first layer of all does again."""
        self._release(self._outrun)
        self._release(self._ahead)
        self._outrun = self._ahead = self._replay

    def show_first(self, sink: RowSink, layers: Collection[str], num_samples: int) -> Captured:
        """Show all rows of these layers to a sink, for the first samples alone."""
        firsts, left = list[Tensor](), num_samples
        for batch in self._batches:
            firsts.append(batch[:left])
            left -= len(firsts[-1])
            if not left:
                break
        return capture(self._model, firsts, in_pieces(sink), weights=layers)

    def rows(self, layer: Layer) -> Tensor:
        """Return the inputs (n, groups, d) of one layer, at least float32."""
        parts: list[Tensor] = []

        def sink(_layer: Layer, rows: Tensor) -> None:
            parts.append(at_least_single(rows))

        def emptied() -> Sink:
            parts.clear()
            return in_pieces(sink)

        self._show_ahead(layer, emptied)
        return torch.cat(parts)

    def show_parts(self, layer: Layer, make_taker: Callable[[], Callable[[Part], None]]) -> None:
        """Show the rows of one layer part by part to what `make_taker` returns, in whatever order is cheap."""
        begun: list[tuple[Parts, Callable[[Part], None]]] = []

        def emptied() -> Sink:
            begun[:] = [(Parts(), make_taker())]
            return sink

        def sink(_layer: Layer, drawn: Drawn) -> None:
            [(parts, take)] = begun
            for part in parts.add(drawn):
                take(part)

        self._show_ahead(layer, emptied)
        [(parts, take)] = begun
        for part in parts.rest():
            take(part)

    def bias_of(self, layer: Layer) -> tuple[str, Tensor] | None:
        """Return the bias that belongs to a weight by its name, if there is one of the right size that is added."""
        name = bias_name(layer)
        found = dict(self._model.named_parameters()).get(name) if name in self._added else None
        return (name, found.detach()) if found is not None and found.shape == (layer.m,) else None

    def _release(self, replay: Replay) -> None:
        if replay is not self._replay:
            replay.release()

    def _edited(self, layers: Iterable[Layer]) -> set[str]:
        """Return the names of the parameters that change; none if a run shows only what is computed from one."""
        parameters = {name for name, _ in self._model.named_parameters()}
        if any(layer.tensor not in parameters for layer in self.layers):
            return set()
        return parameters.intersection(name for layer in layers for name in (layer.tensor, bias_name(layer)))

    def _show_ahead(self, layer: Layer, make_sink: Callable[[], Sink]) -> None:
        """Show what one layer multiplies, and leave each forward there if the model allows it."""
        replay = self._ahead
        if self._stops is None:
            self._stops = may_be_left(self._model, self._batches[0][:2].to(device_of(self._model)))

        def forward(number: int, _batch: Tensor) -> None:
            replay.logits(number, {})

        self._shown(replay, forward, make_sink, [layer.weight], stops=self._stops)

    def _shown(
        self,
        replay: Replay,
        forward: Forward,
        make_sink: Callable[[], Sink],
        layers: Collection[str],
        *,
        stops: bool = False,
    ) -> Captured:
        broken, done = replay.num_broken, self._done

        def advance(_stage: str, seen: int, _total: int | None) -> None:
            self._done = done + seen
            if self._progress is not None:
                self._progress("refit", self._done, self._total)

        captured = self._capture(make_sink(), layers, forward, stops=stops, progress=advance)
        if replay.num_broken > broken:  # some rows were shown twice
            captured = self._capture(make_sink(), layers, stops=stops)
        return captured

    def _capture(
        self,
        sink: Sink,
        layers: Collection[str] | None = None,
        forward: Forward | None = None,
        *,
        stops: bool = False,
        progress: Progress | None = None,
    ) -> Captured:
        return capture(
            self._model,
            self._batches,
            sink,
            weights=layers,
            max_rows=self.each * self.num_samples,
            seed=self._seed,
            num_samples=self.num_samples,
            progress=progress,
            forward=forward,
            stops=stops,
        )


def _refuse_non_finite(layer: Layer, rows: Tensor) -> None:
    checked_finite(rows, f"the inputs of '{layer.weight}'")


def _checked_layers(found: tuple[Layer, ...], wanted: Collection[str] | None) -> tuple[Layer, ...]:
    if wanted is None:
        return found
    unknown = set(wanted) - {layer.weight for layer in found}
    if unknown:
        raise UnknownLayer(unknown, [layer.weight for layer in found])
    return tuple(layer for layer in found if layer.weight in wanted)


def at_least_single(rows: Tensor) -> Tensor:
    """Return a copy in float32, or float64 if that is what it was."""
    return rows.to(torch.promote_types(rows.dtype, torch.float32), copy=True)


def bias_name(layer: Layer) -> str:
    """Return the name of the bias that belongs to a weight by its name; empty if it can have none."""
    return layer.weight.removesuffix("weight") + "bias" if layer.weight.endswith("weight") else ""
