"""Images that wait until there are enough of them for one product: an image is smaller than its patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from unlearning.patches import Drawn, PatchRows

# A buffer holds as many images as fit into so many numbers (16 MiB of float32), but no more than are useful.
_MOST_NUMBERS = 1 << 22
_MOST_IMAGES = 512


class DeferredImages:
    """Takes the images of one convolution as they come, and gives them back in batches of a fixed size.

    The size depends on the images' own alone, so batches do not depend on how the images came.
    """

    def __init__(self) -> None:
        self._like: PatchRows | None = None
        self._held: Tensor | None = None  # (images, *size, c_in), channels last as the patches are read
        self._filled = 0
        self._index: list[Tensor] = []

    def add(self, rows: PatchRows, index: Tensor | None) -> Iterator[Drawn]:
        """Copy images and the numbers of the rows drawn from them; yield each batch that is full."""
        if self._like is not None and not _is_alike(self._like, rows):
            yield from self.rest()
        index = torch.arange(rows.items * rows.positions) if index is None else index
        images, positions, done = rows.inputs.movedim(1, -1), rows.positions, 0
        while done < rows.items:
            held = self._buffer(rows)
            step = min(rows.items - done, len(held) - self._filled)
            held[self._filled : self._filled + step] = images[done : done + step]
            chosen = index[(index >= done * positions) & (index < (done + step) * positions)]
            self._index.append(chosen + (self._filled - done) * positions)
            self._filled += step
            done += step
            if self._filled == len(held):
                yield from self.rest()

    def rest(self) -> Iterator[Drawn]:
        """Yield what is there, if there is anything, as a batch."""
        if self._like is not None and self._held is not None and self._filled:
            images = self._held[: self._filled].movedim(-1, 1)
            yield Drawn(replace(self._like, inputs=images), torch.cat(self._index))
        self._held, self._filled, self._index = None, 0, []

    def _buffer(self, rows: PatchRows) -> Tensor:
        if self._held is None or self._like is None or not _is_alike(self._like, rows):
            limit = max(1, min(_MOST_IMAGES, _MOST_NUMBERS // max(1, rows.inputs[:1].numel())))
            self._held = rows.inputs.movedim(1, -1).new_empty(limit, *rows.inputs.movedim(1, -1).shape[1:])
            # Without the images, which are the model's and may be written to.
            self._like = replace(rows, inputs=rows.inputs.new_empty(0, *rows.inputs.shape[1:]))
        return self._held


def _is_alike(one: PatchRows, other: PatchRows) -> bool:
    """Whether both are patches of images of the same size and kind, taken in the same way."""
    return _kind(one) == _kind(other)


def _kind(rows: PatchRows) -> tuple[object, ...]:
    images = rows.inputs
    return (images.shape[1:], images.dtype, images.device, rows.geometry)
