"""Rows cut into parts for products. Patches wait as images, smaller than their patches, until there are enough of them.

Patches of small images are half zeros or more: what padding put around the image. With all patches of many images at
hand, those that reach over the same edges can be multiplied together, without their zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from torch import Tensor

from unlearning.patches import Columns, Drawn, PatchRows, Rows

# A buffer holds as many images as fit into so many numbers (16 MiB of float32), but no more than are useful.
_MOST_NUMBERS = 1 << 22
_MOST_IMAGES = 512
# From this width on, and up to this share of products left, zeros of the padding are left out: elsewhere the many small
# products cost more than they save.
_LEAST_WIDTH = 512
_MOST_KEPT = 0.85


@dataclass(frozen=True)
class Part:
    """Some rows, in whatever order and with the columns that are not zero.

    Attributes:
        numbers: Places of the rows among all that came, int64 (n,) on the CPU.
        rows: (n, groups, width); views, perhaps.
        columns: Runs of columns that `rows` has; None for all.
        unit: All runs begin and end at multiples of it.
    """

    numbers: Tensor
    rows: Tensor
    columns: Columns | None
    unit: int = 1


@dataclass(frozen=True)
class Deferred:
    """Images that have come together, and the numbers of the rows drawn from them.

    Attributes:
        patches: All patches of the images.
        index: Which of them, int64 (n,) on the CPU.
        numbers: Their places among all rows that came, int64 (n,) on the CPU.
    """

    patches: PatchRows
    index: Tensor
    numbers: Tensor

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.index)

    def pieces(self) -> Iterator[Tensor]:
        """Yield the rows (n, groups, d) with all columns, in the order of `index`."""
        return self.patches.take(self.index)

    def parts(self) -> Iterator[Part]:
        """Yield the rows without the zeros of the padding."""
        for places, rows, columns in self.patches.take_inside(self.index):
            yield Part(self.numbers[places], rows, columns, self.patches.channels)


class DeferredImages:
    """Takes the images of one convolution as they come, and gives them back in batches of a fixed size.

    The size depends on the images' own alone, so batches do not depend on how the images came.
    """

    def __init__(self) -> None:
        self._like: PatchRows | None = None
        self._held: Tensor | None = None  # (images, *size, c_in), channels last as the patches are read
        self._filled = 0
        self._index: list[Tensor] = []
        self._numbers: list[Tensor] = []

    def add(self, rows: PatchRows, index: Tensor | None, first: int = 0) -> Iterator[Deferred]:
        """Copy images and the numbers of the rows drawn from them.

        Args:
            rows: All patches of the images.
            index: Those drawn; None for all.
            first: Place of the first of these rows among all that came.

        Yields:
            Each batch that is full.
        """
        if self._like is not None and _kind(self._like) != _kind(rows):
            yield from self.rest()
        index = torch.arange(rows.items * rows.positions) if index is None else index
        images, positions, done = rows.inputs.movedim(1, -1), rows.positions, 0
        while done < rows.items:
            held = self._buffer(rows)
            step = min(rows.items - done, len(held) - self._filled)
            held[self._filled : self._filled + step] = images[done : done + step]
            places = ((index >= done * positions) & (index < (done + step) * positions)).nonzero()[:, 0]
            self._index.append(index[places] + (self._filled - done) * positions)
            self._numbers.append(places + first)
            self._filled += step
            done += step
            if self._filled == len(held):
                yield from self.rest()

    def rest(self) -> Iterator[Deferred]:
        """Yield what is there, if there is anything, as a batch."""
        if self._like is not None and self._held is not None and self._filled:
            images = self._held[: self._filled].movedim(-1, 1)
            yield Deferred(replace(self._like, inputs=images), torch.cat(self._index), torch.cat(self._numbers))
        self._held, self._filled, self._index, self._numbers = None, 0, [], []

    def _buffer(self, rows: PatchRows) -> Tensor:
        if self._held is None:
            limit = max(1, min(_MOST_IMAGES, _MOST_NUMBERS // max(1, rows.inputs[:1].numel())))
            size = rows.inputs.movedim(1, -1).shape[1:]
            self._held = rows.inputs.new_empty(limit, *size)
            # Without the images, which are the model's and may be written to.
            self._like = replace(rows, inputs=rows.inputs.new_empty(0, *rows.inputs.shape[1:]))
        return self._held


class Parts:
    """Cuts what a sink receives of one layer into parts."""

    def __init__(self) -> None:
        self._images = DeferredImages()
        self._seen = 0

    def add(self, drawn: Drawn) -> Iterator[Part]:
        """Yield the parts that are ready."""
        first, rows = self._seen, drawn.rows
        self._seen += len(drawn)
        if pays(rows):
            for batch in self._images.add(rows, drawn.index, first):
                yield from batch.parts()
            return
        for piece in drawn.pieces():
            yield Part(torch.arange(first, first + len(piece)), piece, None)
            first += len(piece)

    def rest(self) -> Iterator[Part]:
        """Yield what is left."""
        for batch in self._images.rest():
            yield from batch.parts()


def pays(rows: Rows) -> TypeGuard[PatchRows]:
    """Whether leaving out the zeros of the padding saves more than it costs."""
    return isinstance(rows, PatchRows) and rows.width >= _LEAST_WIDTH and rows.kept_share <= _MOST_KEPT


def _kind(rows: PatchRows) -> tuple[object, ...]:
    images = rows.inputs
    return (images.shape[1:], images.dtype, images.device, rows.geometry)
