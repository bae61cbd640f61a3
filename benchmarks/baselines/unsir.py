"""UNSIR: noise that the model is most wrong about, learned as the class; then a repair.

    noise    N = argmin_N  -cross_entropy(N, c) + lambda mean ||N||^2       from N(0, 1), the model fixed
    impair   train on N, labelled c, and on some retained images
    repair   train on those retained images alone

The forgotten images themselves are never looked at.

References: Tarun, Chundawat, Mandal, Kankanhalli, "Fast yet effective machine unlearning", IEEE Transactions on Neural
Networks and Learning Systems, 2023.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baselines.descent import Descent, batches, cross_entropy, descend, generator_of
from benchmarks.baselines.method import Classes, Data, on_a_copy
from unlearning.modes import device_of


@dataclass(frozen=True)
class Unsir:
    """What UNSIR is told.

    Attributes:
        impair: Descent on noise and retained images.
        repair: Descent on the retained images.
        retain_per_class: Retained images of each class, at most.
        noise_samples: Images of noise for each class to forget.
        noise_copies: How often each of them is seen in an epoch of the impairment.
        noise_steps: Steps of Adam that make them.
        noise_rate: Its learning rate.
        noise_penalty: Lambda.
    """

    impair: Descent
    repair: Descent
    retain_per_class: int = 1000
    noise_samples: int = 256
    noise_copies: int = 20
    noise_steps: int = 40
    noise_rate: float = 0.1
    noise_penalty: float = 0.1


@on_a_copy
def unsir(model: nn.Module, data: Data, classes: Classes, settings: Unsir, seed: int) -> nn.Module:
    """Impair and repair."""
    retain, _ = data.sides(classes)
    pools = [torch.nonzero(retain.labels == index).flatten() for index in retain.labels.unique()]
    some = retain.at(torch.cat([_some(pool, settings.retain_per_class, seed) for pool in pools]))
    noises = [error_maximising_noise(model, data.inputs[0].shape, index, settings, seed) for index in classes]
    inputs = [noise.repeat(settings.noise_copies, *[1] * (noise.ndim - 1)) for noise in noises]
    labels = [torch.full((len(part),), index) for part, index in zip(inputs, classes, strict=True)]
    impairing = Data(torch.cat([*inputs, some.inputs]), torch.cat([*labels, some.labels]))
    model.train()
    for stream, (images, descent) in enumerate([(impairing, settings.impair), (some, settings.repair)], start=1):
        steps = batches(images, descent.batch_size, generator_of(seed, stream), descent.epochs)
        descend(steps, lambda batch: cross_entropy(model, batch), descent.of(model.parameters()))
    return model


def error_maximising_noise(model: nn.Module, shape: torch.Size, index: int, settings: Unsir, seed: int) -> Tensor:
    """Return noise (noise_samples, *shape) on the CPU that `model`, left as it is, least takes for class `index`."""
    model.eval()
    device = device_of(model)
    start = torch.randn(settings.noise_samples, *shape, generator=generator_of(seed, 100 + index))
    noise = start.to(device).requires_grad_(True)
    labels = torch.full((len(noise),), index, device=device)
    optimiser = torch.optim.Adam([noise], lr=settings.noise_rate)

    def loss(_step: int) -> Tensor:
        size = noise.square().flatten(1).sum(dim=1).mean()
        return settings.noise_penalty * size - functional.cross_entropy(model(noise), labels)

    descend(range(settings.noise_steps), loss, optimiser)
    model.zero_grad(set_to_none=True)
    return noise.detach().cpu()


def _some(pool: Tensor, count: int, seed: int) -> Tensor:
    return pool[torch.randperm(len(pool), generator=generator_of(seed, 3))[:count]]
