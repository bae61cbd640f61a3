"""What every table needs beside the methods: nothing done, one number changed, and noise.

References: Golatkar, Achille, Soatto, "Eternal sunshine of the spotless net", CVPR 2020: forgetting as noise on the
weights. Theirs is shaped by the Fisher information; this is its plainest case, as strong everywhere.
"""

from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.baselines.descent import generator_of
from benchmarks.baselines.method import Classes, Data, on_a_copy
from unlearning.evaluation import mask_bias


@dataclass(frozen=True)
class Nothing:
    """No settings."""


@dataclass(frozen=True)
class Mask:
    """Attributes: what is subtracted from the forgotten classes' biases in the last layer."""

    constant: float = 100.0


@dataclass(frozen=True)
class Noise:
    """Attributes: the noise's standard deviation, as a share of each tensor's root mean square."""

    scale: float


@on_a_copy
def original(model: nn.Module, _data: Data, _classes: Classes, _settings: Nothing, _seed: int) -> nn.Module:
    """Do nothing."""
    return model


@on_a_copy
def bias_mask(model: nn.Module, data: Data, classes: Classes, settings: Mask, _seed: int) -> nn.Module:
    """Lower one bias per class: the null method, which forgets nothing and scores well on accuracies."""
    return mask_bias(model, classes, data.inputs[:1], constant=settings.constant)


@on_a_copy
def gaussian_noise(model: nn.Module, _data: Data, _classes: Classes, settings: Noise, seed: int) -> nn.Module:
    """Add scale rms(theta) n to each tensor theta,  n ~ N(0, 1)."""
    generator = generator_of(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.add_(settings.scale * parameter.square().mean().sqrt() * noise)
    return model
