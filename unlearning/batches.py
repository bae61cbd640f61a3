"""Any iterable of batches as a stream of inputs, counted and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from unlearning.checks import checked_count, checked_finite, checked_inputs
from unlearning.errors import BadBatch, EmptySide

Batches = Iterable[Any]
"""Any iterable of input tensors (B, ...), or of tuples that start with one, as data loaders yield."""


def counted(
    batches: Batches, num_samples: int | None, *, needed: bool, side: str
) -> tuple[int | None, Iterator[Tensor]]:
    """Return the number of samples, if it is needed or known, and the inputs of the batches that are not empty.

    Raises:
        EmptySide: it is needed, and there are none; `side` is named.
        OptionOutOfRange: `num_samples` is no whole number of at least 1.
    """
    if num_samples is not None:
        return checked_count("num_samples", num_samples), inputs_of(batches, side)
    if not needed:
        return None, inputs_of(batches, side)
    # A tensor is one batch; an iterator can be iterated only once.
    held = list(inputs_of(batches, side)) if isinstance(batches, Iterator) else batches
    count = sum(len(inputs) for inputs in inputs_of(held, side))
    if count == 0:
        raise EmptySide(side)
    return count, inputs_of(held, side)


def inputs_of(batches: Batches, side: str) -> Iterator[Tensor]:
    """Yield the inputs of the batches that are not empty.

    Yields:
        (B, ...), finite.

    Raises:
        BadBatch: `batches` cannot be iterated.
    """
    if not isinstance(batches, Iterable):
        raise BadBatch(f"{type(batches).__name__} instead of batches")
    for place, batch in enumerate([batches] if isinstance(batches, Tensor) else batches):
        inputs = checked_inputs(batch)
        if len(inputs):
            yield checked_finite(inputs, f"the inputs of batch {place} ({side} side)")


def first_samples(stream: Iterator[Tensor], side: str, device: torch.device) -> tuple[list[Tensor], Tensor]:
    """Return the batches that hold the first two samples, and these samples; a lone one is joined by a variation.

    The two differ if that can be had, so that what belongs to the second can be told from what belongs to the first.

    Raises:
        EmptySide: there is no sample; `side` is named.
    """
    head: list[Tensor] = []
    for batch in stream:
        head.append(batch)
        if sum(map(len, head)) > 1:
            break
    if not head:
        raise EmptySide(side)
    first, *others = [sample for batch in head for sample in batch[:2]][:2]
    candidates = [*others, first.flip(-1) if first.ndim else first]
    if first.is_floating_point():
        candidates.append(first / 2 + 0.1)
    second = next((other for other in candidates if _is_another(first, other)), first)
    return head, torch.stack([first, second]).to(device)


def _is_another(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and first.dtype == second.dtype and not torch.equal(first, second)
