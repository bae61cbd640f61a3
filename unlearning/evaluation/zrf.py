"""Zero-retrain forgetting: are the outputs on forgotten samples like those of a network that knows nothing?"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unlearning.evaluation.divergences import jensen_shannon, paired_probabilities
from unlearning.evaluation.intervals import mean_measure
from unlearning.evaluation.measure import Measure
from unlearning.modes import device_of


@dataclass(frozen=True)
class RandomCopy:
    """A network of the same architecture that knows nothing.

    Attributes:
        model: In evaluation mode, on the original's device.
        shuffled: Names of the parameters whose modules have no `reset_parameters` (class tokens, position embeddings,
            parametrised weights): their trained entries stand in random order.
    """

    model: nn.Module
    shuffled: tuple[str, ...]


def random_copy(model: nn.Module, *, seed: int) -> RandomCopy:
    """Return a copy in which every module with `reset_parameters` is as if new, and nothing trained is left.

    Args:
        model: Any network; not changed.
        seed: Of the new weights.

    Note:
        `reset_parameters` draws from PyTorch's global generator, for want of an argument; its state is put back.
    """
    copied = copy.deepcopy(model).cpu().eval()
    generator = torch.Generator().manual_seed(seed)
    shuffled = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        for name, module in copied.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for own, parameter in module.named_parameters(recurse=False):
                order = torch.randperm(parameter.numel(), generator=generator)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
                shuffled.append(f"{name}.{own}" if name else own)
    return RandomCopy(copied.to(device_of(model)), tuple(shuffled))


def zrf(logits: Tensor, random_logits: Tensor, *, seed: int | None = None, name: str = "zrf") -> Measure:
    """Return ZRF = 1 - mean JS(p_u, p_rand) over the forgotten samples, JS in bits per sample, over all K classes.

    Not simply "the higher, the better": a retrained network sends these samples where they resemble something, so the
    target is the retrained model's value.

    Args:
        logits: Outputs (n, K) of the model that is judged.
        random_logits: Outputs of a `random_copy` on the same samples.
        seed: Seed of that copy, for the record.
        name: Name of the measure.

    Returns:
        In [0, 1] with the normal interval of a mean over samples; the choice of the random network is not in it.

    References:
        Chundawat et al., "Can bad teaching induce forgetting?", AAAI 2023.
    """
    p, q = paired_probabilities(logits, random_logits)
    found = mean_measure(name, 1 - jensen_shannon(p, q), direction="two-sided")
    return Measure(name, found.value, found.low, found.high, found.n, seed, "two-sided")
