"""Second moments of what the layers see: additive over samples, so they stream, and never larger than (d, d)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn

from unlearning.arithmetic import full_precision
from unlearning.capture import Batches, Progress, capture
from unlearning.checks import checked_finite
from unlearning.deferred import Deferred, DeferredImages, pays
from unlearning.errors import AllZeroActivations, ShapeError, StatisticsMismatch, UnknownLayer
from unlearning.inventory import Layer, Untouched
from unlearning.patches import Columns, Drawn
from unlearning.symmetric import BlockSymmetric, evened

# Rows per matrix product: enough that reading and writing the sum costs little beside the product.
_BLOCK_ROWS = 512
# Products summed up in the rows' own precision before they go to a float64 total.
_PRODUCTS_PER_TOTAL = 64


@dataclass(frozen=True)
class SecondMoment:
    """The uncentred second moment of a layer's inputs, one matrix per group, in whichever form is smaller.

    Attributes:
        held: sum of x x^T as block rows of its upper triangle; or, when there are few rows (n <= d / 2), the rows
            themselves, shape (groups, n, d).
        rows: Number of rows n in the sum.
    """

    held: BlockSymmetric | Tensor
    rows: int

    @classmethod
    def of(cls, gram: Tensor, rows: int) -> SecondMoment:
        """Return the moment of sums of x x^T that are already there, (groups, d, d)."""
        return cls(BlockSymmetric.of(gram), rows)

    @property
    def d(self) -> int:
        """Width of the layer's input."""
        return self.held.shape[-1] if isinstance(self.held, Tensor) else self.held.d

    @property
    def groups(self) -> int:
        """Independent matrices."""
        return len(self.held) if isinstance(self.held, Tensor) else self.held.groups

    @property
    def dtype(self) -> torch.dtype:
        """Precision of what is held, at least float32."""
        return self.held.dtype

    @property
    @full_precision()
    def gram(self) -> Tensor:
        """The sum of x x^T, (groups, d, d), computed on each use; symmetric, positive semi-definite up to rounding."""
        return self.held.mT @ self.held if isinstance(self.held, Tensor) else self.held.dense()

    @property
    def diagonal(self) -> Tensor:
        """The diagonal of the sum, (groups, d)."""
        return self.held.square().sum(dim=-2) if isinstance(self.held, Tensor) else self.held.diagonal()

    @property
    def inverse_trace(self) -> Tensor:
        """1 / trace of each group, float64 (groups,); 0 for a group that never saw anything but zeros.

        Squares that underflow count as zeros: nothing is left of their directions, and 1 / trace would overflow.
        """
        trace = self.diagonal.sum(-1, dtype=torch.float64)
        least = torch.finfo(self.dtype).tiny / torch.finfo(self.dtype).eps
        return torch.where(trace > least, 1 / trace, torch.zeros_like(trace))

    def normalised(self) -> Tensor:
        """Return C = X^T X / trace(X^T X), shape (groups, d, d); each group has trace 1.

        A group that never saw anything but zeros (dead channels) has no directions: its C is zero, which makes M zero
        too.
        """
        gram = self.gram
        return gram.mul_(self.inverse_trace.to(gram.dtype)[:, None, None])

    def numel(self) -> int:
        """Numbers held."""
        return self.held.numel()


class SecondMomentSum:
    """Accumulates X^T X over a stream of rows, or keeps the rows as long as they are the smaller form.

    Up to d / 2 rows are kept as they are. When more come, they are multiplied block by block, each block one matrix
    product per block row of the upper triangle, and only an incomplete block is kept. Blocks begin at multiples of a
    fixed number of rows, so the result depends on the order of the rows but not on how they came in pieces.

    Products are made and added in the rows' own precision (at least float32). After 64 of them the sum goes to a
    float64 total, so that the error is that of 64 blocks however long the stream is: a plain float32 sum of k products
    would lose up to k units in the last place, while float64 throughout would cost more than twice the time and memory
    for digits that the activations do not have.

    Patches that reach over an image's edge are multiplied without the zeros of its padding (see `deferred`).
    """

    def __init__(self, d: int, groups: int = 1) -> None:
        self._d, self._groups = d, groups
        self._deferred = DeferredImages()
        self._kept: Tensor | None = None
        self._filled = 0
        self._gram: BlockSymmetric | None = None
        self._products = 0
        self._total: BlockSymmetric | None = None
        self._rows = 0

    @full_precision()
    def add(self, rows: Tensor) -> None:
        """Add rows of shape (n, groups, d), any floating dtype; they are copied or used up before this returns.

        Raises:
            ShapeError: the rows have another width or another number of groups.
        """
        if rows.ndim != 3 or rows.shape[1:] != (self._groups, self._d):
            raise ShapeError("rows", f"(n, {self._groups}, {self._d})", rows.shape)
        self._rows += len(rows)
        if self._gram is None:
            if self._rows <= self._d // 2:
                self._reserve(self._rows, rows)
                self._keep(rows)
                return
            self._begin_products(rows)
        self._feed(rows.transpose(0, 1))

    @full_precision()
    def add_drawn(self, drawn: Drawn) -> None:
        """Add rows that are not copied yet; they are copied or used up before this returns.

        Raises:
            ShapeError: as `add`.
        """
        rows = drawn.rows
        if pays(rows):
            if (rows.groups, rows.width) != (self._groups, self._d):
                raise ShapeError("rows", f"(n, {self._groups}, {self._d})", (len(drawn), rows.groups, rows.width))
            for batch in self._deferred.add(rows, drawn.index):
                self._add_inside(batch)
        else:
            for piece in drawn.pieces():
                self.add(piece)

    @full_precision()
    def finish(self) -> SecondMoment:
        """Return the moment, in the precision of the products, and release the working memory."""
        for batch in self._deferred.rest():
            self._add_inside(batch)
        kept, gram, total = self._kept, self._gram, self._total
        self._kept = self._gram = self._total = None
        if gram is None:
            empty = torch.zeros(self._groups, 0, self._d) if kept is None else kept[:, : self._filled]
            return SecondMoment(empty.clone(memory_format=torch.contiguous_format), self._rows)
        if kept is not None and self._filled:
            gram.add_product(kept[:, : self._filled])
        if total is not None:
            total.add(gram)
            gram = total.to(gram.dtype)
        return SecondMoment(gram, self._rows)

    def _add_inside(self, batch: Deferred) -> None:
        """Add patches without their zeros, unless the rows are so few that they are kept as they are."""
        if self._gram is None and self._rows + len(batch) <= self._d // 2:
            for piece in batch.pieces():
                self.add(piece)
            return
        self._rows += len(batch)
        for part in batch.parts():
            if self._gram is None:
                self._begin_products(part.rows, part.unit)
            self._multiply(evened(part.rows.transpose(0, 1)), part.columns)

    def _reserve(self, length: int, like: Tensor) -> None:
        if self._kept is None or self._kept.shape[1] < length:
            old, limit = self._kept, max(self._d // 2, length)
            dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
            length = min(limit, max(length, 2 * self._filled))
            self._kept = torch.empty(self._groups, length, self._d, dtype=dtype, device=like.device)
            if old is not None:
                self._kept[:, : self._filled] = old[:, : self._filled]

    def _keep(self, rows: Tensor) -> None:
        if self._kept is not None:
            self._kept[:, self._filled : self._filled + len(rows)] = rows.transpose(0, 1)
            self._filled += len(rows)

    def _begin_products(self, like: Tensor, unit: int = 1) -> None:
        """Turn the rows that are kept into products; what follows is multiplied as it comes."""
        old, filled = self._kept, self._filled
        self._kept, self._filled = None, 0
        self._reserve(_BLOCK_ROWS, like)
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self._gram = BlockSymmetric.zeros(self._d, self._groups, dtype=dtype, device=like.device, unit=unit)
        if old is not None:
            self._feed(old[:, :filled])

    def _feed(self, rows: Tensor) -> None:
        """Multiply rows (groups, n, d) by whole blocks; only what is left over, or fills a block up, is copied."""
        done, length = 0, rows.shape[1]
        while done < length:
            step = min(length - done, _BLOCK_ROWS - self._filled)
            part = rows[:, done : done + step]
            if step < _BLOCK_ROWS and self._kept is not None:
                self._kept[:, self._filled : self._filled + step] = part
                self._filled += step
                part = self._kept
            if step == _BLOCK_ROWS or self._filled == _BLOCK_ROWS:
                self._multiply(part)
                self._filled = 0
            done += step

    def _multiply(self, block: Tensor, columns: Columns | None = None) -> None:
        if self._gram is None:
            return
        if self._products >= _PRODUCTS_PER_TOTAL:
            self._total, self._products = self._total_with(self._gram), 0
        self._gram.add_product(block.to(self._gram.dtype), columns)
        self._products += -(-block.shape[1] // _BLOCK_ROWS)

    def _total_with(self, gram: BlockSymmetric) -> BlockSymmetric:
        """Return the float64 total with `gram` added, and set `gram` to zero."""
        if self._total is None:
            total = gram.to(torch.float64)
        else:
            total = self._total
            total.add(gram)
        gram.zero()
        return total


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
        Memory: per layer, about groups * d^2 / 2 numbers and one block of rows, or the n rows themselves if that is
            less, and up to 16 MiB of small padded images; time: n d^2 operations per layer besides the forward.
        Errors of `capture` pass through.
    """
    sums: dict[str, SecondMomentSum] = {}

    def sink(layer: Layer, drawn: Drawn) -> None:
        if layer.weight not in sums:
            sums[layer.weight] = SecondMomentSum(layer.d, layer.groups)
        sums[layer.weight].add_drawn(drawn)

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
    diagonal = checked_finite(moment.diagonal, f"the inputs of '{layer.weight}' ({side} side)")
    if not bool((diagonal > 0).any()):
        raise AllZeroActivations(layer.weight, side)
    return moment
