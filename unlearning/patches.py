"""The rows a matrix product really multiplies: rows of a matrix, patches of a convolution's real, padded input.

Rows stand in a table of items times positions. The items are what dimension 0 of the operand counts: rows of a matrix
(one position each), images of a convolution (one position per output pixel, row by row). Row number = item * positions
+ position.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

# Rows are copied out in pieces of at most this many numbers (64 MiB of float32), so that one large image stays
# affordable.
_MAX_NUMBERS = 1 << 24


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
        index = torch.arange(self.items * self.positions) if index is None else index
        channels, area, pixels = self.inputs.shape[1], prod(self.kernel), prod(self.inputs.shape[2:])
        is_dense = len(index) * area > self.items * pixels
        source = _padded_channels_last(self.inputs, self.padding) if is_dense else self.inputs
        step = max(1, _MAX_NUMBERS // (channels * area))
        for start in range(0, len(index), step):
            part = index[start : start + step].to(device)
            patches = self._from_copy(source, part) if is_dense else self._in_place(part)
            yield patches.transpose(1, 2).reshape(len(part), self.groups, -1)

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

    def _places(self, index: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return each row's item (r,), and per axis where its patch reads the padded input, (r, kernel's size)."""
        counts = self._counts()
        item, rest = index // self.positions, index % self.positions
        starts: list[Tensor] = []
        for count in reversed(counts):
            starts.insert(0, rest % count)
            rest = rest // count
        ticks = [
            torch.arange(kernel, device=index.device) * gap
            for kernel, gap in zip(self.kernel, self.dilation, strict=True)
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

    def _from_copy(self, source: Tensor, index: Tensor) -> Tensor:
        """Return the same from a padded copy (B, *size, c_in)."""
        item, places = self._places(index)
        flat = item[:, None]
        for place, size in zip(places, source.shape[1:-1], strict=True):
            flat = flat * size + place
        channels = source.shape[-1]
        return source.view(-1, channels).index_select(0, flat.reshape(-1)).view(len(index), -1, channels)


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
