"""Where a training stands after an epoch: enough to go on as if nothing had happened.

Weights, the optimiser's tensors and the losses so far, as safetensors. The learning rate and every random choice
follow from the recipe, the seed and the number of the epoch, so neither has a state to keep.
"""

import json
import struct
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor, nn

from models_store.errors import MalformedWeights

LOSSES = "losses"


@dataclass(frozen=True)
class Checkpoint:
    """The state after `len(losses)` epochs; tensors on the CPU, by names of the network and of the optimiser."""

    losses: tuple[float, ...]
    network: dict[str, Tensor]
    optimiser: dict[str, Tensor]
    """By `<position of the parameter>.<field>`."""

    @classmethod
    def take(cls, network: nn.Module, optimiser: torch.optim.Optimizer, losses: list[float]) -> "Checkpoint":
        state = optimiser.state_dict()["state"]
        fields = {
            f"{position}.{name}": value
            for position, fields in state.items()
            for name, value in fields.items()
            if isinstance(value, Tensor)
        }
        return cls(tuple(losses), _copied(network.state_dict()), _copied(fields))

    def restore(self, network: nn.Module, optimiser: torch.optim.Optimizer) -> list[float]:
        """Put the state back; both must be made by the same recipe. Returns the losses so far."""
        network.load_state_dict(self.network, strict=True)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in self.optimiser.items():
            position, _, name = key.partition(".")
            state.setdefault(int(position), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})
        return list(self.losses)

    def to_bytes(self) -> bytes:
        named = {f"network.{name}": value for name, value in self.network.items()}
        named |= {f"optimiser.{name}": value for name, value in self.optimiser.items()}
        return safetensors.torch.save(named, {LOSSES: json.dumps(self.losses)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "Checkpoint":
        """The checkpoint in bytes that `to_bytes` wrote; the caller has checked their digest.

        Raises:
            MalformedWeights: they hold something else.
        """
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "optimiser": {}}
        try:
            (length,) = struct.unpack_from("<Q", content)
            losses = json.loads(json.loads(content[8 : 8 + length])["__metadata__"][LOSSES])
            for key, value in safetensors.torch.load(content).items():
                part, _, name = key.partition(".")
                parts[part][name] = value
        except (struct.error, ValueError, KeyError, safetensors.SafetensorError) as error:
            msg = f"Expected a checkpoint of a training, got other bytes ({type(error).__name__})."
            raise MalformedWeights(msg) from error
        return cls(tuple(losses), parts["network"], parts["optimiser"])


def _copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    # Copies, because the training goes on with the originals, and each with memory of its own, as the format asks.
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
