"""What layers give, and which of them gives the model's outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unlearning.capture import RowSink
from unlearning.errors import NotRefittable
from unlearning.inventory import Layer, read_rows
from unlearning.passes import Passes, at_least_single

_NUM_SAMPLES = 16
"""Samples that are compared: more than chance could match, and few enough for all positions of a large image."""
_LEAST_COSINE = 0.99
"""Rounding in half precision costs a thousandth."""


class Outputs:
    """Keeps what layers give for the rows that `Passes` shows, with the weights and biases they have at first sight."""

    def __init__(self, model: nn.Module, passes: Passes) -> None:
        self._model, self._passes = model, passes
        self._matrices: dict[str, tuple[Tensor, Tensor]] = {}
        self._parts: dict[str, list[Tensor]] = {}

    def emptied(self) -> RowSink:
        """Forget the rows, and return what takes new ones."""
        self._parts.clear()
        return self._take

    def pop(self, layer: Layer) -> Tensor:
        """Return what a layer gave (n, m), at least float32, and forget it."""
        return torch.cat(self._parts.pop(layer.weight))

    def _take(self, layer: Layer, rows: Tensor) -> None:
        if layer.weight not in self._matrices:
            matrix, bias = at_least_single(read_rows(self._model, layer)), self._passes.bias_of(layer)
            shift = matrix.new_zeros(layer.m) if bias is None else bias[1].to(matrix)
            self._matrices[layer.weight] = matrix.mT, shift.view(layer.groups, 1, -1)
        matrix, shift = self._matrices[layer.weight]
        given = rows.to(matrix.dtype).transpose(0, 1) @ matrix + shift
        self._parts.setdefault(layer.weight, []).append(given.transpose(0, 1).flatten(1))


def output_layer(model: nn.Module, passes: Passes, logits: Tensor) -> str:
    """Return the key of the last layer that gives the model's outputs.

    That it runs last and has K outputs proves nothing: the model may turn the sign, or use it for something else. So a
    few samples are compared. A shift of all classes of a sample (a log-softmax) and a factor above 0 (a temperature) do
    not matter, because low stays low; nor does an average over positions, with a ReLU before it or without.

    Args:
        model: The original, or what still is a copy of it.
        passes: Runs of it.
        logits: Its outputs (N, K).

    Raises:
        NotRefittable: it is none of the layers that may be refitted.
    """
    keys = [layer.weight for layer in passes.layers if layer.m == logits.shape[1]]
    if keys:
        outputs, first = Outputs(model, passes), logits[:_NUM_SAMPLES]
        found = passes.show_first(outputs.emptied(), keys, len(first))
        for layer in reversed(found.layers):
            if layer.weight in found.assigned - found.uneven:
                positions = outputs.pop(layer).to(first).view(len(first), -1, layer.m)
                if any(_is_same(kept.mean(dim=1), first) for kept in (positions, positions.relu())):
                    return layer.weight
    raise NotRefittable(layer.weight for layer in passes.layers if layer.weight in passes.assigned)


def _is_same(given: Tensor, logits: Tensor) -> bool:
    """Whether both are the same (n, K) up to a shift of each row and one positive factor; a fresh head gives zeros."""
    one, other = ((values - values.mean(dim=1, keepdim=True)).double() for values in (given, logits))
    is_along = (one * other).sum() >= _LEAST_COSINE * one.norm() * other.norm()
    return bool(is_along & (one.any() == other.any()))
