"""A refit that deviates from the product's where its variation says so, and nowhere else."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.refits.variations import Variation
from unlearning import Erasure, Refit
from unlearning.inventory import Layer, assemble, read_rows
from unlearning.leastsquares import refitted
from unlearning.passes import at_least_single
from unlearning.targets import spreads_of


class VariedRefit(Refit):
    """`Refit` with a variation; the output layer's targets are always the product's.

    Args:
        model: See `Refit`, as for the rest.
        variation: What is different.
        given: The other arguments of `Refit`.
    """

    def __init__(self, model: nn.Module, variation: Variation, **given: Any) -> None:
        super().__init__(
            model,
            max_rows=variation.max_rows,
            ridge=variation.ridge,
            forget_weight=variation.forget_weight,
            **given,
        )
        self._variation = variation
        self._spreads = spreads_of(self.layers[:-1], self._classifier, variation.spread)
        varied = replace(self._samples, shares=variation.shares(self._samples.shares))
        for layer in self.layers[:-1]:
            self._targets[layer.weight] = self._varied(layer, varied)

    def of(self, layers: Iterable[str]) -> Erasure:
        """Return the refit of these layers; see `Refit.of`."""
        if not self._variation.is_parallel:
            return super().of(layers)
        single = [super(VariedRefit, self).of([key]) for key in layers]
        weights = {name: value for erasure in single for name, value in erasure.weights.items()}
        reports = tuple(report for erasure in single for report in erasure.layers)
        return replace(single[0], weights=MappingProxyType(weights), layers=reports, untouched=())

    def _varied(self, layer: Layer, samples: Any) -> Tensor:
        """Return targets (n, groups, m / groups) of a hidden layer; the retained rows are those of the product."""
        goals = self._targets[layer.weight].clone()
        num_retain = len(samples) - samples.num_forget
        given = goals.view(len(samples), -1, layer.m)
        activation = Activation.after(self._work, layer) if self._variation.after_activation else Activation()
        seen = activation(given)
        if seen.shape[1] >= self._passes.each:  # drawn positions stand for no place in particular
            seen = seen.mean(dim=1, keepdim=True)
        spread = self._spreads.get(layer.weight, self._variation.feature_spread)
        gone = activation.inverse(samples.mixtures(seen, spread)[num_retain:])
        if self._variation.is_zero:
            gone = torch.zeros_like(gone)
        if self._variation.keeps_residual:
            own = self._outputs(layer, self._variation.explained).view_as(given)[num_retain:]
            gone = gone + own - own.mean(dim=(0, 1) if gone.shape[1] == 1 else 0, keepdim=True)
        given[num_retain:] = gone
        return goals

    def _outputs(self, layer: Layer, explained: float | None) -> Tensor:
        """Return what the layer gives now, (n, m); of its inputs only what the retained ones explain, if asked for."""
        bias, weight = self._passes.bias_of(layer), at_least_single(read_rows(self._work, layer))
        rows = self._passes.rows(layer)
        if explained is not None:
            # Inputs that map to themselves as far as retained rows ask for it, and to 0 otherwise.
            kept = rows[: len(rows) * (len(self._samples) - self._samples.num_forget) // len(self._samples)]
            even = torch.full((len(kept),), 1.0 / len(kept))
            goals = (kept.transpose(0, 1) @ weight.mT).transpose(0, 1)
            weight = refitted(torch.zeros_like(weight), kept, goals, even.to(kept), explained)
        products = rows.transpose(0, 1) @ weight.mT
        return products.transpose(0, 1).flatten(1) + (0 if bias is None else bias[1])

    def _fit(self, layer: Layer) -> dict[str, Tensor]:
        bias = self._passes.bias_of(layer)
        if self._variation.has_bias or bias is None:
            return super()._fit(layer)
        rows, targets = self._passes.rows(layer), self._targets[layer.weight] - bias[1].view(layer.shape[:2])
        importance = self._samples.importance(len(rows), self._forget_weight)
        new = refitted(at_least_single(read_rows(self._work, layer)), rows, targets, importance.to(rows), self._ridge)
        values = assemble(self._work, {layer.weight: new}, [layer])
        with torch.no_grad():
            for name, value in values.items():
                self._work.get_parameter(name).copy_(value)
        return values


def renormalised(model: nn.Module, edited: Iterable[str], batches: Iterable[Tensor]) -> nn.Module:
    """Take the running statistics of the batch norms behind the first edited layer again, on retained samples.

    Args:
        model: After the edit, in evaluation mode; changed in place and given back.
        edited: Keys of the edited layers.
        batches: Retained samples.
    """
    order = [name for name, _ in model.named_modules()]
    first = min(order.index(key.rpartition(".")[0]) for key in edited)
    norms = [model.get_submodule(name) for name in order[first:]]
    chosen = [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in chosen]
    for norm in chosen:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
        norm.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for norm, momentum in zip(chosen, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    return model


@dataclass(frozen=True)
class Activation:
    """max(0, scale z + shift), as a batch norm and a ReLU make of what a layer gives; or nothing.

    Attributes:
        scale: (m,); None where nothing that is known follows the layer.
        shift: (m,).
    """

    scale: Tensor | None = None
    shift: Tensor | None = None

    @classmethod
    def after(cls, model: nn.Module, layer: Layer) -> "Activation":
        """Return what follows a layer in its `nn.Sequential`."""
        parent, _, _ = layer.modules[0].rpartition(".")
        siblings, module = list(model.get_submodule(parent).children()), model.get_submodule(layer.modules[0])
        followers = siblings[siblings.index(module) + 1 :]
        scale, shift = torch.ones(layer.m), torch.zeros(layer.m)
        if followers and isinstance(norm := followers[0], nn.BatchNorm2d):
            mean, variance = norm.running_mean, norm.running_var
            if mean is None or variance is None:
                return cls()
            scale = norm.weight.detach() / (variance + norm.eps).sqrt()
            shift = norm.bias.detach() - mean * scale
            followers = followers[1:]
        return cls(scale, shift) if followers and isinstance(followers[0], nn.ReLU) else cls()

    def __call__(self, z: Tensor) -> Tensor:
        """Return what leaves it, (..., m)."""
        return z if self.scale is None or self.shift is None else (z * self.scale + self.shift).relu()

    def inverse(self, a: Tensor) -> Tensor:
        """Return some z that gives a: the one at the ReLU's edge where a is 0."""
        return a if self.scale is None or self.shift is None else (a - self.shift) / self.scale
