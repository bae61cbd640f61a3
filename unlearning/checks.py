"""Refusals that several rooms share: each returns a clean value, or raises with what was expected and what came."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unlearning.errors import (
    BadBatch,
    ClassIndexOutOfRange,
    EmptySide,
    NonFinite,
    NoRetainedClass,
    OptionOutOfRange,
    ShapeError,
)


def checked_alpha(option: str, alpha: Any) -> float:
    """Return `alpha` if it is a finite positive number; (alpha - 1) C + I is positive definite exactly then.

    Raises:
        OptionOutOfRange: `alpha` is zero, negative, NaN, infinite or no number.
    """
    try:
        number = math.nan if isinstance(alpha, (str, bytes)) else float(alpha)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one is a tensor's
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise OptionOutOfRange(option, "a finite number above 0", alpha)
    return number


def checked_count(option: str, count: Any, least: int = 1) -> int:
    """Return `count` if it is a whole number of at least `least`.

    Raises:
        OptionOutOfRange: `count` is smaller than that, or no whole number.
    """
    if isinstance(count, bool) or not isinstance(count, (int, np.integer)) or count < least:
        raise OptionOutOfRange(option, f"a whole number of at least {least}", count)
    return int(count)


def checked_several(option: str, values: Any) -> tuple[Any, ...]:
    """Return `values` as a tuple, if there are any.

    Raises:
        OptionOutOfRange: there is none, or `values` is none of several.
    """
    several = tuple(values) if isinstance(values, Iterable) else ()
    if not several:
        raise OptionOutOfRange(option, "at least one of several", values)
    return several


def checked_module(model: Any) -> nn.Module:
    """Return `model` if it is a module whose parameters all exist.

    Raises:
        OptionOutOfRange: it is none, or a parameter waits for a first forward to be made.
    """
    if not isinstance(model, nn.Module):
        raise OptionOutOfRange("the model", "a torch.nn.Module", type(model).__name__)
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            raise OptionOutOfRange(f"'{name}'", "initialised (call the model once before)", type(tensor).__name__)
    return model


def checked_outputs(given: object) -> Tensor:
    """Return what a model gave, if that can be logits.

    Raises:
        OptionOutOfRange: it is no tensor.
    """
    if not isinstance(given, Tensor):
        raise OptionOutOfRange("the model's output", "a tensor of logits (B, K)", type(given).__name__)
    return given


def checked_finite(tensor: Tensor, where: str) -> Tensor:
    """Return `tensor` if every entry is finite.

    Raises:
        NonFinite: there is a NaN or an infinity; `where` names the place.
    """
    if tensor.is_complex():
        checked_finite(torch.view_as_real(tensor), where)
    elif tensor.is_floating_point() and tensor.numel():
        # One pass, many times faster than torch.isfinite: NaN wins both comparisons, infinity one of them.
        low, high = torch.aminmax(tensor.detach())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise NonFinite(where)
    return tensor


def checked_inputs(batch: object) -> Tensor:
    """Return the inputs of a batch: the batch itself, or the first item of the tuple a data loader yields.

    Raises:
        BadBatch: there is no tensor with a leading batch dimension.
    """
    first: Any = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    if not isinstance(first, Tensor):
        raise BadBatch(type(first).__name__)
    if first.ndim == 0:
        raise BadBatch("a scalar tensor")
    if first.is_meta:
        raise BadBatch("a tensor without data")
    return first


def checked_labels(labels: Iterable[int] | NDArray[Any] | Tensor, num_classes: int | None = None) -> NDArray[np.int64]:
    """Return labels as an int64 vector of class indices.

    Raises:
        ShapeError: the labels are not a vector.
        EmptySide: there are none.
        OptionOutOfRange: they are not whole numbers.
        ClassIndexOutOfRange: an index is negative, or too large for `num_classes`.
    """
    try:
        array = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except (TypeError, ValueError) as error:  # types that NumPy does not have, rows of different lengths
        raise OptionOutOfRange("labels", "whole numbers", str(getattr(labels, "dtype", type(labels)))) from error
    if array.ndim != 1:
        raise ShapeError("labels", "(n,)", array.shape)
    if array.size == 0:
        raise EmptySide("labelled")
    if not np.issubdtype(array.dtype, np.integer):
        raise OptionOutOfRange("labels", "whole numbers", str(array.dtype))
    vector = array.astype(np.int64)
    top = int(vector.max()) + 1 if num_classes is None else num_classes
    outside = vector[(vector < 0) | (vector >= top)]
    if outside.size:
        raise ClassIndexOutOfRange(int(outside[0]), top)
    return vector


def checked_classes(classes: Iterable[int], num_classes: int) -> tuple[int, ...]:
    """Return the classes to forget, sorted and without repetition; at least one, and never all of them.

    Raises:
        EmptySide: no class is named.
        NoRetainedClass: all classes are named.

    Note:
        Errors of `checked_indices` pass through.
    """
    wanted = checked_indices("classes", classes, num_classes)
    if not wanted:
        raise EmptySide("forget")
    if len(wanted) == num_classes:
        raise NoRetainedClass(num_classes)
    return wanted


def checked_indices(option: str, classes: Iterable[int], num_classes: int) -> tuple[int, ...]:
    """Return class indices, sorted and without repetition.

    Raises:
        OptionOutOfRange: they are not whole numbers.
        ClassIndexOutOfRange: an index that the model does not have.
    """
    try:
        indices = sorted({operator.index(index) for index in classes})
    except TypeError as error:  # 1.5 is no class, and neither is "1"
        raise OptionOutOfRange(option, "whole numbers", classes) from error
    for index in indices:
        if not 0 <= index < num_classes:
            raise ClassIndexOutOfRange(index, num_classes)
    return tuple(indices)
