"""The batches of one epoch: every image once, in a random order, varied as the recipe says."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models_store.normalise import normalise
from models_store.recipes import Augmentation, Recipe
from worker.pipeline.data import Images
from worker.retraining.chance import ORDER, generator

Pixels = NDArray[np.uint8]


def num_batches(num_images: int, recipe: Recipe) -> int:
    """Batches in an epoch."""
    return -(-num_images // recipe.batch_size)


def batches_of(
    images: Images, recipe: Recipe, seed: int, epoch: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through the images once.

    The epoch is cut into nearly equal parts, rather than full batches and a rest: a rest of one image would be a step
    as long as the others, in a direction that a single image chose.

    Yields:
        Inputs (B, C, H, W) float32 and labels (B,) int64, both on the device.
    """
    random = generator(seed, ORDER, epoch)
    order = random.permutation(len(images))
    labels = images.labels
    for chosen in np.array_split(order, num_batches(len(images), recipe)):
        pixels = varied(images.pixels.x[images.index[chosen]], recipe.augmentation, random)
        yield normalise(pixels, images.spec, device), torch.from_numpy(labels[chosen]).to(device)


def varied(pixels: Pixels, how: Augmentation, random: np.random.Generator) -> Pixels:
    """Images (B, H, W, C) moved and mirrored at random; the frame around them is black, as outside of the image."""
    num, height, width = pixels.shape[:3]
    if how.crop_padding:
        margin = (how.crop_padding, how.crop_padding)
        framed = np.pad(pixels, ((0, 0), margin, margin, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(framed, (height, width), axis=(1, 2))
        top, left = random.integers(0, 2 * how.crop_padding + 1, (2, num))
        pixels = windows[np.arange(num), top, left].transpose(0, 2, 3, 1)
    if how.flip:
        mirrored = np.asarray(random.random(num) < 0.5)
        pixels = np.where(mirrored[:, None, None, None], pixels[:, :, ::-1], pixels)
    return np.ascontiguousarray(pixels)
