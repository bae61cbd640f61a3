"""Train the demonstration's classifier from scratch, in seconds, on the CPU."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cli.demo.digits import LABELS, MEAN, STD, Digits, Split
from cli.failures import Failure
from models_store.architectures import build, initialise
from models_store.weights import save_state

ARCHITECTURE = "expunge/small_convnet"
EPOCHS = 30
BATCH = 64
LABEL_SMOOTHING = 0.1
"""Keeps the features of a class close together, which helps accuracy, and a deletion too."""
NEEDED_ACCURACY = 0.96
"""On the held-out half. Deleting a class from a classifier that never knew it would show nothing."""


@dataclass(frozen=True)
class Trained:
    """The classifier as a weights file, and how well it does on images it never saw."""

    weights: bytes
    test_accuracy: float


def train(digits: Digits, seed: int, after_epoch: Callable[[int, float], None]) -> Trained:
    """Train for a fixed number of epochs; the same seed gives the same weights on the same machine.

    Args:
        digits: what to learn and what to check against.
        seed: decides first weights, order and variation of the images.
        after_epoch: is told the number of the epoch, from 1, and its mean loss.

    Raises:
        Failure: the accuracy on the held-out half stays below what the demonstration needs.
    """
    return _checked(fitted(digits.train, seed, after_epoch), digits.test)


def fitted(split: Split, seed: int, after_epoch: Callable[[int, float], None]) -> nn.Module:
    """The network that `train` makes of these images, whichever digits are among them; nothing is expected of it.

    Args:
        split: what to learn.
        seed: see `train`.
        after_epoch: see `train`.
    """
    # On a network this small, threads wait for each other longer than they work.
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    network = build(ARCHITECTURE, {}, num_classes=len(LABELS), channels=1)
    initialise(network, generator)
    network.train()
    images, labels = as_input(split.x), torch.from_numpy(split.y)
    steps_per_epoch = -(-len(labels) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=EPOCHS * steps_per_epoch)
    for epoch in range(1, EPOCHS + 1):
        losses = []
        for chosen in torch.randperm(len(labels), generator=generator).split(BATCH):
            logits = network(_varied(images[chosen], generator))
            loss = nn.functional.cross_entropy(logits, labels[chosen], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        after_epoch(epoch, sum(losses) / len(losses))
    return network.eval()


def as_input(pixels: NDArray[np.uint8]) -> Tensor:
    """Images as the classifier takes them: (n, 1, 8, 8) float32, normalised."""
    scaled: Tensor = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - MEAN) / STD
    return scaled


def accuracy(network: nn.Module, split: Split) -> float:
    """Share of the split's images that are classified as labelled."""
    with torch.inference_mode():
        predicted = network(as_input(split.x)).argmax(dim=1).numpy()
    return float((predicted == split.y).mean())


def _varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image turned, scaled, slanted and moved a little, as another hand would have written the same digit.

    The network then has little to learn about a single image that tells it from its like: it gets better on those it
    never saw, and its answers tell less about which ones it was trained on.
    """

    def between(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(len(images), generator=generator)

    angle, scale, slant = between(-0.2, 0.2), between(0.9, 1.1), between(-0.2, 0.2)
    right, down = between(-0.25, 0.25), between(-0.25, 0.25)  # in half widths: one pixel
    first = torch.stack([angle.cos() * scale, slant - angle.sin() * scale, right], dim=1)
    second = torch.stack([angle.sin() * scale, angle.cos() * scale, down], dim=1)
    grid = nn.functional.affine_grid(torch.stack([first, second], dim=1), list(images.shape), align_corners=False)
    empty = -MEAN / STD  # outside the image there is no ink
    return nn.functional.grid_sample(images - empty, grid, align_corners=False) + empty


def _checked(network: nn.Module, held_out: Split) -> Trained:
    reached = accuracy(network, held_out)
    if reached < NEEDED_ACCURACY:
        msg = (
            f"Expected the trained classifier to reach {NEEDED_ACCURACY:.0%} on the held-out half, got {reached:.2%}; "
            "try another --seed."
        )
        raise Failure(msg)
    return Trained(save_state(network), reached)
