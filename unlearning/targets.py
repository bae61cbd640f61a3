"""What refitted layers shall give: for forgotten samples, what the retained ones they resemble are given."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.arithmetic import full_precision
from unlearning.capture import Captured
from unlearning.checks import checked_classes
from unlearning.errors import NotRefittable
from unlearning.inventory import Layer
from unlearning.outputs import Outputs

SPREAD = 2.0
"""In the classifier's last hidden layer. A least-squares fit regresses towards the mean: what it gives to forgotten
samples lies nearer together than their targets, and so between the classes, where few retained samples lie. A probe
knows them by that. The feature layers are left as they are."""


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
    def mixtures(self, given: Tensor, spread: float = 1.0) -> Tensor:
        """Return what a hidden layer shall give (N, positions, m), from what the original's gave.

        Means are made for each position on its own. Forgotten samples' mixtures lie `spread` times as far from their
        own mean as they would.
        """
        num_retain, shares = len(self) - self.num_forget, self.shares.to(given)
        seen = shares[:num_retain] / shares[:num_retain].sum(dim=0).clamp_min(torch.finfo(given.dtype).tiny)
        means = torch.einsum("nk,npm->kpm", seen, given[:num_retain])
        mixed = torch.einsum("nk,kpm->npm", shares[num_retain:], means)
        return torch.cat([given[:num_retain], torch.lerp(mixed.mean(dim=0, keepdim=True), mixed, spread)])

    def per_row(self, per_sample: Tensor, num_rows: int) -> Tensor:
        """Give each row what its sample has; all samples have as many rows."""
        return per_sample.repeat_interleave(num_rows // len(self), dim=0)

    def importance(self, num_rows: int, forget_weight: float) -> Tensor:
        """Return weights (n,) of the rows: 1 in total for the retain side, `forget_weight` for the other."""
        num_retain = len(self) - self.num_forget
        each = torch.full((len(self),), 1.0 / num_retain, device=self.shares.device)
        each[num_retain:] = forget_weight / self.num_forget
        return self.per_row(each * len(self) / num_rows, num_rows)


def targets_of(
    found: Captured, outputs: Outputs, each: int, samples: Samples, output: str, classifier: Collection[str]
) -> dict[str, Tensor]:
    """Return for each layer with equally many rows of each sample its targets (n, groups, m / groups).

    Args:
        found: What ran of the original.
        outputs: What its layers gave.
        each: Rows per sample, unless a layer has fewer positions.
        samples: Both sides.
        output: Key of the layer that gives the logits (see `output_layer`).
        classifier: Names of the modules behind the features (see `evaluation.controls.classifier_layers`).

    Raises:
        NotRefittable: that layer's rows cannot be assigned to samples, or the samples do not have equally many.
    """
    fitting = [layer for layer in found.layers if layer.weight in found.assigned - found.uneven]
    spreads = spreads_of([layer for layer in fitting if layer.weight != output], classifier)
    targets = {}
    for layer in fitting:
        given = outputs.pop(layer)
        if layer.weight == output:
            targets[layer.weight] = samples.logits(given).view(-1, *layer.shape[:2])
        else:
            targets[layer.weight] = _hidden(samples, layer, given, each, spreads.get(layer.weight, 1.0))
    if output not in targets:
        raise NotRefittable(targets)
    return targets


def spreads_of(hidden: Iterable[Layer], classifier: Collection[str], most: float = SPREAD) -> dict[str, float]:
    """Return the spread of each hidden layer of the classifier: growing evenly, `most` before the output layer.

    A single hidden layer is left as it is: it had to do alone what two share, which on the digits cost two points of
    retained accuracy and left less of the class than in a network that never saw it.
    """
    keys = [layer.weight for layer in hidden if is_within(layer, classifier)]
    return {} if len(keys) < 2 else {key: 1 + (most - 1) * place / len(keys) for place, key in enumerate(keys, start=1)}


def is_within(layer: Layer, classifier: Collection[str]) -> bool:
    """Whether a layer is used by modules of the classifier alone."""
    return set(layer.modules) <= set(classifier)


def _hidden(samples: Samples, layer: Layer, given: Tensor, each: int, spread: float) -> Tensor:
    """Return targets (n, groups, m / groups) of a hidden layer from what the original's gave (n, m)."""
    positions = given.view(len(samples), -1, layer.m)
    if positions.shape[1] < each:  # all positions are there, in order
        return samples.mixtures(positions, spread).view(-1, *layer.shape[:2])
    pooled = samples.mixtures(positions.mean(dim=1, keepdim=True), spread)
    num_retain = len(samples) - samples.num_forget
    goals = torch.cat([positions[:num_retain], pooled[num_retain:].expand_as(positions[num_retain:])])
    return goals.view(-1, *layer.shape[:2])
