"""Training from scratch: the originals of the digits, and the models that never saw the class."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baselines.descent import batches, descend, generator_of
from benchmarks.baselines.layers import layers_in_order, reinitialise
from benchmarks.baselines.method import Classes, Data, on_a_copy
from unlearning.modes import device_of


@dataclass(frozen=True)
class Recipe:
    """How a model is trained from fresh weights: SGD with Nesterov momentum, the rate one cycle up and down.

    Attributes:
        epochs: Passes over the images.
        batch_size: Images per step, at most.
        peak_rate: Largest learning rate of the cycle.
        weight_decay: Of SGD.
        momentum: Of SGD.
        augmentation: "none", or "crop_and_flip": moved by up to 4 pixels, mirrored half of the time.
    """

    epochs: int
    batch_size: int
    peak_rate: float
    weight_decay: float = 5e-4
    momentum: float = 0.9
    augmentation: Literal["none", "crop_and_flip"] = "none"


@on_a_copy
def retrain(model: nn.Module, data: Data, classes: Classes, settings: Recipe, seed: int) -> nn.Module:
    """Train from fresh weights on the retained images alone: the target of all others.

    Nothing of `model` but its architecture, and nothing of the forgotten images, enters.
    """
    retain, _ = data.sides(classes)
    return _train(model, retain, settings, seed)


@on_a_copy
def train(model: nn.Module, data: Data, classes: Classes, settings: Recipe, seed: int) -> nn.Module:
    """Train from fresh weights on all images: an original. `classes` must be empty.

    Raises:
        ValueError: a class is named.
    """
    if classes:
        raise ValueError(f"Expected no class to leave out of an original, got {classes}.")
    return _train(model, data, settings, seed)


def _train(model: nn.Module, data: Data, recipe: Recipe, seed: int) -> nn.Module:
    names = [name for layer in layers_in_order(model, data.inputs) for name in layer]
    reinitialise(model, names, generator_of(seed))
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=recipe.peak_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        nesterov=True,
    )
    steps = recipe.epochs * -(-len(data) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=recipe.peak_rate, total_steps=steps)
    orders, changes = generator_of(seed, 1), generator_of(seed, 2)

    def loss(batch: Data) -> Tensor:
        here = batch.to(device_of(model))
        seen = here.inputs if recipe.augmentation == "none" else crop_and_flip(here.inputs, changes)
        return functional.cross_entropy(model(seen), here.labels)

    descend(batches(data, recipe.batch_size, orders, recipe.epochs), loss, optimiser, schedule.step)
    return model


def crop_and_flip(images: Tensor, generator: torch.Generator, reach: int = 4) -> Tensor:
    """Each image (B, C, H, W) moved by up to `reach` pixels either way and mirrored half of the time; zeros come in."""
    count, _, height, width = images.shape
    rows = torch.arange(height) + torch.randint(0, 2 * reach + 1, (count, 1), generator=generator)
    columns = torch.arange(width) + torch.randint(0, 2 * reach + 1, (count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    columns = torch.where(mirrored, columns.flip(1), columns)
    padded = functional.pad(images, (reach, reach, reach, reach)).permute(0, 2, 3, 1)
    each = torch.arange(count)[:, None, None]
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
