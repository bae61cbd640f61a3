"""Rows cut into parts for products. Patches wait as images, smaller than their patches, until there are enough of them.

Patches of small images are half zeros or more: what padding put around the image. With all patches of many images at
hand, those that reach over the same edges can be multiplied together, without their zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import TypeGuard

import torch
from torch import Tensor

from unlearning.patches import Columns, Drawn, PatchRows, Rows
from unlearning.symmetric import even

# A buffer holds as many images as fit into so many numbers (16 MiB of float32), but no more than are useful.
_MOST_NUMBERS = 1 << 22
_MOST_IMAGES = 512
# From this width on, and up to this share of products left, zeros of the padding are left out: elsewhere the many small
# products cost more than they save.
_LEAST_WIDTH = 512
_MOST_KEPT = 0.8
# Rows of a part, unless it is the last.
_ROWS = 512


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
        """Yield the rows, without the zeros of the padding if that makes products smaller.

        It does not where few rows of each kind come together, since their number is evened (see `evened`).
        """
        kinds, whole = self.patches.kinds(self.index), prod(self.patches.kernel)
        inside = sum(even(len(places)) * (prod(map(len, taps)) / whole) ** 2 for taps, places in kinds)
        if inside >= even(len(self.index)):
            for numbers, index in zip(self.numbers.split(_ROWS), self.index.split(_ROWS), strict=True):
                yield Part(numbers, torch.cat(list(self.patches.take(index))), None, self.patches.channels)
            return
        for taps, places in kinds:
            for some in places.split(_ROWS):
                rows, columns = self.patches.take_inside(self.index[some], taps)
                yield Part(self.numbers[some], rows, columns, self.patches.channels)


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
        """Copy the images that rows were drawn from, and the rows' numbers.

        Args:
            rows: All patches of the images.
            index: Those drawn; None for all.
            first: Place of the first of these rows among all that came.

        Yields:
            Each batch that is full.
        """
        if self._like is not None and _kind(self._like) != _kind(rows):
            yield from self.rest()
        index = torch.arange(rows.items * rows.positions, device="cpu") if index is None else index
        items, owners = torch.unique(index // rows.positions, return_inverse=True)
        images, done = rows.inputs.movedim(1, -1), 0
        while done < len(items):
            held = self._buffer(rows)
            step = min(len(items) - done, len(held) - self._filled)
            torch.index_select(
                images, 0, items[done : done + step].to(images.device), out=held[self._filled : self._filled + step]
            )
            places = ((owners >= done) & (owners < done + step)).nonzero()[:, 0]
            self._index.append((owners[places] - done + self._filled) * rows.positions + index[places] % rows.positions)
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
            # So many that all their rows would be too many to be kept as they are.
            useful = max(_MOST_IMAGES, rows.width // 2 // rows.positions + 1)
            limit = max(1, min(useful, _MOST_NUMBERS // max(1, rows.inputs[:1].numel())))
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
        self._rows: list[Tensor] = []  # copies of the last rows that came as rows, too few for a part

    def add(self, drawn: Drawn) -> Iterator[Part]:
        """Yield the parts that are ready."""
        rows = drawn.rows
        if pays(rows):
            yield from self._joined()
            first, self._seen = self._seen, self._seen + len(drawn)
            for batch in self._images.add(rows, drawn.index, first):
                yield from batch.parts()
            return
        for piece in drawn.pieces():
            self._rows.append(piece.clone())
            self._seen += len(piece)
            if sum(map(len, self._rows)) >= _ROWS:
                yield from self._joined()

    def rest(self) -> Iterator[Part]:
        """Yield what is left."""
        yield from self._joined()
        for batch in self._images.rest():
            yield from batch.parts()

    def _joined(self) -> Iterator[Part]:
        if self._rows:
            rows = self._rows[0] if len(self._rows) == 1 else torch.cat(self._rows)
            self._rows.clear()
            yield Part(torch.arange(self._seen - len(rows), self._seen, device="cpu"), rows, None)


def pays(rows: Rows) -> TypeGuard[PatchRows]:
    """Whether leaving out the zeros of the padding saves more than it costs."""
    return isinstance(rows, PatchRows) and rows.width >= _LEAST_WIDTH and rows.kept_share <= _MOST_KEPT


def _kind(rows: PatchRows) -> tuple[object, ...]:
    images = rows.inputs
    return (images.shape[1:], images.dtype, images.device, rows.geometry)
