"""Watches a model run, and streams the inputs of its layers as rows to whoever wants to sum them up.

Forward hooks see every application of every Linear and Conv2d, so no architecture needs code of its own. The hooks are
always removed and every module's mode restored, whatever happens inside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from torch import Tensor, nn

from unlearning.checks import checked_count, checked_finite, checked_inputs
from unlearning.errors import EmptySide, NothingToProject, SampleCountMismatch, UnknownLayer
from unlearning.inventory import Layer, Untouched, find_layers, list_untouched, module_weights
from unlearning.modes import device_of, evaluating
from unlearning.patches import num_rows, rows_of
from unlearning.positions import PositionSampler

Progress = Callable[[str, int, int | None], None]
"""Called as progress(stage, done, total); total is None while unknown. An exception it raises ends the work cleanly."""

Batches = Iterable[Any]
"""Any iterable of input tensors (B, ...), or of tuples that start with one, as data loaders yield."""


class RowSink(Protocol):
    """Takes the rows of one layer, in the order of the samples."""

    def __call__(self, layer: Layer, rows: Tensor, /) -> None:
        """Receive `rows` (n, groups, d); they may be views, so a sink copies what it keeps."""


@dataclass(frozen=True)
class Captured:
    """What was seen: the layers that ran, in order of their first call, and the parameters out of reach."""

    layers: tuple[Layer, ...]
    untouched: tuple[Untouched, ...]
    num_samples: int


class _Watch:
    """What the hooks share: which samples are passing, and how often each weight was called for them."""

    def __init__(self, sink: RowSink, samplers: _Samplers) -> None:
        self._sink = sink
        self._samplers = samplers
        self._batch = 0
        self._calls: Counter[str] = Counter()

    def expect(self, batch: int) -> None:
        """Announce the next forward and its number of samples."""
        self._batch, self._calls = batch, Counter()

    def see(self, module: nn.Module, layer: Layer, inputs: Tensor) -> None:
        sampler = self._samplers.of(layer, self._calls[layer.weight])
        self._calls[layer.weight] += 1
        rows = num_rows(module, inputs)
        # Dimension 0 counts samples (windows of one sample may follow each other). Inputs that do not divide by the
        # batch, such as a table of parameters, cannot be assigned to samples and are taken whole.
        index = sampler.draw(self._batch, rows // self._batch) if rows % self._batch == 0 else None
        for part in rows_of(module, inputs, None if index is None else index.to(inputs.device)):
            if len(part):
                self._sink(layer, part)


class _Samplers:
    """One sampler per weight and call, so that the order in which calls alternate with batches cannot matter."""

    def __init__(self, calls: Counter[str], max_rows: int | None, num_samples: int | None, seed: int) -> None:
        self._calls, self._max_rows, self._num_samples, self._seed = calls, max_rows, num_samples, seed
        self._made: dict[str, PositionSampler] = {}

    def of(self, layer: Layer, call: int) -> PositionSampler:
        key = f"{layer.weight}#{call}"
        if key not in self._made:
            share = None if self._max_rows is None else max(1, self._max_rows // self._calls[layer.weight])
            self._made[key] = PositionSampler(share, self._num_samples or 0, seed=self._seed, key=key)
        return self._made[key]


def capture(
    model: nn.Module,
    batches: Batches,
    sink: RowSink,
    *,
    weights: Collection[str] | None = None,
    max_rows: int | None = None,
    seed: int = 0,
    num_samples: int | None = None,
    progress: Progress | None = None,
    stage: str = "capture",
) -> Captured:
    """Run `model` over `batches` in evaluation mode and hand every layer's input rows to `sink`.

    A weight that is applied several times (a module called twice, tied weights) sends the rows of all its calls, each
    call with its share of `max_rows`. One extra forward of the first sample finds the layers that run, their order and
    the number of their calls. Dimension 0 of a layer's input is taken to count samples.

    Args:
        model: Any module whose call takes one batch of inputs.
        batches: Inputs on any device; they are moved to the model's.
        sink: Receives the rows.
        weights: Parameter names to watch; None for all that can be projected.
        max_rows: Most rows of one weight; more are subsampled without bias (see `PositionSampler`); None takes all.
        seed: Seed of the subsampling; the same seed draws by the same rule on every side.
        num_samples: Samples in the stream, needed to spread `max_rows` evenly. If it is None and `batches` is no
            sequence of batches, the inputs (never the activations) are held in memory to count them.
        progress: Called after each batch with the number of samples seen.
        stage: Name under which progress is reported.

    Returns:
        The layers that ran, what is untouched, and the number of samples.

    Raises:
        EmptySide: there is no batch, or only empty ones.
        NothingToProject: no watched layer runs.
        UnknownLayer: a name in `weights` is no projectable parameter.
        NonFinite: a watched weight holds NaN or infinity.
        SampleCountMismatch: `num_samples` is not what the stream holds.

    Note:
        With max_rows the drawn positions do not depend on the batch size; the activations themselves may differ in
        their last bits, because libraries choose other kernels for other batch sizes.
    """
    found = _chosen(find_layers(model), weights, model)
    if max_rows is not None:
        checked_count("max_rows", max_rows)
    announced, stream = _counted(batches, num_samples, needed=max_rows is not None, side=stage)
    first = next(stream, None)
    if first is None:
        raise EmptySide(stage)
    device, seen = device_of(model), 0
    with evaluating(model):
        calls = _discover(model, found, first[:1].to(device))
        watch = _Watch(sink, _Samplers(calls, max_rows, announced, seed))
        with _hooked(model, {name: found[name] for name in calls}, watch.see):
            for batch in chain([first], stream):
                watch.expect(len(batch))
                model(batch.to(device))
                seen += len(batch)
                if progress is not None:
                    progress(stage, seen, announced)
    if announced is not None and seen != announced:
        raise SampleCountMismatch(announced, seen)
    untouched = list_untouched(model, reached=calls.keys(), asked=found.keys())
    return Captured(tuple(found[name] for name in calls), untouched, seen)


def _chosen(found: Mapping[str, Layer], weights: Collection[str] | None, model: nn.Module) -> dict[str, Layer]:
    if weights is not None:
        unknown = set(weights) - set(found)
        if unknown:
            raise UnknownLayer(unknown, found)
    chosen = {name: layer for name, layer in found.items() if weights is None or name in weights}
    if not chosen:
        raise NothingToProject(type(model).__name__)
    for name in chosen:
        checked_finite(model.get_parameter(name), f"weight '{name}'")
    return chosen


def _counted(
    batches: Batches, num_samples: int | None, *, needed: bool, side: str
) -> tuple[int | None, Iterator[Tensor]]:
    """Return the number of samples, if it is needed or known, and the batches that are not empty."""
    if num_samples is not None:
        return checked_count("num_samples", num_samples), _inputs(batches)
    if not needed:
        return None, _inputs(batches)
    held = batches if isinstance(batches, Sequence) else list(_inputs(batches))
    count = sum(len(inputs) for inputs in _inputs(held))
    if count == 0:
        raise EmptySide(side)
    return count, _inputs(held)


def _inputs(batches: Batches) -> Iterator[Tensor]:
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        inputs = checked_inputs(batch)
        if len(inputs):
            yield inputs


def _discover(model: nn.Module, layers: Mapping[str, Layer], example: Tensor) -> Counter[str]:
    """Return how often each weight is applied in one forward; the keys stand in order of the first call."""
    calls: Counter[str] = Counter()

    def count(_module: nn.Module, layer: Layer, _inputs: Tensor) -> None:
        calls[layer.weight] += 1

    with _hooked(model, layers, count):
        model(example)
    if not calls:
        raise NothingToProject(type(model).__name__)
    return calls


@contextmanager
def _hooked(
    model: nn.Module, layers: Mapping[str, Layer], see: Callable[[nn.Module, Layer, Tensor], None]
) -> Iterator[None]:
    """Call `see(module, layer, inputs)` before each application of a layer, until the block ends."""
    with ExitStack() as stack:
        for module, layer in module_weights(model, layers):

            def hook(module: nn.Module, args: Any, kwargs: Any, layer: Layer = layer) -> None:
                see(module, layer, args[0] if args else kwargs["input"])

            handle = module.register_forward_pre_hook(hook, with_kwargs=True)
            stack.callback(handle.remove)
        yield
