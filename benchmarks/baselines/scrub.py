"""SCRUB: a student that obeys its teacher, the original, on retained images only.

    max-step    max  mean_f d(x)
    min-step    min  alpha mean_r d(x) + gamma mean_r cross_entropy(x)
    d(x) = T^2 KL(softmax(z_teacher / T) || softmax(z_student / T))

Epochs of max-steps and of min-steps take turns; after `max_epochs` only min-steps follow, to mend what was damaged.
The paper's d has T = 1; its experiments use a temperature. Rewinding (SCRUB+R), which serves privacy rather than the
removal of a class, is not part of this.

References: Kurmanji, Triantafillou, Hayes, Triantafillou, "Towards unbounded machine unlearning", NeurIPS 2023.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baselines.descent import Descent, batches, cross_entropy, descend, generator_of
from benchmarks.baselines.method import Classes, Data, on_a_copy
from unlearning.modes import device_of


@dataclass(frozen=True)
class Scrub:
    """What SCRUB is told.

    Attributes:
        descent: Of both kinds of steps; its epochs are those of the min-steps.
        max_epochs: How many of them a max epoch goes before.
        forget_batch_size: Of the max-steps.
        alpha: Weight of the distance on retained images.
        gamma: Weight of the cross-entropy on retained images.
        temperature: T.
    """

    descent: Descent
    max_epochs: int
    forget_batch_size: int
    alpha: float = 0.5
    gamma: float = 1.0
    temperature: float = 2.0


@on_a_copy
def scrub(model: nn.Module, data: Data, classes: Classes, settings: Scrub, seed: int) -> nn.Module:
    """Return the student."""
    retain, forget = data.sides(classes)
    student, teacher = model, copy.deepcopy(model).eval().requires_grad_(False)
    optimiser = settings.descent.of(student.parameters())
    orders = generator_of(seed)
    for epoch in range(settings.descent.epochs):
        if epoch < settings.max_epochs:
            max_epoch(student, teacher, forget, settings, optimiser, orders)
        min_epoch(student, teacher, retain, settings, optimiser, orders)
    return student


def max_epoch(
    student: nn.Module,
    teacher: nn.Module,
    forget: Data,
    settings: Scrub,
    optimiser: torch.optim.Optimizer,
    orders: torch.Generator,
) -> None:
    """Push the student away from the teacher on the forgotten images."""
    steps = batches(forget, settings.forget_batch_size, orders)
    descend(steps, lambda batch: -distance(student, teacher, batch, settings.temperature), optimiser)


def min_epoch(
    student: nn.Module,
    teacher: nn.Module,
    retain: Data,
    settings: Scrub,
    optimiser: torch.optim.Optimizer,
    orders: torch.Generator,
) -> None:
    """Pull it back, and towards the labels, on the retained ones."""

    def loss(batch: Data) -> Tensor:
        apart = distance(student, teacher, batch, settings.temperature)
        return settings.alpha * apart + settings.gamma * cross_entropy(student, batch)

    descend(batches(retain, settings.descent.batch_size, orders), loss, optimiser)


def distance(student: nn.Module, teacher: nn.Module, batch: Data, temperature: float) -> Tensor:
    """Mean over samples of d(x)."""
    x = batch.inputs.to(device_of(student))
    with torch.no_grad():
        target = functional.log_softmax(teacher(x) / temperature, dim=1)
    answer = functional.log_softmax(student(x) / temperature, dim=1)
    return temperature**2 * functional.kl_div(answer, target, reduction="batchmean", log_target=True)
