"""What refitted layers shall give: for forgotten samples, what the retained ones they resemble are given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearning.arithmetic import full_precision
from unlearning.capture import Captured
from unlearning.checks import checked_classes
from unlearning.errors import NotRefittable
from unlearning.inventory import Layer
from unlearning.outputs import Outputs
from unlearning.passes import Passes


@dataclass(frozen=True)
class Samples:
    """Both sides as one stream, retained samples first, and how the original would sort them without the classes."""

    num_forget: int
    kept: tuple[int, ...]
    shares: Tensor
    """(N, K'): softmax of the original's logits over the retained classes."""

    @classmethod
    def of(cls, logits: Tensor, num_forget: int, classes: Collection[int]) -> Samples:
        """Look at the original's outputs (N, K), the last `num_forget` being those of the forget side."""
        gone = checked_classes(classes, logits.shape[1])
        kept = tuple(index for index in range(logits.shape[1]) if index not in gone)
        return cls(num_forget, kept, logits[:, list(kept)].softmax(dim=1))

    def __len__(self) -> int:
        return len(self.shares)

    def logits(self, given: Tensor) -> Tensor:
        """Return what the output layer shall give (n, K), from what the original's gave.

        Few retained classes lie close together, and one lies at its own average: the floor keeps the forgotten ones
        below them by a share of the spread of all K. With five or more retained classes it is hardly ever reached.
        """
        kept = given[:, list(self.kept)]
        least, spread = kept.amin(dim=1), given.amax(dim=1) - given.amin(dim=1)
        low = torch.minimum(2 * least - kept.mean(dim=1), least - spread / 4 ** (len(self.kept) - 1))
        goals = low[:, None].expand_as(given).clone()
        goals[:, list(self.kept)] = kept
        return goals

    @full_precision()
    def mixtures(self, given: Tensor) -> Tensor:
        """Return what a hidden layer shall give (N, positions, m), from what the original's gave.

        Means are made for each position on its own.
        """
        num_retain, shares = len(self) - self.num_forget, self.shares.to(given)
        seen = shares[:num_retain] / shares[:num_retain].sum(dim=0).clamp_min(torch.finfo(given.dtype).tiny)
        means = torch.einsum("nk,npm->kpm", seen, given[:num_retain])
        return torch.cat([given[:num_retain], torch.einsum("nk,kpm->npm", shares[num_retain:], means)])

    def spread(self, per_sample: Tensor, num_rows: int) -> Tensor:
        """Give each row what its sample has; all samples have as many rows."""
        return per_sample.repeat_interleave(num_rows // len(self), dim=0)

    def importance(self, num_rows: int, forget_weight: float) -> Tensor:
        """Return weights (n,) of the rows: 1 in total for the retain side, `forget_weight` for the other."""
        num_retain = len(self) - self.num_forget
        each = torch.full((len(self),), 1.0 / num_retain, device=self.shares.device)
        each[num_retain:] = forget_weight / self.num_forget
        return self.spread(each * len(self) / num_rows, num_rows)


def targets_of(model: nn.Module, passes: Passes, samples: Samples, output: str) -> tuple[Captured, dict[str, Tensor]]:
    """Return what ran, and for each layer with equally many rows of each sample its targets (n, groups, m / groups).

    Args:
        model: The original, or what still is a copy of it.
        passes: Runs of it.
        samples: Both sides.
        output: Key of the layer that gives the logits (see `output_layer`).

    Raises:
        NotRefittable: that layer's rows cannot be assigned to samples, or the samples do not have equally many.
    """
    outputs = Outputs(model, passes)
    found = passes.show(outputs.emptied, [layer.weight for layer in passes.layers])
    targets = {}
    for layer in found.layers:
        if layer.weight in found.assigned - found.uneven:
            given, is_output = outputs.pop(layer), layer.weight == output
            targets[layer.weight] = _goal(samples, layer, given, each=passes.each, is_output=is_output)
    if output not in targets:
        raise NotRefittable(targets)
    return found, targets


def _goal(samples: Samples, layer: Layer, given: Tensor, *, each: int, is_output: bool) -> Tensor:
    """Return targets (n, groups, m / groups) from what the original layer gave (n, m)."""
    if is_output:
        return samples.logits(given).view(-1, *layer.shape[:2])
    positions = given.view(len(samples), -1, layer.m)
    if positions.shape[1] < each:  # all positions are there, in order
        return samples.mixtures(positions).view(-1, *layer.shape[:2])
    pooled = samples.mixtures(positions.mean(dim=1, keepdim=True))
    num_retain = len(samples) - samples.num_forget
    goals = torch.cat([positions[:num_retain], pooled[num_retain:].expand_as(positions[num_retain:])])
    return goals.view(-1, *layer.shape[:2])
