"""Pixels to the floating-point input of a network. Torch; workers only."""

import numpy as np
import torch
from numpy.typing import NDArray

from models_store.input_spec import InputSpec


def normalise(x: NDArray[np.uint8], spec: InputSpec, device: torch.device | str = "cpu") -> torch.Tensor:
    """Scale to [0, 1], then `(value - mean) / std` per channel.

    Args:
        x: uint8 images of shape (N, H, W, C) with the spec's channels.
        spec: the input spec of the model.
        device: where the result is wanted; the uint8 pixels travel, which is a quarter of the bytes.

    Returns:
        float32 of shape (N, C, H, W), contiguous.

    Raises:
        ValueError: the shape or the type is another.
    """
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != spec.channels:
        raise ValueError(f"Expected uint8 images (N, H, W, {spec.channels}), got {x.dtype} {x.shape}.")
    pixels = torch.tensor(x, device=device).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    mean = torch.tensor(spec.mean, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    std = torch.tensor(spec.std, dtype=torch.float32, device=device).view(1, -1, 1, 1)
    return pixels.div_(255).sub_(mean).div_(std)
