"""Evaluation mode, borrowed and given back: whatever happens inside, the caller's model leaves as it came."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils._pytree import tree_leaves

from unlearning.arithmetic import fresh_casts, swift_products
from unlearning.checks import checked_module
from unlearning.errors import ForwardFailed, OptionOutOfRange, UnlearningError


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` in evaluation mode without autograd, and give every module its own mode back, also upon exceptions.

    Products run as fast as single precision allows, or less precise where the caller's autocast allows it (see
    `arithmetic`).

    Each module's flag is kept apart, because a partly frozen model (batch normalisation in evaluation mode inside a
    model in training mode) would not survive a plain `model.train()`.

    Errors of `checked_module` pass through.
    """
    modes = [(module, module.training) for module in checked_module(model).modules()]
    try:
        model.eval()
        with torch.no_grad(), swift_products(), fresh_casts():
            yield
    finally:
        for module, training in modes:
            module.training = training


def device_of(model: nn.Module) -> torch.device:
    """Return the device of the first parameter (or buffer) of `model`; the CPU if it has none.

    Errors of `checked_module` pass through.
    """
    for tensor in (*checked_module(model).parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")


@contextmanager
def watchable(model: nn.Module) -> Iterator[None]:
    """Evaluation mode in which every product is executed where it can be seen.

    The fused attention of `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` would hide theirs, so it is switched
    off (and on again); a parametrised weight is computed once and kept, so that it can be recognised.
    """
    was_fused = torch.backends.mha.get_fastpath_enabled()
    with evaluating(model), parametrize.cached():
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(was_fused)


@contextmanager
def refused(batch: Tensor) -> Iterator[None]:
    """Name the batch when the model refuses it, whatever it raises; what is no refusal passes as it is."""
    try:
        yield
    except (torch.OutOfMemoryError, UnlearningError):
        raise
    except Exception as error:
        raise ForwardFailed(f"shape {tuple(batch.shape)}, {batch.dtype} on {batch.device}", error) from error


def copied(model: nn.Module) -> nn.Module:
    """Return a deep copy; results that a module keeps, its last activations say, come without how they were computed.

    Raises:
        OptionOutOfRange: the model holds something that cannot be copied.
    """
    held = (leaf for module in checked_module(model).modules() for leaf in tree_leaves(vars(module)))
    memo = {id(leaf): leaf.detach().clone() for leaf in held if isinstance(leaf, Tensor) and not leaf.is_leaf}
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise OptionOutOfRange("the model", "one that copy.deepcopy takes", str(error)) from error
