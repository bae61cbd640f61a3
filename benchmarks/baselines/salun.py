"""Saliency unlearning: random labels for the forgotten images, learned by the weights that matter to them.

    mask   = the share of weights with the largest |d L_f / d theta|,   L_f = cross-entropy of the forgotten images
    min over theta[mask]   mean_f cross_entropy(x, y')  +  alpha mean_r cross_entropy(x, y),      y' random, y' != y

y' is drawn anew whenever an image is seen, from the classes that are not forgotten. Weights outside the mask stay
bit by bit what they were: masking their gradients alone would leave them to weight decay.

References: Fan, Liu, Zhang, Wong, Wei, Liu, "SalUn: empowering machine unlearning via gradient-based weight saliency in
both image classification and generation", ICLR 2024.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.baselines.descent import Descent, batches, cross_entropy, descend, endless, generator_of
from benchmarks.baselines.method import Classes, Data, on_a_copy


@dataclass(frozen=True)
class Saliency:
    """What SalUn is told.

    Attributes:
        descent: Its epochs are those of the retained images.
        share: Of all weights, how many may change.
        alpha: Weight of the retained images.
    """

    descent: Descent
    share: float = 0.5
    alpha: float = 1.0


@on_a_copy
def salun(model: nn.Module, data: Data, classes: Classes, settings: Saliency, seed: int) -> nn.Module:
    """Relabel and train what the mask lets change."""
    retain, forget = data.sides(classes)
    descent = settings.descent
    masks = saliency_masks(model, forget, settings.share, descent.batch_size)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    labels, allowed = generator_of(seed, 2), retain.labels.unique()

    def loss(pair: tuple[Data, Data]) -> Tensor:
        relabelled = Data(pair[1].inputs, other_labels(pair[1].labels, allowed, labels))
        return cross_entropy(model, relabelled) + settings.alpha * cross_entropy(model, pair[0])

    def keep() -> None:
        with torch.no_grad():
            for parameter, mask, old in zip(model.parameters(), masks, before, strict=True):
                parameter.copy_(torch.where(mask, parameter, old))

    kept = batches(retain, descent.batch_size, generator_of(seed), descent.epochs)
    gone = endless(forget, descent.batch_size, generator_of(seed, 1))
    descend(zip(kept, gone, strict=False), loss, descent.of(model.parameters()), keep)
    return model


def saliency_masks(model: nn.Module, forget: Data, share: float, batch_size: int) -> list[Tensor]:
    """Return for each parameter which of its entries may change: `share` of all entries, the most salient."""
    mode = model.training
    model.eval().zero_grad()
    for index in torch.arange(len(forget)).split(batch_size):
        (cross_entropy(model, forget.at(index)) * len(index)).backward()
    model.train(mode)
    sizes = [parameter.numel() for parameter in model.parameters()]
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    flat = torch.cat([gradient.abs().flatten() for gradient in gradients])
    model.zero_grad(set_to_none=True)
    mask = torch.zeros_like(flat, dtype=torch.bool)
    mask[flat.topk(round(share * len(flat)), sorted=False).indices] = True
    return [part.view_as(p) for part, p in zip(mask.split(sizes), model.parameters(), strict=True)]


def other_labels(labels: Tensor, allowed: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random label out of `allowed` for each of `labels`, never its own.

    Raises:
        ValueError: a label has no other to take.
    """
    weights = (allowed[None, :] != labels[:, None]).double()
    if not bool((weights.sum(dim=1) > 0).all()):
        raise ValueError(f"Expected labels beside the own one, got only {allowed.tolist()}.")
    return allowed[torch.multinomial(weights, 1, generator=generator).squeeze(1)]
