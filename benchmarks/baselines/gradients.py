"""Descent on what is retained, ascent on what is forgotten, and both at once.

    fine_tune       min  L_r
    neggrad         max  L_f
    neggrad_plus    min  beta L_r - (1 - beta) L_f

with L the mean cross-entropy of a side.

References: Golatkar, Achille, Soatto, "Eternal sunshine of the spotless net", CVPR 2020 (fine-tuning and negative
gradient as baselines); Graves, Nagisetty, Ganesh, "Amnesiac machine learning", AAAI 2021; Kurmanji, Triantafillou,
Hayes, Triantafillou, "Towards unbounded machine unlearning", NeurIPS 2023 (NegGrad+).
"""

from dataclasses import dataclass

from torch import Tensor, nn

from benchmarks.baselines.descent import Descent, batches, cross_entropy, descend, endless, generator_of
from benchmarks.baselines.method import Classes, Data, on_a_copy


@dataclass(frozen=True)
class NegGradPlus:
    """Attributes: the descent, its epochs being those of the retained images, and the retained side's weight."""

    descent: Descent
    beta: float = 0.95


@on_a_copy
def fine_tune(model: nn.Module, data: Data, classes: Classes, settings: Descent, seed: int) -> nn.Module:
    """Go on training with the retained images alone, and trust that the rest is forgotten on the way."""
    retain, _ = data.sides(classes)
    steps = batches(retain, settings.batch_size, generator_of(seed), settings.epochs)
    descend(steps, lambda batch: cross_entropy(model, batch), settings.of(model.parameters()))
    return model


@on_a_copy
def neggrad(model: nn.Module, data: Data, classes: Classes, settings: Descent, seed: int) -> nn.Module:
    """Climb the loss of the forgotten images; the retained ones are not looked at."""
    _, forget = data.sides(classes)
    steps = batches(forget, settings.batch_size, generator_of(seed), settings.epochs)
    descend(steps, lambda batch: -cross_entropy(model, batch), settings.of(model.parameters()))
    return model


@on_a_copy
def neggrad_plus(model: nn.Module, data: Data, classes: Classes, settings: NegGradPlus, seed: int) -> nn.Module:
    """Descend on the retained and climb on the forgotten images in the same step."""
    retain, forget = data.sides(classes)
    descent, beta = settings.descent, settings.beta
    kept = batches(retain, descent.batch_size, generator_of(seed), descent.epochs)
    gone = endless(forget, descent.batch_size, generator_of(seed, 1))

    def loss(pair: tuple[Data, Data]) -> Tensor:
        return beta * cross_entropy(model, pair[0]) - (1 - beta) * cross_entropy(model, pair[1])

    descend(zip(kept, gone, strict=False), loss, descent.of(model.parameters()))
    return model
