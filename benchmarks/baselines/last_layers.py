"""EU-k and CF-k: only the last k layers are trained on the retained images, from fresh weights or from their own.

Everything before them is frozen, the running statistics of its batch norms included.

References: Goel, Prabhu, Sanyal, Lim, Torr, Kumaraguru, "Towards adversarial evaluations for inexact machine
unlearning", arXiv 2201.06640, 2022 ("exact-unlearning" and "catastrophically forgetting" the last k layers).
"""

from dataclasses import dataclass
from itertools import chain

from torch import nn

from benchmarks.baselines.descent import Descent, batches, cross_entropy, descend, generator_of
from benchmarks.baselines.layers import layers_in_order, reinitialise
from benchmarks.baselines.method import Classes, Data, on_a_copy


@dataclass(frozen=True)
class LastLayers:
    """Attributes: the descent, and how many layers from the end it may change (see `layers_in_order`)."""

    descent: Descent
    k: int


@on_a_copy
def eu_k(model: nn.Module, data: Data, classes: Classes, settings: LastLayers, seed: int) -> nn.Module:
    """Train the last k layers from fresh weights."""
    reinitialise(model, last_layers(model, data, settings.k), generator_of(seed, 1))
    return _train_last(model, data, classes, settings, seed)


@on_a_copy
def cf_k(model: nn.Module, data: Data, classes: Classes, settings: LastLayers, seed: int) -> nn.Module:
    """Go on training the last k layers."""
    return _train_last(model, data, classes, settings, seed)


def last_layers(model: nn.Module, data: Data, k: int) -> list[str]:
    """Names of the modules of the last k layers.

    Raises:
        ValueError: the model has fewer layers.
    """
    layers = layers_in_order(model, data.inputs)
    if not 1 <= k <= len(layers):
        raise ValueError(f"Expected k between 1 and {len(layers)}, got {k}.")
    return [name for layer in layers[-k:] for name in layer]


def _train_last(model: nn.Module, data: Data, classes: Classes, settings: LastLayers, seed: int) -> nn.Module:
    retain, _ = data.sides(classes)
    trained = set(last_layers(model, data, settings.k))
    for name, module in model.named_modules():
        # Dropout has nothing to freeze and works as in training.
        has_weights = any(True for _ in chain(module.parameters(recurse=False), module.buffers(recurse=False)))
        module.training = name in trained or not has_weights
    parameters = [p for name in sorted(trained) for p in model.get_submodule(name).parameters()]
    descent = settings.descent
    steps = batches(retain, descent.batch_size, generator_of(seed), descent.epochs)
    descend(steps, lambda batch: cross_entropy(model, batch), descent.of(parameters))
    return model
