"""What the engine reaches of one model, and whether its edit is the oracle's."""

import time
from collections import Counter
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn

from benchmarks.zoo.models import built, images, settle
from benchmarks.zoo.oracle import ALPHA_F, ALPHA_R, difference_of, sampled_layers, updated
from unlearning import Untouched, erase_classes
from unlearning.capture import find_layers
from unlearning.inventory import read_rows, tensor_of

MOST_EDITED = 150_000_000
# Reasons of parameters that are matrices of a product, though one that cannot be edited.
PRODUCT = ("multiplied", "the multiplied weight", "stands behind", "takes part in a product", "a recurrence")


@dataclass(frozen=True)
class Row:
    """One line of the table; shares between 0 and 1. `compared` holds `difference_of` each compared layer."""

    name: str
    size: int
    parameters: int
    layers: int
    of_matrices: float
    of_all: float
    compared: dict[str, tuple[float, float]]
    is_edited_whole: bool
    runs: bool
    untouched: dict[str, float]
    seconds: float


def examine(name: str) -> Row:
    """Build a model, edit it and compare."""
    started = time.perf_counter()
    model, size = built(name)
    retain, forget = images(size, seed=1), images(size, seed=2) * 0.7 + 0.3
    settle(model, torch.cat([retain, forget]))
    found = find_layers(model, retain)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    sampled = sampled_layers(model, found.layers, retain)
    is_whole = parameters <= MOST_EDITED
    before = {layer.weight: read_rows(model, layer)[0].clone() for layer in sampled}
    wanted = {layer.weight: updated(model, layer, retain, forget) for layer in sampled}
    erasure = erase_classes(
        model,
        retain=[retain],
        forget=[forget],
        alpha_r=ALPHA_R,
        alpha_f=ALPHA_F,
        layers=None if is_whole else list(wanted),
        max_rows=None,
    )
    erasure.apply_to(model)
    compared = {
        layer.weight: difference_of(before[layer.weight], read_rows(model, layer)[0], wanted[layer.weight])
        for layer in sampled
    }
    reached = sum(prod(layer.shape) for layer in found.layers)
    lost = sum(entry.parameters for entry in found.untouched if _is_matrix(model, entry))
    return Row(
        name,
        size,
        parameters,
        len(found.layers),
        reached / (reached + lost),
        reached / parameters,
        compared,
        is_whole,
        runs(model, retain),
        _reasons(found.untouched),
        time.perf_counter() - started,
    )


def runs(model: nn.Module, x: Tensor) -> bool:
    with torch.no_grad():
        return bool(torch.isfinite(model(x)).all())


def _is_matrix(model: nn.Module, entry: Untouched) -> bool:
    return entry.reason.startswith(PRODUCT) and tensor_of(model, entry.name).ndim > 1


def _reasons(untouched: tuple[Untouched, ...]) -> dict[str, float]:
    shares: Counter[str] = Counter()
    for entry in untouched:
        shares[entry.reason] += entry.share  # type: ignore[assignment] # a Counter of shares
    return dict(shares.most_common())
