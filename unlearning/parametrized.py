"""Tensors that a parametrisation computes (`torch.nn.utils.parametrize`): found, and written back where possible.

Weight normalisation keeps a direction and a length, spectral normalisation and orthogonality keep a matrix from which
the weight is computed. The layer multiplies the computed weight, so that is what the update edits; it can be stored
only if the parametrisation's own `right_inverse` finds parameters that produce it.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unlearning.errors import NotRepresentable

_TOLERANCE = 8.0
"""Largest relative error with which a value must come back, in units of its dtype's machine precision."""


def is_parametrized(model: nn.Module, name: str) -> bool:
    """Return whether the tensor `name` is computed by a registered parametrisation."""
    return name in parametrized_tensors(model)


def parametrized_tensors(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the names of all parametrised tensors, each with the names of the parameters it is computed from."""
    found = {}
    for path, module in model.named_modules():
        if parametrize.is_parametrized(module):
            prefix = f"{path}." if path else ""
            for local, behind in _lists(module).items():
                inner = [name for name, _ in behind.named_parameters(recurse=False)]
                found[f"{prefix}{local}"] = tuple(f"{prefix}parametrizations.{local}.{name}" for name in inner)
    return found


def originals_for(model: nn.Module, name: str, value: Tensor) -> dict[str, Tensor]:
    """Return values of the parameters behind the tensor `name` that make it `value`; the model is not changed.

    Raises:
        NotRepresentable: the parametrisation has no right inverse, or what it finds gives another tensor.
    """
    path, _, local = name.rpartition(".")
    behind = copy.deepcopy(_lists(model.get_submodule(path))[local]).eval()
    try:
        with torch.no_grad():
            behind.right_inverse(value)
            back = behind()
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise NotRepresentable(name, str(error).splitlines()[0]) from error
    distance = (back.double() - value.double()).norm()
    if not bool(distance <= _TOLERANCE * torch.finfo(value.dtype).eps * value.double().norm()):
        raise NotRepresentable(name, "its right inverse gives another tensor")
    prefix = f"{path}." if path else ""
    return {
        f"{prefix}parametrizations.{local}.{inner}": parameter.detach().contiguous()
        for inner, parameter in behind.named_parameters(recurse=False)
    }


def _lists(module: nn.Module) -> dict[str, Any]:
    """Return the parametrisations of a module (`ParametrizationList`, which has no annotations) by tensor."""
    return dict(getattr(module, "parametrizations", {}).items())
