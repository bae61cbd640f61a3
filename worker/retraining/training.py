"""Training a classifier from scratch by a recipe: the same recipe, images and seed give the same network.

For models retrained without some classes, and for any other model that is trained here with or without them: which
images it sees is the caller's choice.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from core.errors import Invalid
from models_store.architectures import build, initialise
from models_store.catalogue import BUILT_IN
from models_store.recipes import Recipe, Sgd
from unlearning.modes import device_of
from worker.pipeline.data import Images
from worker.pipeline.materials import Blueprint
from worker.retraining.chance import LAYERS, WEIGHTS, seeded_layers
from worker.retraining.checkpoints import Checkpoint
from worker.retraining.epochs import batches_of, num_batches
from worker.retraining.schedules import rate_at

Watch = Callable[[int, float], None]
"""Told after every batch the number of the epoch, from 1, and the share of the whole training that is done."""
Keep = Callable[[int, Callable[[], Checkpoint]], None]
"""Told after every epoch its number, and how to take a checkpoint if it wants one."""


class TrainingDiverged(Invalid):
    """The loss became NaN or infinite; the same recipe would end the same."""

    slug = "training-diverged"
    title = "The training diverged"


def fresh_network(blueprint: Blueprint, seed: int, device: torch.device) -> nn.Module:
    """An untrained network whose weights follow from the seed.

    Architectures of torchvision and of the operator bring their own first weights; ours have none of their own, and
    get He's.
    """
    with seeded_layers(torch.device("cpu"), seed, WEIGHTS):
        network = build(blueprint.architecture, blueprint.options, blueprint.num_classes, blueprint.input_spec.channels)
        if blueprint.architecture in BUILT_IN:
            initialise(network, torch.default_generator)
    return network.to(device)


def train(
    network: nn.Module,
    images: Images,
    recipe: Recipe,
    seed: int,
    watch: Watch | None = None,
    *,
    resume: Checkpoint | None = None,
    keep: Keep | None = None,
) -> list[float]:
    """Train a network in place by the recipe and leave it in evaluation mode.

    The network keeps an output for every class of its model, also for those that `images` hold none of: training
    pushes these outputs down, as it does for whoever trains the same network on fewer classes.

    Args:
        network: as `fresh_network` makes it; its device is where the work is done.
        images: the training images, at least two.
        recipe: how.
        seed: of order, variation and whatever the layers draw; the first weights are the caller's.
        watch: may raise to stop between two batches.
        resume: goes on after this checkpoint; the result is the same as without the interruption.
        keep: sees to checkpoints.

    Returns:
        The mean loss of every epoch, those before `resume` included.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    optimiser = _optimiser(network, recipe)
    losses = resume.restore(network, optimiser) if resume else []
    network.train()
    for epoch in range(len(losses) + 1, recipe.epochs + 1):
        with seeded_layers(device_of(network), seed, LAYERS, epoch):
            losses.append(_epoch(network, optimiser, images, recipe, seed, epoch, watch))
        if keep is not None:
            keep(epoch, lambda: Checkpoint.take(network, optimiser, losses))
    network.eval()
    return losses


def _epoch(
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    images: Images,
    recipe: Recipe,
    seed: int,
    epoch: int,
    watch: Watch | None,
) -> float:
    device, steps = device_of(network), num_batches(len(images), recipe)
    total = torch.zeros((), dtype=torch.float64, device=device)
    batches = batches_of(images, recipe, seed, epoch, device)
    for step, (inputs, labels) in enumerate(batches, start=(epoch - 1) * steps):
        for group in optimiser.param_groups:
            group["lr"] = rate_at(recipe, step, steps)
        loss = functional.cross_entropy(network(inputs), labels, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += loss.detach() * len(labels)
        if watch is not None:
            watch(epoch, (step + 1) / (recipe.epochs * steps))
    # Looked at once per epoch: on a GPU every look waits for the device, and NaN stays NaN until then.
    return _finite(total.item() / len(images), epoch, recipe)


def _finite(mean: float, epoch: int, recipe: Recipe) -> float:
    if not math.isfinite(mean):
        msg = (
            f"Expected a finite loss, got {mean} in epoch {epoch} of {recipe.epochs}; "
            "a lower learning rate or a warm-up may help."
        )
        raise TrainingDiverged(msg, epoch=epoch)
    return mean


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    how = recipe.optimiser
    if isinstance(how, Sgd):
        return torch.optim.SGD(
            network.parameters(),
            lr=recipe.learning_rate,
            momentum=how.momentum,
            nesterov=how.nesterov,
            weight_decay=recipe.weight_decay,
        )
    betas = (how.beta1, how.beta2)
    return torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, betas=betas, weight_decay=recipe.weight_decay
    )
