"""Recognises matrix products with parameters among the operations that a forward pass really executes.

Modules are no guide: fused attention never calls its projections, Swin multiplies its weights by functional calls, an
einsum has no module at all. Below all of them PyTorch executes a handful of operations (mm, bmm, convolution and their
relatives), so those are watched. `origins` tells which operand is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import prod
from typing import Any

from torch import Tensor

from unlearning.inventory import View
from unlearning.origins import Origins, merged
from unlearning.patches import MatrixRows, PatchRows, Rows


@dataclass(frozen=True)
class Operand:
    """One operand of a product, seen as the weight, with the other one as rows.

    Attributes:
        weight: The operand.
        roles: What each of its dimensions counts: "g" matrices, "o" outputs, "i" inputs. The first dimension of a
            grouped convolution's weight counts "G": matrices first, then outputs (transposed: then inputs).
        rows: Makes the rows, given which batch dimensions share one weight (sizes, and whether each is shared).
        kind: "linear" or "conv1d", "conv2d", "conv3d".
        inputs: The other operand.
        groups: Groups of a convolution.
        order: In which order its dimensions count; their own if it is empty. Columns stand as the rows' numbers do.
    """

    weight: Tensor
    roles: str
    rows: Callable[[list[tuple[int, bool]]], Rows]
    kind: str
    inputs: Tensor
    groups: int = 1
    order: tuple[int, ...] = ()

    def axes(self) -> list[tuple[str, int, int]]:
        """Return (role, size, stride) of each dimension, the groups of a convolution split off."""
        axes = []
        sizes, strides = self.weight.shape, self.weight.stride()
        for dim in self.order or range(len(sizes)):
            role, size, stride = self.roles[dim], sizes[dim], strides[dim]
            if role.isupper():
                part = size // self.groups
                axes += [("g", self.groups, stride * part), (role.lower(), part, stride)]
            else:
                axes.append((role, size, stride))
        return axes


@dataclass(frozen=True)
class Product:
    """A product of activations with a part of the tensor `name`; `operand` is that part as the operation got it."""

    name: str
    view: View
    kind: str
    d: int
    m: int
    groups: int
    rows: Rows
    operand: Tensor

    @property
    def key(self) -> tuple[str, View]:
        """What all products with the same matrix have in common."""
        return (self.name, self.view)


def operands(function: Any, args: tuple[Any, ...]) -> Iterator[Operand]:
    """Yield both operands of a product, each as a candidate for the weight; nothing for any other operation."""
    form = _FORMS.get(name_of(function))
    if form is not None:
        yield from form(args)


def multiplies(operation: str, place: int, count: int) -> bool:
    """Return whether the tensor at `place` among `count` is multiplied: not so the bias of a matrix product."""
    if operation not in _FORMS:
        return False
    if "convolution" in operation:
        return place < 2
    return count == 2 or place > 0


def is_copy(function: Any) -> bool:
    """Return whether an operation copies its first argument element by element, perhaps to another dtype."""
    return name_of(function) in {"clone", "_to_copy"}


@cache
def name_of(function: Any) -> str:
    """Return the plain name of an operation, such as "mm", with the library in front unless that is PyTorch's own."""
    name = str(function.overloadpacket.__name__)
    return name if function.namespace == "aten" else f"{function.namespace}.{name}"


def resolved(operand: Operand, origins: Origins) -> Product | None:
    """Return the product if the operand is a view or a copy of a parameter that can be written back, else None."""
    origin = origins.find(operand.weight)
    if origin is None:
        return None
    axes = operand.axes()
    place = origin.resolve(int(operand.weight.storage_offset()), [(size, stride) for _, size, stride in axes])
    if place is None:
        return None
    first, walks = place
    by_role = {
        role: tuple(dim for (of, _, _), walk in zip(axes, walks, strict=True) if of == role for dim in walk)
        for role in "goi"
    }
    batch = [(size, stride == 0) for size, stride in by_role["g"]]
    is_shared = any(shared for _, shared in batch)
    if any(stride == 0 for role in "oi" for _, stride in by_role[role]) or (is_shared and operand.kind != "linear"):
        return None
    own = tuple(dim for dim in by_role["g"] if dim[1])
    groups, outputs, inputs = (prod(size for size, _ in dims) for dims in (own, by_role["o"], by_role["i"]))
    view = View(first, merged(own), merged(by_role["o"]), merged(by_role["i"]))
    rows = operand.rows(batch)
    return Product(origin.name, view, operand.kind, inputs, outputs * groups, groups, rows, operand.weight)


def _matrix_times(left: Tensor, right: Tensor) -> Iterator[Operand]:
    yield Operand(right, "io", lambda _: MatrixRows(left), "linear", left)
    yield Operand(left, "oi", lambda _: MatrixRows(right.t()), "linear", right)


def _matrix_times_vector(left: Tensor, right: Tensor) -> Iterator[Operand]:
    yield Operand(right, "i", lambda _: MatrixRows(left), "linear", left)
    yield Operand(left, "oi", lambda _: MatrixRows(right[None]), "linear", right)


def _stack_times(left: Tensor, right: Tensor) -> Iterator[Operand]:
    yield Operand(right, "gio", lambda batch: _stacked(left, batch), "linear", left)
    yield Operand(left, "goi", lambda batch: _stacked(right.mT, batch), "linear", right)


def _stacked(inputs: Tensor, batch: list[tuple[int, bool]]) -> Rows:
    """Return the rows of a stack (B, n, d) whose B is made of the dimensions `batch`; shared ones count rows."""
    sizes = [size for size, _ in batch]
    own = [place for place, (_, shared) in enumerate(batch) if not shared]
    shared = [place for place, (_, shared) in enumerate(batch) if shared]
    width = inputs.shape[-1]
    table = inputs.reshape(*sizes, *inputs.shape[1:]).permute(*own, *shared, len(sizes), len(sizes) + 1)
    groups = prod(sizes[place] for place in own)
    return MatrixRows(table.reshape(groups, -1, width) if groups > 1 else table.reshape(-1, width))


def _convolution(args: tuple[Any, ...]) -> Iterator[Operand]:
    inputs, weight, _, stride, padding, dilation, is_transposed, _, groups = args[:9]
    axes = inputs.ndim - 2
    kind = f"conv{axes}d"
    if is_transposed:
        # Each input pixel is multiplied by the kernels; the products are summed up where they overlap.
        ones, none = (1,) * axes, (0,) * axes
        rows = PatchRows(inputs, ones, ones, none, ones, groups)
        yield Operand(weight, "I" + "o" * (axes + 1), lambda _: rows, kind, inputs, groups)
        return
    steps, margins, gaps = (
        tuple(values) * (1 if len(values) == axes else axes) for values in (stride, padding, dilation)
    )
    patches = PatchRows(inputs, tuple(weight.shape[2:]), steps, margins, gaps, groups)
    channels_last = (0, *range(2, axes + 2), 1)
    yield Operand(weight, "O" + "i" * (axes + 1), lambda _: patches, kind, inputs, groups, channels_last)


_FORMS: dict[Any, Callable[[tuple[Any, ...]], Iterator[Operand]]] = {
    "mm": lambda args: _matrix_times(args[0], args[1]),
    "addmm": lambda args: _matrix_times(args[1], args[2]),
    "_addmm_activation": lambda args: _matrix_times(args[1], args[2]),
    "mv": lambda args: _matrix_times_vector(args[0], args[1]),
    "addmv": lambda args: _matrix_times_vector(args[1], args[2]),
    "bmm": lambda args: _stack_times(args[0], args[1]),
    "baddbmm": lambda args: _stack_times(args[1], args[2]),
    "convolution": _convolution,
    "_convolution": _convolution,
}

PRODUCTS = frozenset(_FORMS)
"""Plain names of the operations that are matrix products."""
