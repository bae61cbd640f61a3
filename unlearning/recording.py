"""A model's run as a list of PyTorch operators: recorded once, then run again with its beginning left out.

Three dispatch modes share one idea, the boundary: the first operator that touches an edited weight. `Recording` finds
it, and what is used beyond it; `Filling` keeps those results for one batch; `Replaying` hands them out and skips every
operator before the boundary. The model's own Python runs each time, so a skipped operator must return something with
the right shape: a placeholder, one of many on the same piece of memory, whose content nobody may read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import TreeSpec, tree_flatten, tree_leaves, tree_unflatten

_Place = tuple[int, int]
"""A result: number of the operator, number of the tensor among what it returned."""


class Missed(Exception):
    """The run does not follow the record, or needs something that was not kept."""


@dataclass(frozen=True)
class Prefix:
    """What comes before the boundary, the same for every batch.

    Attributes:
        operators: In order of execution; none when there is nothing to skip.
        live: Results that are used beyond the boundary.
        written: Those among them whose memory is written to beyond it.
    """

    operators: tuple[Any, ...] = ()
    live: frozenset[_Place] = frozenset()
    written: frozenset[_Place] = frozenset()


@dataclass(frozen=True)
class _Argument:
    """An operator returned one of its own arguments, as in-place operators do."""

    number: int


@dataclass(frozen=True)
class _Form:
    """Everything about a tensor but its content."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> _Form:
        offset = int(tensor.storage_offset())
        return cls(tuple(tensor.size()), tensor.stride(), offset, tensor.dtype, tensor.device)

    @property
    def num_bytes(self) -> int:
        last = sum((size - 1) * stride for size, stride in zip(self.size, self.stride, strict=True))
        return 0 if 0 in self.size else (self.offset + last + 1) * self.dtype.itemsize

    def on(self, memory: Tensor) -> Tensor:
        """Return a tensor of this form on the memory of another."""
        empty = torch.empty(0, dtype=self.dtype, device=self.device)
        return empty.set_(memory.untyped_storage(), self.offset, self.size, self.stride)


@dataclass(frozen=True)
class _Placed:
    """A tensor on memory that all runs share: a kept result, or a placeholder.

    Each run gets a tensor object of its own, because PyTorch marks those that operators return as views.
    """

    memory: Tensor
    form: _Form


@dataclass(frozen=True)
class _Copied:
    """A result that is written to beyond the boundary: each run gets a fresh copy of its memory."""

    memory: int
    form: _Form


@dataclass
class _Slot:
    """What a skipped operator returns."""

    spec: TreeSpec
    items: list[Any]


@dataclass
class Record:
    """One batch's results before the boundary."""

    slots: list[_Slot] = field(default_factory=list)
    originals: dict[int, Tensor] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)
    scratch: frozenset[int] = frozenset()

    @property
    def num_bytes(self) -> int:
        """Memory of the kept results."""
        return sum(self.kept.values()) + sum(original.numel() for original in self.originals.values())


class _Mode(TorchDispatchMode):
    """A mode that leaves the compiler alone: keeping it out of `__torch_dispatch__`, the default, imports all of it."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Recording(_Mode):
    """Runs everything, and finds the boundary and what is used beyond it."""

    def __init__(self, edited: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._edited = {_memory(weight) for weight in edited}
        self._operators: list[Any] = []
        # Results before the boundary stay alive, so that no identity is used twice.
        self._made: dict[int, tuple[_Place, Tensor]] = {}
        self._owned: set[int] = set()
        self._is_beyond = False
        self._live: dict[_Place, Tensor] = {}
        self._written: set[int] = set()

    def prefix(self) -> Prefix:
        """Return what was found."""
        if not self._is_beyond:
            return Prefix()
        written = frozenset(place for place, tensor in self._live.items() if _memory(tensor) in self._written)
        return Prefix(tuple(self._operators), frozenset(self._live), written)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and note it."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = _written_by(func, args, kwargs)
        # An operator that writes to the model's or the caller's memory cannot be skipped either.
        touches = any(_memory(tensor) in self._edited for tensor in given)
        self._is_beyond = self._is_beyond or touches or not written <= self._owned
        result = func(*args, **(kwargs or {}))
        if self._is_beyond:
            self._live.update(self._made[id(tensor)] for tensor in given if id(tensor) in self._made)
            self._written |= written
            return result
        sources = {_memory(tensor) for tensor in given}
        for place, leaf in enumerate(tree_leaves(result)):
            if isinstance(leaf, Tensor) and all(leaf is not tensor for tensor in given):
                self._made[id(leaf)] = ((len(self._operators), place), leaf)
                self._owned |= {_memory(leaf)} - sources
        self._operators.append(func)
        return result


class Filling(_Mode):
    """Runs everything, and keeps what is used beyond the boundary as it is when the boundary is reached.

    Args:
        prefix: What comes before the boundary.
        record: Takes what is kept.
        borrowed: Memory of the placeholders that a replay below hands out: nothing there can be kept.

    Attributes:
        record: What is kept.
        is_complete: Whether the boundary was reached.
    """

    def __init__(self, prefix: Prefix, record: Record, borrowed: Collection[int] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._prefix, self.record, self._borrowed = prefix, record, borrowed
        self.is_complete = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operator and keep its result, if it is needed later.

        Raises:
            Missed: it is not the operator of the prefix, would overwrite what is kept, or gives a placeholder that is
                needed later.
        """
        number = len(self.record.slots)
        if number == len(self._prefix.operators):
            if not self.is_complete:
                self._close()
                self.is_complete = True
            if not _written_by(func, args, kwargs).isdisjoint(self.record.kept):
                raise Missed
            return func(*args, **(kwargs or {}))
        if func is not self._prefix.operators[number]:
            raise Missed
        result = func(*args, **(kwargs or {}))
        given = {id(leaf): place for place, leaf in enumerate(tree_leaves((args, kwargs))) if isinstance(leaf, Tensor)}
        leaves, spec = tree_flatten(result)
        items = [self._item((number, place), leaf, given) for place, leaf in enumerate(leaves)]
        self.record.slots.append(_Slot(spec, items))
        return result

    def _item(self, place: _Place, leaf: Any, given: dict[int, int]) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        if id(leaf) in given:
            return _Argument(given[id(leaf)])
        is_live = place in self._prefix.live
        if leaf.layout != torch.strided or (is_live and _memory(leaf) in self._borrowed):
            raise Missed
        return leaf if is_live else _Form.of(leaf)

    def _close(self) -> None:
        """Copy what will be written to, and put all placeholders on one piece of memory per device."""
        record, needed = self.record, dict[torch.device, int]()
        for number, slot in enumerate(record.slots):
            for place, item in enumerate(slot.items):
                if isinstance(item, _Form):
                    needed[item.device] = max(needed.get(item.device, 0), item.num_bytes)
                elif isinstance(item, Tensor):
                    slot.items[place] = self._kept((number, place), item)
        scratch = {device: torch.empty(size, dtype=torch.uint8, device=device) for device, size in needed.items()}
        record.scratch = frozenset(_memory(memory) for memory in scratch.values())
        for slot in record.slots:
            slot.items = [
                _Placed(scratch[item.device], item) if isinstance(item, _Form) else item for item in slot.items
            ]

    def _kept(self, place: _Place, tensor: Tensor) -> _Placed | _Copied:
        memory, storage = _memory(tensor), tensor.untyped_storage()
        if place not in self._prefix.written:
            self.record.kept[memory] = storage.nbytes()
            return _Placed(tensor, _Form.of(tensor))
        if memory not in self.record.originals:
            whole = torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(storage)
            self.record.originals[memory] = whole.clone()
        return _Copied(memory, _Form.of(tensor))


class Replaying(_Mode):
    """Skips what comes before the boundary, and runs the rest on what was kept."""

    def __init__(self, prefix: Prefix, record: Record) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._prefix, self._record = prefix, record
        self._copies: dict[int, Tensor] = {}
        self._number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Skip or run one operator.

        Raises:
            Missed: it is not the operator of the prefix, would read a placeholder, or would overwrite what is kept.
        """
        leaves = tree_leaves((args, kwargs))
        if self._number < len(self._prefix.operators):
            if func is not self._prefix.operators[self._number]:
                raise Missed
            slot = self._record.slots[self._number]
            self._number += 1
            return tree_unflatten([self._value(item, leaves) for item in slot.items], slot.spec)
        if any(isinstance(leaf, Tensor) and _memory(leaf) in self._record.scratch for leaf in leaves):
            raise Missed
        if not _written_by(func, args, kwargs).isdisjoint(self._record.kept):
            raise Missed
        return func(*args, **(kwargs or {}))

    def _value(self, item: Any, given: list[Any]) -> Any:
        if isinstance(item, _Argument):
            return given[item.number]
        if isinstance(item, _Placed):
            return item.form.on(item.memory)
        if not isinstance(item, _Copied):
            return item
        if item.memory not in self._copies:
            self._copies[item.memory] = self._record.originals[item.memory].clone()
        return item.form.on(self._copies[item.memory])


def _memory(tensor: Tensor) -> int:
    """Return what identifies the memory of a living tensor; empty tensors share none with anyone."""
    try:
        return tensor.untyped_storage().data_ptr() or id(tensor)
    except NotImplementedError:  # sparse and opaque tensors have no storage
        return id(tensor)


def _written_by(func: Any, args: Collection[Any], kwargs: dict[str, Any] | None) -> set[int]:
    """Return the memory that an operator writes to."""
    schema = func._schema  # noqa: SLF001 - operators show their signature nowhere else
    if not schema.is_mutable:
        return set()
    given = dict(zip((argument.name for argument in schema.arguments), args, strict=False)) | (kwargs or {})
    written = [given.get(entry.name) for entry in schema.arguments if entry.alias_info and entry.alias_info.is_write]
    return {_memory(leaf) for leaf in tree_leaves(written) if isinstance(leaf, Tensor)}
