"""Tells which elements of which parameter an operand of a matrix product consists of, by the memory it lives in.

Whatever a model does with a weight before it multiplies it (transpose, slice, reshape, expand) leaves a view of the
same memory; a copy or a cast leaves new memory with a known layout. Both are strides in the end, so an operand can be
written as strides over the parameter, and the update goes back the same way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from unlearning.inventory import Dims

Axis = tuple[int, int]
"""(size, stride) of one dimension of an operand, in elements of its memory."""


@dataclass(frozen=True)
class Origin:
    """A piece of memory that holds elements of the tensor `name`.

    Attributes:
        name: Name of the parameter (or parametrised tensor).
        start: Place of the first element in memory.
        first: Place of the same element in the tensor, in row-major order.
        axes: (size, step in memory, step in the tensor), widest step in memory first; sizes above 1.
    """

    name: str
    start: int
    first: int
    axes: tuple[tuple[int, int, int], ...]

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> Origin:
        """Return the origin of a parameter's own memory."""
        steps = _row_major(tensor.shape)
        axes = zip(tensor.shape, tensor.stride(), steps, strict=True)
        return cls(name, int(tensor.storage_offset()), 0, _ordered(axes))

    def covers(self, place: int) -> bool:
        """Return whether a place in memory lies between the first and the last element."""
        return self.start <= place <= self.start + sum((size - 1) * step for size, step, _ in self.axes)

    def resolve(self, start: int, axes: Iterable[Axis]) -> tuple[int, list[Dims]] | None:
        """Return an operand as strides over the tensor.

        Args:
            start: Place in memory of the operand's first element.
            axes: The operand's dimensions.

        Returns:
            The place of its first element in the tensor, and each dimension as dimensions over the tensor, outermost
            first: several, if it runs on from one axis of the tensor into the next (after a reshape), none for size 1.
            None if the operand does not follow the tensor's axes.
        """
        digits = self._digits(start - self.start)
        if digits is None:
            return None
        walks = []
        for axis in axes:
            walk = self._walk(axis, digits)
            if walk is None:
                return None
            walks.append(walk)
        return self.first + sum(digit * step for digit, (_, _, step) in zip(digits, self.axes, strict=True)), walks

    def copied(self, source: Tensor, copy: Tensor) -> Origin | None:
        """Return the origin of a copy's memory, element by element the same as `source`, a view of this memory."""
        resolved = self.resolve(int(source.storage_offset()), zip(source.shape, source.stride(), strict=True))
        if resolved is None:
            return None
        first, walks = resolved
        axes: list[tuple[int, int, int]] = []
        for walk, step in zip(walks, copy.stride(), strict=True):
            inside = 1
            for size, stride in reversed(walk):
                axes.append((size, step * inside, stride))
                inside *= size
        return Origin(self.name, int(copy.storage_offset()), first, _ordered(axes))

    def _walk(self, axis: Axis, begin: Sequence[int]) -> Dims | None:
        size, step = axis
        if size == 1:
            return ()
        if step == 0:
            return ((size, 0),)
        digits = self._digits(step)
        used = [place for place, digit in enumerate(digits or ()) if digit]
        if digits is None or len(used) != 1:
            return None
        (place,) = used
        digit, (length, _, stride) = digits[place], self.axes[place]
        if begin[place] + (size - 1) * digit < length:
            return ((size, digit * stride),)
        count, rest = divmod(length, digit)
        if rest or begin[place] or size % count or place == 0:
            return None
        outer = self._walk((size // count, step * count), begin)
        return None if outer is None else (*outer, (count, digit * stride))

    def _digits(self, distance: int) -> list[int] | None:
        """Write a distance in memory as steps along the axes, the widest first; None if that is impossible."""
        if distance < 0:
            return None
        digits = []
        for size, step, _ in self.axes:
            digit = min(distance // step, size - 1) if step else 0
            digits.append(digit)
            distance -= digit * step
        return digits if distance == 0 else None


class Origins:
    """The memory of all parameters of a model, and of the copies that were made of them."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Remember where the `tensors` live; they must outlive this object."""
        self.aliases: dict[str, str] = {}
        self._parameters: dict[int, list[Origin]] = {}
        self._copies: dict[int, tuple[StorageWeakRef, Origin]] = {}
        for name, tensor in tensors.items():
            known = self._parameters.setdefault(storage_of(tensor), [])
            owner = next((origin.name for origin in known if origin.covers(int(tensor.storage_offset()))), None)
            if owner is None:
                known.append(Origin.of(name, tensor))
            else:
                self.aliases[name] = owner

    def find(self, tensor: Tensor) -> Origin | None:
        """Return where a tensor's elements come from, or None if it is no view and no copy of a parameter."""
        key = storage_of(tensor)
        if key in self._copies:
            return self._copies[key][1]
        offset = int(tensor.storage_offset())
        return next((origin for origin in self._parameters.get(key, ()) if origin.covers(offset)), None)

    def note_copy(self, source: Tensor, copy: Tensor) -> None:
        """Remember that `copy` holds the same elements as `source`."""
        origin = self.find(source)
        if origin is None or storage_of(copy) == storage_of(source):
            return
        moved = origin.copied(source, copy)
        if moved is not None:
            # The weak reference keeps the number of the memory from being used again.
            self._copies[storage_of(copy)] = (StorageWeakRef(copy.untyped_storage()), moved)

    def forget_copies(self) -> None:
        """Forget the copies, after a forward has ended."""
        self._copies.clear()


def storage_of(tensor: Tensor) -> int:
    """Return a number that is the same for all tensors in one piece of memory; 0 for those without (sparse ones)."""
    try:
        return int(tensor.untyped_storage()._cdata)  # noqa: SLF001 - the address is equal for views; nothing public is
    except (NotImplementedError, RuntimeError):
        return 0


def merged(dims: Dims) -> Dims:
    """Return dimensions without those of size 1, neighbours joined where one stride spans both."""
    joined: list[tuple[int, int]] = []
    for size, stride in dims:
        if size == 1:
            continue
        if joined and joined[-1][1] == size * stride:
            joined[-1] = (joined[-1][0] * size, stride)
        else:
            joined.append((size, stride))
    return tuple(joined)


def _row_major(shape: Sequence[int]) -> list[int]:
    steps: list[int] = []
    step = 1
    for size in reversed(shape):
        steps.insert(0, step)
        step *= size
    return steps


def _ordered(axes: Iterable[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    return tuple(sorted((axis for axis in axes if axis[0] > 1), key=lambda axis: -axis[1]))
