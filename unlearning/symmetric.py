"""Symmetric matrices kept as their upper triangle, in block rows: half the products, half the memory.

Row block i holds S[start_i : stop_i, start_i : d], so the diagonal blocks are whole and everything below them is left
out. With twelve blocks that is 54 % of the matrix, and as much of the work of X^T X. The factorisation runs in the same
memory, and all of it but the small diagonal blocks is matrix products, as are the solves: they are at least as fast as
LAPACK's on a full matrix (`benchmarks/engine.py --only kernels` prints both).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from unlearning.errors import NonFinite

_BLOCKS = 12
_SMALLEST_BLOCK = 128
_EVEN_ROWS = 128


class BlockSymmetric:
    """Symmetric matrices (groups, d, d) as block rows of their upper triangles."""

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self._blocks = tuple(blocks)

    @classmethod
    def zeros(
        cls, d: int, groups: int = 1, *, dtype: torch.dtype, device: torch.device | str = "cpu", unit: int = 1
    ) -> BlockSymmetric:
        """Return `groups` zero matrices; blocks end at multiples of `unit`, as the runs of `add_product` should."""
        step = block_size(d, unit)
        shapes = [(groups, min(step, d - start), d - start) for start in range(0, d, step)]
        return cls([torch.zeros(shape, dtype=dtype, device=device) for shape in shapes])

    @classmethod
    def of(cls, dense: Tensor) -> BlockSymmetric:
        """Return symmetric matrices (groups, d, d) in this form; only the upper triangles are read."""
        d = dense.shape[-1]
        step = block_size(d)
        return cls([dense[:, start : start + step, start:].clone() for start in range(0, d, step)])

    @property
    def d(self) -> int:
        """Rows and columns."""
        return self._blocks[0].shape[-1] if self._blocks else 0

    @property
    def groups(self) -> int:
        """Matrices."""
        return len(self._blocks[0]) if self._blocks else 0

    @property
    def dtype(self) -> torch.dtype:
        """Of the entries."""
        return self._blocks[0].dtype

    @property
    def blocks(self) -> tuple[Tensor, ...]:
        """The block rows (groups, rows, columns from the diagonal on)."""
        return self._blocks

    def numel(self) -> int:
        """Numbers held."""
        return sum(block.numel() for block in self._blocks)

    def add_product(self, rows: Tensor, columns: Sequence[tuple[int, int]] | None = None) -> None:
        """Add X^T X of rows (groups, n, d), in place.

        Args:
            rows: X; only the columns that are not zero, if these are named.
            columns: Runs of columns (first, one past the last), in order, as many in all as `rows` has.
        """
        runs = ((0, self.d),) if columns is None else columns
        places, place = list[int](), 0
        for first, last in runs:
            places.append(place - first)  # added to a column's number, its place in `rows`
            place += last - first
        for start, stop, block in self.spans():
            for (first, last), shift in zip(runs, places, strict=True):
                top, bottom = max(first, start), min(last, stop)
                if top >= bottom:
                    continue
                left = rows[..., top + shift : bottom + shift].mT
                for (origin, end), move in zip(runs, places, strict=True):
                    begin = max(origin, start)
                    if begin < end:
                        part = block[:, top - start : bottom - start, begin - start : end - start]
                        part.baddbmm_(left, rows[..., begin + move : end + move])

    def diagonal(self) -> Tensor:
        """Return the diagonals, (groups, d)."""
        return torch.cat([block.diagonal(dim1=-2, dim2=-1) for block in self._blocks], dim=-1)

    def dense(self) -> Tensor:
        """Return the whole matrices, (groups, d, d)."""
        whole = self._blocks[0].new_empty(len(self._blocks[0]), self.d, self.d)
        for start, stop, block in self.spans():
            whole[:, start:stop, start:] = block
            whole[:, stop:, start:stop] = block[..., stop - start :].mT
        return whole

    def scaled(self, scale: Tensor, shift: float = 0.0) -> BlockSymmetric:
        """Return scale S + shift I, a copy; `scale` is (groups,)."""
        copy = BlockSymmetric([block * scale.to(block.dtype)[:, None, None] for block in self._blocks])
        for block in copy.blocks:
            block.diagonal(dim1=-2, dim2=-1).add_(shift)
        return copy

    def add(self, other: BlockSymmetric) -> None:
        """Add another of the same shape, in place, in the precision of this one."""
        for mine, theirs in zip(self._blocks, other.blocks, strict=True):
            mine.add_(theirs)

    def to(self, dtype: torch.dtype) -> BlockSymmetric:
        """Return the same in another precision; a copy unless it is the same one."""
        return BlockSymmetric([block.to(dtype) for block in self._blocks])

    def zero(self) -> None:
        """Set all entries to zero, in place."""
        for block in self._blocks:
            block.zero_()

    def right_product(self, w: Tensor) -> Tensor:
        """Return W S, (groups, m, d)."""
        product = torch.zeros_like(w)
        for start, stop, block in self.spans():
            product[..., start:].baddbmm_(w[..., start:stop], block)
            product[..., start:stop].baddbmm_(w[..., stop:], block[..., stop - start :].mT)
        return product

    def spans(self) -> Iterator[tuple[int, int, Tensor]]:
        """Yield (start, stop, block row) from top to bottom."""
        start = 0
        for block in self._blocks:
            stop = start + block.shape[1]
            yield start, stop, block
            start = stop


class Factor:
    """The Cholesky factor of positive definite matrices, S = U^T U; takes the matrices' memory.

    The diagonal blocks are kept inverted, which turns each solve into matrix products. Harmless here: A of the update
    has a condition number of at most alpha, and its blocks no larger ones.

    Raises:
        NonFinite: a matrix is not positive definite, or not finite.
    """

    def __init__(self, consumed: BlockSymmetric) -> None:
        self._matrix = consumed
        blocks = [(stop - start, block) for start, stop, block in consumed.spans()]
        failures: list[Tensor] = []
        for place, (width, block) in enumerate(blocks):
            corner, rest = block[..., :width], block[..., width:]
            inverse, failed = _inverse_factor(corner)
            failures.append(failed)
            corner.copy_(inverse)
            rest.copy_(corner.mT @ rest)
            first = 0
            for below, target in blocks[place + 1 :]:
                target.baddbmm_(rest[..., first : first + below].mT, rest[..., first:], alpha=-1)
                first += below
        # Looked at once, at the end: a GPU would have to stop for every look.
        if failures and bool(torch.cat(failures).any()):
            raise NonFinite("a second moment (its Cholesky factor does not exist)")

    def right_solve(self, w: Tensor) -> Tensor:
        """Return W S^-1, (groups, m, d): W U^-1 from left to right, then U^-T from right to left."""
        x = w.clone(memory_format=torch.contiguous_format)
        spans = list(self._matrix.spans())
        for start, stop, block in spans:
            here = x[..., start:stop]
            here.copy_(here @ block[..., : stop - start])
            x[..., stop:].baddbmm_(here, block[..., stop - start :], alpha=-1)
        for start, stop, block in reversed(spans):
            here = x[..., start:stop]
            here.baddbmm_(x[..., stop:], block[..., stop - start :].mT, alpha=-1)
            here.copy_(here @ block[..., : stop - start].mT)
        return x


def evened(rows: Tensor) -> Tensor:
    """Return rows (groups, n, d) with rows of zeros up to a multiple of 128.

    A library of products makes a kernel for each shape it meets, and keeps it. Where the number of rows is chance, the
    kernels would take more time and memory than the zeros.
    """
    missing = even(rows.shape[1]) - rows.shape[1]
    return functional.pad(rows, (0, 0, 0, missing)) if missing else rows


def even(rows: int) -> int:
    """Return the next multiple of 128."""
    return -(-rows // _EVEN_ROWS) * _EVEN_ROWS


def block_size(d: int, unit: int = 1) -> int:
    """Return the rows of a block: a twelfth of the matrix, in multiples of 16, but enough for fast products.

    More, if that makes them a multiple of `unit`, unless the blocks would be too few to save anything.
    """
    rows = max(_SMALLEST_BLOCK, -(-d // (16 * _BLOCKS)) * 16)
    even = -(-rows // unit) * unit
    return even if even <= d // 8 else rows


def _inverse_factor(corner: Tensor) -> tuple[Tensor, Tensor]:
    """Return U^-1 for S = U^T U, with zeros below the diagonal, and per matrix whether there is none."""
    factor, info = torch.linalg.cholesky_ex(corner, upper=True)
    return _inverse(factor), info != 0


def _inverse(upper: Tensor) -> Tensor:
    """Return the inverse of upper triangular matrices: by halves, which leaves most of the work to products."""
    half = upper.shape[-1] // 2
    if half < _SMALLEST_BLOCK:
        identity = torch.eye(upper.shape[-1], dtype=upper.dtype, device=upper.device)
        solved: Tensor = torch.linalg.solve_triangular(upper, identity.expand_as(upper), upper=True)
        return solved
    inverse = torch.zeros_like(upper)
    first, last = _inverse(upper[..., :half, :half]), _inverse(upper[..., half:, half:])
    inverse[..., :half, :half], inverse[..., half:, half:] = first, last
    inverse[..., :half, half:] = -(first @ upper[..., :half, half:]) @ last
    return inverse
