"""Second moments of what the layers see: additive over samples, so they stream, and never larger than (d, d)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from unlearning.capture import Batches, Progress, capture
from unlearning.checks import checked_finite
from unlearning.errors import AllZeroActivations, ShapeError, StatisticsMismatch, UnknownLayer
from unlearning.inventory import Layer, Untouched

# Rows are gathered into blocks before each matrix product: at most this many numbers, and this many rows.
_BLOCK_NUMBERS = 1 << 24
_BLOCK_ROWS = 8192


@dataclass(frozen=True)
class SecondMoment:
    """The uncentred second moment of a layer's inputs, one matrix per group.

    Attributes:
        gram: sum of x x^T, shape (groups, d, d), symmetric and positive semi-definite up to rounding.
        rows: Number of rows n in the sum.
    """

    gram: Tensor
    rows: int

    @property
    def d(self) -> int:
        """Width of the layer's input."""
        return self.gram.shape[-1]

    def normalised(self) -> Tensor:
        """Return C = X^T X / trace(X^T X), shape (groups, d, d); each group has trace 1.

        A group that never saw anything but zeros (dead channels) has no directions: its C is zero, which makes M zero
        too.
        """
        trace = self.gram.diagonal(dim1=-2, dim2=-1).sum(-1, dtype=torch.float64)
        scale = torch.where(trace > 0, 1 / trace, torch.zeros_like(trace))
        return self.gram * scale.to(self.gram.dtype)[:, None, None]


class SecondMomentSum:
    """Accumulates X^T X over a stream of rows.

    Rows are copied into blocks of a fixed size and each full block is one matrix product in the rows' own precision (at
    least float32); the products are summed in float64. So the result depends on the order of the rows but not on how
    they came in pieces, and its error is that of one block however long the stream is: a plain float32 sum of k
    products would lose up to k units in the last place, while float64 products throughout would cost more than twice
    the time for digits that the activations do not have.
    """

    def __init__(self, d: int, groups: int = 1) -> None:
        self._d, self._groups = d, groups
        self._block: Tensor | None = None
        self._gram: Tensor | None = None
        self._filled = 0
        self._rows = 0

    def add(self, rows: Tensor) -> None:
        """Add rows of shape (n, groups, d), any floating dtype.

        Raises:
            ShapeError: the rows have another width or another number of groups.
        """
        if rows.ndim != 3 or rows.shape[1:] != (self._groups, self._d):
            raise ShapeError("rows", f"(n, {self._groups}, {self._d})", rows.shape)
        block = self._prepared(rows)
        done = 0
        while done < len(rows):
            step = min(len(rows) - done, len(block) - self._filled)
            block[self._filled : self._filled + step] = rows[done : done + step]
            self._filled, done = self._filled + step, done + step
            if self._filled == len(block):
                self._flush()
        self._rows += len(rows)

    def finish(self) -> SecondMoment:
        """Return the moment, in the precision of the products, and release the working memory."""
        self._flush()
        if self._gram is None or self._block is None:
            return SecondMoment(torch.zeros(self._groups, self._d, self._d), 0)
        moment = SecondMoment(self._gram.to(self._block.dtype), self._rows)
        self._gram = self._block = None
        return moment

    def _prepared(self, rows: Tensor) -> Tensor:
        if self._block is None:
            dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
            length = min(_BLOCK_ROWS, max(64, _BLOCK_NUMBERS // (self._groups * self._d)))
            self._block = torch.empty(length, self._groups, self._d, dtype=dtype, device=rows.device)
            shape = (self._groups, self._d, self._d)
            self._gram = torch.zeros(shape, dtype=torch.float64, device=rows.device)
        return self._block

    def _flush(self) -> None:
        if self._block is not None and self._gram is not None and self._filled:
            block = self._block[: self._filled]
            if self._groups == 1:
                self._gram[0] += block[:, 0].T @ block[:, 0]
            else:
                self._gram += block.permute(1, 2, 0) @ block.permute(1, 0, 2)
            self._filled = 0


@dataclass(frozen=True)
class LayerStatistics:
    """One side's second moments for every layer that ran, in order of execution.

    Attributes:
        moments: By parameter name; iterates in order of execution.
        layers: The layers, in the same order.
        untouched: Parameters out of reach, with reasons.
        num_samples: Samples that passed.
    """

    moments: Mapping[str, SecondMoment]
    layers: tuple[Layer, ...]
    untouched: tuple[Untouched, ...]
    num_samples: int


def collect(
    model: nn.Module,
    batches: Batches,
    *,
    weights: Collection[str] | None = None,
    max_rows: int | None = None,
    seed: int = 0,
    num_samples: int | None = None,
    progress: Progress | None = None,
    side: str = "retain",
) -> LayerStatistics:
    """Return the second moment of every layer's inputs over one side's samples.

    Args:
        model: The model to watch; it is left as it was.
        batches: Any iterable of input batches, without augmentation.
        weights: Parameter names to watch; None for all that can be projected.
        max_rows: Most rows (positions) per layer; None takes all. See `capture` for the rule and what is deterministic.
        seed: Seed of the choice of positions.
        num_samples: Samples in the stream, if the iterable cannot tell.
        progress: Called as progress(side, samples done, samples in total or None).
        side: Name of the side, for progress and for errors.

    Returns:
        Float32 moments (float64 for float64 activations) on the model's device.

    Raises:
        NonFinite: NaN or infinity among a layer's inputs; the first such layer in order of execution is named.
        AllZeroActivations: a layer saw only zeros.

    Note:
        Memory: groups * d^2 float64 numbers per layer, and one block of rows; time: n d^2 per layer besides the
            forward.
        Errors of `capture` pass through.
    """
    sums: dict[str, SecondMomentSum] = {}

    def sink(layer: Layer, rows: Tensor) -> None:
        if layer.weight not in sums:
            sums[layer.weight] = SecondMomentSum(layer.d, layer.groups)
        sums[layer.weight].add(rows)

    captured = capture(
        model,
        batches,
        sink,
        weights=weights,
        max_rows=max_rows,
        seed=seed,
        num_samples=num_samples,
        progress=progress,
        stage=side,
    )
    moments = {
        layer.weight: _checked(sums.pop(layer.weight, SecondMomentSum(layer.d, layer.groups)).finish(), layer, side)
        for layer in captured.layers
    }
    return LayerStatistics(MappingProxyType(moments), captured.layers, captured.untouched, captured.num_samples)


def chosen_layers(
    retain: LayerStatistics, forget: LayerStatistics, layers: Collection[str] | None
) -> tuple[Layer, ...]:
    """Return the layers to edit, in order of execution.

    Raises:
        StatisticsMismatch: the two sides describe different layers.
        UnknownLayer: a name in `layers` has no statistics.
    """
    if retain.layers != forget.layers:
        raise StatisticsMismatch("the two sides ran different layers")
    if layers is None:
        return retain.layers
    unknown = set(layers) - set(retain.moments)
    if unknown:
        raise UnknownLayer(unknown, retain.moments)
    return tuple(layer for layer in retain.layers if layer.weight in layers)


def _checked(moment: SecondMoment, layer: Layer, side: str) -> SecondMoment:
    # Any NaN or infinity in a row reaches the diagonal, which is cheap to look at.
    diagonal = checked_finite(moment.gram.diagonal(dim1=-2, dim2=-1), f"the inputs of '{layer.weight}' ({side} side)")
    if not bool((diagonal > 0).any()):
        raise AllZeroActivations(layer.weight, side)
    return moment
