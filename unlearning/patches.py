"""The rows a matrix product really multiplies: rows of a matrix, patches of a convolution's real, padded input.

Rows stand in a table of items times positions. The items are what dimension 0 of the operand counts: rows of a matrix
(one position each), images of a convolution (one position per output pixel, row by row). Row number = item * positions
+ position. A patch's numbers stand pixel by pixel, all channels of a pixel together: so they lie in memory, and so a
pixel outside the image is one run of columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

# Rows are copied out in pieces of at most this many numbers (64 MiB of float32), so that one large image stays
# affordable.
_MAX_NUMBERS = 1 << 24

Columns = tuple[tuple[int, int], ...]
"""Runs of columns, first and one past the last, in order."""
Taps = tuple[range, ...]
"""A part of a kernel: its pixels along each axis."""


class Rows(Protocol):
    """The rows of one product, not yet copied."""

    @property
    def items(self) -> int:
        """Number of items."""

    @property
    def positions(self) -> int:
        """Rows per item."""

    def take(self, index: Tensor | None) -> Iterator[Tensor]:
        """Yield the rows with these numbers, int64 (r,) on the CPU, or all of them, in pieces (n, groups, d).

        A piece has the dtype and device of the operand and may be a view of it.
        """

    def marks(self) -> Tensor:
        """Return one float64 number per item, (items,), that changes when the item does."""


@dataclass(frozen=True)
class Drawn:
    """Rows of one product, not yet copied: those with the numbers `index` (r,), int64 on the CPU, or all (None)."""

    rows: Rows
    index: Tensor | None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.rows.items * self.rows.positions if self.index is None else len(self.index)

    def pieces(self) -> Iterator[Tensor]:
        """Yield the rows (n, groups, d); see `Rows.take`."""
        return self.rows.take(self.index)


@dataclass(frozen=True)
class MatrixRows:
    """Rows of a matrix (n, d), or of a stack of matrices (groups, n, d) that have a weight of their own each."""

    inputs: Tensor

    @property
    def items(self) -> int:
        """Rows of the matrix."""
        return self.inputs.shape[-2]

    @property
    def positions(self) -> int:
        """One: an item is a row."""
        return 1

    def take(self, index: Tensor | None) -> Iterator[Tensor]:
        """See `Rows.take`."""
        table = self.inputs.unsqueeze(1) if self.inputs.ndim == 2 else self.inputs.transpose(0, 1)
        step = max(1, _MAX_NUMBERS // max(1, table[:1].numel()))
        where = None if index is None else index.to(table.device)
        for start in range(0, len(table) if where is None else len(where), step):
            part = slice(start, start + step)
            yield table[part] if where is None else table.index_select(0, where[part])

    def marks(self) -> Tensor:
        """See `Rows.marks`."""
        return _marks(self.inputs if self.inputs.ndim == 2 else self.inputs.transpose(0, 1).flatten(1))


@dataclass(frozen=True)
class PatchRows:
    """Patches of a convolution's input (B, c_in, *size), zero padding included; one, two or three axes.

    None is cut at a crop's edge. Other padding modes have already been applied to `inputs` when the product happens.
    """

    inputs: Tensor
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int

    @property
    def items(self) -> int:
        """Images."""
        return len(self.inputs)

    @property
    def positions(self) -> int:
        """Output pixels."""
        return prod(self._counts())

    def take(self, index: Tensor | None) -> Iterator[Tensor]:
        """Yield the rows with these numbers, or all of them, in pieces (n, groups, d); see `Rows`.

        Few patches of large images are read where they are, element by element; many patches (each input pixel is in
        several) are cheaper from a channels-last copy, in which a pixel is one run of memory. Measured on a CPU, the
        break-even lies near one pixel read per pixel there.

        Yields:
            Pieces in the dtype and on the device of the input.
        """
        device = self.inputs.device
        index = torch.arange(self.items * self.positions, device="cpu") if index is None else index
        channels, area, pixels = self.inputs.shape[1], prod(self.kernel), prod(self.inputs.shape[2:])
        is_dense = len(index) * area > self.items * pixels
        source = _padded_channels_last(self.inputs, self.padding) if is_dense else self.inputs
        step = max(1, _MAX_NUMBERS // (channels * area))
        for start in range(0, len(index), step):
            part = index[start : start + step].to(device)
            yield self._grouped(self._from_copy(source, part) if is_dense else self._in_place(part))

    @property
    def width(self) -> int:
        """Numbers d of a row."""
        return self.channels * prod(self.kernel)

    @property
    def channels(self) -> int:
        """Numbers of a row that belong to one pixel."""
        return self.inputs.shape[1] // self.groups

    @property
    def geometry(self) -> tuple[object, ...]:
        """How patches are taken, whatever the images."""
        return (self.kernel, self.stride, self.padding, self.dilation, self.groups)

    @property
    def kept_share(self) -> float:
        """Share of the products of two columns that is left when no number outside the image is multiplied."""
        shares = (
            sum(len(taps) ** 2 * len(places) for taps, places in parts.items())
            / (sum(map(len, parts.values())) * kernel**2)
            for parts, kernel in zip(self._overlaps(), self.kernel, strict=True)
        )
        return prod(shares)

    def kinds(self, index: Tensor) -> list[tuple[Taps, Tensor]]:
        """Sort rows by the part of the kernel that lies on the image.

        Returns:
            The taps of each kind that occurs, as ranges along the axes, and the places of its rows in `index`, (n,).
        """
        counts, overlaps = self._counts(), self._overlaps()
        found: list[tuple[Taps, Tensor]] = []
        for taps in product(*overlaps):
            is_here = torch.ones(counts, dtype=torch.bool, device="cpu")
            for axis, along in enumerate(taps):
                is_along = torch.zeros(counts[axis], dtype=torch.bool, device="cpu")
                is_along[overlaps[axis][along]] = True
                is_here &= is_along.view(-1, *(1 for _ in counts[axis + 1 :]))
            places = is_here.flatten()[index % self.positions].nonzero()[:, 0]
            if len(places):
                found.append((taps, places))
        return found

    def take_inside(self, index: Tensor, taps: Taps) -> tuple[Tensor, Columns]:
        """Return rows of one kind without the columns that lie outside the image, all of which are zeros.

        Returns:
            (n, groups, width), and the runs of columns that these are, `width` in all.
        """
        source = self.inputs.movedim(1, -1).contiguous()
        patches = self._from_copy(source, index.to(source.device), taps)
        return self._grouped(patches), _runs(taps, self.kernel, self.channels)

    def marks(self) -> Tensor:
        """See `Rows.marks`."""
        return _marks(self.inputs.flatten(1))

    def _counts(self) -> tuple[int, ...]:
        """Return the number of output pixels along each axis."""
        return tuple(
            (size + 2 * margin - dilation * (kernel - 1) - 1) // stride + 1
            for size, margin, dilation, kernel, stride in zip(
                self.inputs.shape[2:], self.padding, self.dilation, self.kernel, self.stride, strict=True
            )
        )

    def _overlaps(self) -> list[Mapping[range, list[int]]]:
        """Return per axis which output pixels' patches have which taps on the image."""
        axes = zip(
            self._counts(), self.inputs.shape[2:], self.kernel, self.stride, self.padding, self.dilation, strict=True
        )
        return [_overlaps_along(*axis) for axis in axes]

    def _grouped(self, patches: Tensor) -> Tensor:
        """Return patches (r, pixels, c_in) as rows (r, groups, d)."""
        if self.groups == 1:
            return patches.flatten(1).unsqueeze(1)
        by_group: Tensor = patches.unflatten(2, (self.groups, -1))
        return by_group.transpose(1, 2).flatten(2)

    def _places(self, index: Tensor, taps: Sequence[range] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Return each row's item (r,), and per axis where its patch reads the padded input, (r, number of taps)."""
        counts = self._counts()
        item, rest = index // self.positions, index % self.positions
        starts: list[Tensor] = []
        for count in reversed(counts):
            starts.insert(0, rest % count)
            rest = rest // count
        ticks = [
            torch.arange(along.start, along.stop, device=index.device) * gap
            for along, gap in zip(taps or [range(kernel) for kernel in self.kernel], self.dilation, strict=True)
        ]
        offsets = [grid.reshape(-1) for grid in torch.meshgrid(*ticks, indexing="ij")]
        return item, [
            start[:, None] * stride + offset for start, stride, offset in zip(starts, self.stride, offsets, strict=True)
        ]

    def _in_place(self, index: Tensor) -> Tensor:
        """Return patches (r, kernel's size, c_in) from the input itself; the margin is blanked afterwards."""
        item, places = self._places(index)
        outside: Tensor | None = None
        inside: list[Tensor] = []
        for place, margin, size in zip(places, self.padding, self.inputs.shape[2:], strict=True):
            inside.append((place - margin).clamp(0, size - 1))
            if margin:
                beyond = (place < margin) | (place >= margin + size)
                outside = beyond if outside is None else outside | beyond
        where: Any = (item[:, None], slice(None), *inside)
        patches = self.inputs[where]
        if outside is not None:
            patches.masked_fill_(outside[..., None], 0)
        return patches

    def _from_copy(self, source: Tensor, index: Tensor, taps: Sequence[range] | None = None) -> Tensor:
        """Return the same from a padded copy (B, *size, c_in); with `taps` only these, from one without padding."""
        item, places = self._places(index, taps)
        margins = self.padding if taps is not None else (0,) * len(places)
        flat = item[:, None]
        for place, size, margin in zip(places, source.shape[1:-1], margins, strict=True):
            flat = flat * size + place - margin
        channels = source.shape[-1]
        return source.view(-1, channels).index_select(0, flat.reshape(-1)).view(*flat.shape, channels)


@lru_cache(maxsize=256)
def _overlaps_along(
    count: int, size: int, kernel: int, stride: int, margin: int, gap: int
) -> Mapping[range, list[int]]:
    """Return which of `count` output pixels of one axis have which taps on an image of this size."""
    found: dict[range, list[int]] = {}
    for place in range(count):
        start = place * stride - margin
        inside = [tap for tap in range(kernel) if 0 <= start + tap * gap < size]
        taps = range(inside[0], inside[-1] + 1) if inside else range(0)
        found.setdefault(taps, []).append(place)
    return found


def _runs(taps: Sequence[range], kernel: Sequence[int], channels: int) -> Columns:
    """Return the columns of these taps, neighbours joined."""
    runs: list[tuple[int, int]] = []
    for places in product(*taps):
        number = 0
        for place, size in zip(places, kernel, strict=True):
            number = number * size + place
        start = number * channels
        if runs and runs[-1][1] == start:
            start = runs.pop()[0]
        runs.append((start, (number + 1) * channels))
    return tuple(runs)


def _padded_channels_last(inputs: Tensor, padding: Sequence[int]) -> Tensor:
    last = inputs.movedim(1, -1)
    if not any(padding):
        return last.contiguous()
    margins = [0, 0, *(margin for axis in reversed(padding) for margin in (axis, axis))]
    return functional.pad(last, margins).contiguous()


def _marks(table: Tensor) -> Tensor:
    # Weights that no symmetry of the data can cancel; a plain sum is zero for every row behind a layer norm.
    weights = torch.arange(1, table.shape[1] + 1, dtype=torch.float64, device=table.device).cos_()
    return table.double() @ weights
