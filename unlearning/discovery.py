"""Finds a model's layers by watching it run, and a true reason for every parameter that is none.

Two samples pass, and every tensor is known to depend on them or not; what does not, is known by the parameters it was
made from. So when a parameter meets the samples, it is seen in what operation, and whether as itself or after some
computation. A second pass, in which the second sample is replaced by the first, shows which rows of each product
belong to the second sample: those that change. (Hence the two differ everywhere, see `told_apart`.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unlearning.origins import Origins, storage_of
from unlearning.products import Product, is_copy, multiplies, name_of, operands, resolved


@dataclass(frozen=True)
class Layout:
    """How the items of a product follow the samples: item = (outer * B + sample) * inner + place, for B samples.

    Sample after sample is outer = 1; position after position, as inside `nn.MultiheadAttention`, is inner = 1.
    """

    outer: int
    inner: int

    def fits(self, items: int, batch: int) -> tuple[int, int] | None:
        """Return (outer, inner) for this many items and samples; other image sizes change the larger of the two."""
        each, rest = divmod(items, batch)
        if rest:
            return None
        if each == self.outer * self.inner:
            return self.outer, self.inner
        if self.outer == 1:
            return 1, each
        return (each, 1) if self.inner == 1 else None


@dataclass(frozen=True)
class Use:
    """A parameter that meets the samples in an operation that is no product the update can edit.

    Attributes:
        operation: Name of the operation.
        computed_by: First operation that made something else of the parameter; empty if it is met as itself.
        is_operand: Whether it is, or becomes, an operand of a matrix product.
    """

    operation: str
    computed_by: str = ""
    is_operand: bool = False


@dataclass
class Seen:
    """What one pass showed.

    Attributes:
        products: Products of activations with parameters, in order of execution.
        marks: One vector per product: a number per item that changes when the item does.
        others: Other encounters of each parameter with activations.
    """

    products: list[Product] = field(default_factory=list)
    marks: list[Tensor] = field(default_factory=list)
    others: dict[str, list[Use]] = field(default_factory=dict)


@dataclass
class _State:
    """What is known of one piece of memory. The weak reference keeps its number from being used again."""

    memory: StorageWeakRef
    depends: bool
    made_from: dict[str, str]


class Decomposing(TorchDispatchMode):
    """A mode that sees basic operations only: what inference mode hands over whole is taken apart first."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Show the operation to `execute`, unless it consists of others."""
        if _consists_of_others(func):
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return self.execute(func, args, kwargs or {})

    def execute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run the operation, and look at it."""
        return func(*args, **kwargs)


class Tracer(Decomposing):
    """Follows the samples and the parameters through one forward pass; see the module's docstring."""

    def __init__(self, origins: Origins, inputs: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = Seen()
        self._origins = origins
        self._states: dict[int, _State] = {}
        self._note(inputs, depends=True, made_from={})

    def execute(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run the operation and write down who met whom."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        depends = any(self._depends(tensor) for tensor in given)
        product = self._product(func, args) if depends else None
        made_from: dict[str, str] = {}
        for place, tensor in enumerate(given):
            if self._depends(tensor):
                continue
            for name, computed_by in self._made_from(tensor).items():
                if depends:
                    if product is None or tensor is not product.operand:
                        self._meet(name, func, computed_by, is_operand=multiplies(name_of(func), place, len(given)))
                else:
                    made_from.setdefault(name, computed_by or name_of(func))
        result = func(*args, **kwargs)
        for tensor in [*_tensors(result), *_written(func, args)]:
            self._note(tensor, depends=depends, made_from=made_from)
        if is_copy(func) and not depends:
            self._origins.note_copy(args[0], result)
        return result

    def _product(self, func: Any, args: Any) -> Product | None:
        for operand in operands(func, args):
            if self._depends(operand.inputs) and not self._depends(operand.weight):
                product = resolved(operand, self._origins)
                if product is not None:
                    self.seen.products.append(product)
                    self.seen.marks.append(product.rows.marks())
                    return product
        return None

    def _meet(self, name: str, func: Any, computed_by: str, *, is_operand: bool) -> None:
        use = Use(name_of(func), computed_by, is_operand)
        known = self.seen.others.setdefault(name, [])
        if use not in known:
            known.append(use)

    def _depends(self, tensor: Tensor) -> bool:
        state = self._states.get(storage_of(tensor))
        return state is not None and state.depends

    def _made_from(self, tensor: Tensor) -> Mapping[str, str]:
        origin = self._origins.find(tensor)
        if origin is not None:
            return {origin.name: ""}
        state = self._states.get(storage_of(tensor))
        return {} if state is None else state.made_from

    def _note(self, tensor: Tensor, *, depends: bool, made_from: Mapping[str, str]) -> None:
        key = storage_of(tensor)
        state = self._states.get(key)
        if state is None:
            if key and (depends or self._origins.find(tensor) is None):
                self._states[key] = _State(StorageWeakRef(tensor.untyped_storage()), depends, dict(made_from))
        else:
            state.depends |= depends
            state.made_from = {**made_from, **state.made_from}


def told_apart(pair: Tensor) -> Tensor:
    """Return a copy of two samples (2, ...) in which the second differs from the first everywhere.

    Where both have the same padding or background, their rows are the same, and could be anyone's. The second is given
    the largest number of the two samples there, or the smallest: a pixel or an index that the model knows. Two samples
    of a single number, and complex ones, stay as they are.
    """
    first, second = copied = pair.clone()
    if copied.numel() and not copied.is_complex():
        low, high = copied.amin(), copied.amax()
        second.copy_(torch.where(first == second, torch.where(first == high, low, high), second))
    return copied


def trace(model: nn.Module, origins: Origins, inputs: Tensor) -> Seen:
    """Run the model on `inputs` and return what was seen."""
    tracer = Tracer(origins, inputs)
    try:
        with tracer:
            model(inputs)
    finally:
        origins.forget_copies()
    return tracer.seen


def layouts(first: Seen, second: Seen) -> list[Layout | None]:
    """Return how each product's items follow the two samples of the first pass, of which the second pass replaced one.

    None where the samples mix, or where their number of items depends on them.
    """
    if [product.key for product in first.products] != [product.key for product in second.products]:
        return [None] * len(first.products)
    return [_layout(one, two) for one, two in zip(first.marks, second.marks, strict=True)]


def _layout(first: Tensor, second: Tensor) -> Layout | None:
    if first.shape != second.shape or len(first) % 2:
        return None
    # Compared as bits: equal NaN are equal.
    changed = (first.view(torch.int64) != second.view(torch.int64)).nonzero().squeeze(1)
    each = len(first) // 2
    for outer in (1, each, *(divisor for divisor in range(2, each) if each % divisor == 0)):
        inner = each // outer
        if bool((changed // inner % 2 == 1).all()):
            return Layout(outer, inner)
    return None


def _tensors(result: Any) -> Iterator[Tensor]:
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            yield leaf


def _written(func: Any, args: Sequence[Any]) -> Iterator[Tensor]:
    """Yield the arguments that the operation writes to."""
    schema = func._schema  # noqa: SLF001 - nothing public says what an operation writes to
    for argument, value in zip(schema.arguments, args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(value)


@cache
def _consists_of_others(func: Any) -> bool:
    key = torch._C.DispatchKey.CompositeImplicitAutograd  # noqa: SLF001 - the key has no public name
    return bool(func.has_kernel_for_dispatch_key(key))
