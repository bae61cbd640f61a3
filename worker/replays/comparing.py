"""Is a network that was computed again the one that was published?

Equal digests say so. If the machine is another one they may differ: sums are then taken in another order, and a float32
sum depends on it. So each tensor is compared by

    ||W_again - W_published||_F / max(||W_again||_F, ||W_published||_F)

and must stay below `BOUND`; tensors that the method does not edit come from the parent and must be equal to the bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from torch import Tensor, nn

from models_store.weights import iterate_state

BOUND = 2e-3
BOUND_FROM = (
    "Ten times the largest difference that another order of float32 sums was measured to make: 2.1e-4 for a refit and "
    "1.3e-5 for the projection, between one and three threads and between instruction sets (docs/evidence.md)."
)

Outcome = Literal["identical", "within-tolerance", "different"]


@dataclass(frozen=True)
class Distances:
    """How far each tensor is from the published one; only those that differ."""

    by_tensor: Mapping[str, float]
    unedited: tuple[str, ...]
    """Those of them that the method does not touch."""

    @property
    def largest(self) -> tuple[str, float] | None:
        """The tensor that differs most."""
        return max(self.by_tensor.items(), key=lambda item: item[1], default=None)

    @property
    def is_within(self) -> bool:
        """Whether rounding can explain all of it."""
        return not self.unedited and all(value <= BOUND for value in self.by_tensor.values())


def digest_of(network: nn.Module) -> str:
    """SHA-256 of the bytes that would be stored."""
    hashed = sha256()
    for piece in iterate_state(network):
        hashed.update(piece)
    return hashed.hexdigest()


def distances(network: nn.Module, published: Path, edited: frozenset[str]) -> Distances:
    """Compare tensor by tensor with a stored file, whose digest the caller has checked."""
    theirs, ours = safetensors.torch.load_file(published), dict(network.state_dict())
    found = {name: _distance(ours.get(name), theirs.get(name)) for name in sorted({*ours, *theirs})}
    differing = {name: value for name, value in found.items() if value > 0}
    return Distances(differing, tuple(name for name in differing if name not in edited))


def changes_of_environment(recorded: Mapping[str, Any], here: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What of all that rounding depends on is not as it was then, or was not noted."""
    return [
        {"member": name, "recorded": recorded.get(name), "here": here.get(name)}
        for name in sorted({*recorded, *here} - {"seed"})
        if recorded.get(name) != here.get(name)
    ]


def _distance(ours: Tensor | None, theirs: Tensor | None) -> float:
    if ours is None or theirs is None or ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return 1.0
    one, other = (tensor.detach().cpu().to(torch.float64) for tensor in (ours, theirs))
    largest = max(float(one.norm()), float(other.norm()))
    return float((one - other).norm()) / largest if largest else 0.0
