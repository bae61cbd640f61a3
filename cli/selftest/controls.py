"""Models whose right verdict is known in advance. Whoever trusts the gate may ask what it says of them.

Each is made from the original and the training images, for whatever architecture; none is made to suit a test. A
constant subtracted from a bias and untouched features behind a new last layer are the two best known ways to pass tests
of outputs alone; random labels, here for one epoch, are those of Golatkar, Achille, Soatto, "Eternal sunshine of the
spotless net", CVPR 2020.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from cli.selftest.ground import Ground
from core.policy.policies import SHIPPED
from unlearning.evaluation import (
    classifier_layers,
    fit_probe,
    last_layer,
    mask_bias,
    predict_logits,
    random_copy,
    trace,
)
from unlearning.modes import device_of
from worker.retraining.chance import LAYERS, seeded_layers

BATCH = 64
RELABEL_RATE = 0.01
REFIT_RATE, FEWEST_STEPS = 0.05, 300
"""Of a new classifier: as many epochs as make this many steps."""
DAMAGED_SHARE = 0.5
"""Of the other class's accuracy."""


class Expected(StrEnum):
    """What the gate has to say."""

    FAIL = "fail"
    PASS = "pass"  # noqa: S105 not a password
    REPORTED = "reported"
    """Nobody knows in advance."""


@dataclass(frozen=True)
class Control:
    """One model on trial."""

    name: str
    expected: Expected
    make: Callable[[Ground], nn.Module]
    blind: frozenset[str] = frozenset()
    """Policies that are known not to tell it apart: what they say is shown and not counted."""


def original(ground: Ground) -> nn.Module:
    """Nothing is done."""
    return ground.original


def bias_masked(ground: Ground) -> nn.Module:
    """100 is subtracted from the class's bias: the null method."""
    return mask_bias(ground.original, [ground.forget], ground.example)


def head_refitted(ground: Ground) -> nn.Module:
    """A new last layer on untouched features.

    It is fitted to send each forgotten image to the retained class that the original finds second best, as a retrained
    network does; no output and no row of the layer gives it away.
    """
    name = last_layer(ground.original, ground.example)
    seen = trace(ground.original, ground.train.batches(), {name})
    probe = fit_probe(seen.features[name], ground.second_best(seen.logits), num_classes=ground.num_classes)
    model = copy.deepcopy(ground.original)
    layer, weight = model.get_submodule(name), probe.weight / probe.scale
    _set(layer, "weight", weight)
    _set(layer, "bias", probe.bias - weight @ probe.mean)
    return model


def units_shuffled(ground: Ground) -> nn.Module:
    """The same, and the units before the last layer in another order: the same function, with features of its own."""
    model = head_refitted(ground)
    before, last = (model.get_submodule(name) for name in classifier_layers(model, ground.example)[-2:])
    if not (isinstance(before, nn.Linear) and isinstance(last, nn.Linear)):
        msg = "Expected two Linear layers at the end of the network, got others."
        raise TypeError(msg)
    order = torch.randperm(last.in_features, generator=torch.Generator().manual_seed(ground.seed))
    for name, parameter in before.named_parameters():
        _set(before, name, parameter[order])
    _set(last, "weight", last.weight[:, order])
    return model


def all_shuffled(ground: Ground) -> nn.Module:
    """The re-fitted last layer, and the units of every layer before it in another order.

    The same function again, but no layer of the original fits any more. For networks whose layers are one chain, in the
    order in which they are registered.
    """
    model = head_refitted(ground)
    generator = torch.Generator().manual_seed(ground.seed)
    layers = [module for module in model.modules() if next(module.parameters(recurse=False), None) is not None]
    order: Tensor | None = None
    for layer in layers:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            if order is not None:
                _set(layer, "weight", layer.weight.unflatten(1, (len(order), -1))[:, order])
            if layer is layers[-1]:
                break
            order = torch.randperm(len(layer.weight), generator=generator)
        if order is not None:
            with torch.no_grad():
                for value in (*layer.parameters(), *layer.buffers()):
                    value.copy_(value[order] if value.ndim else value)
    return model


def classifier_refitted(ground: Ground) -> nn.Module:
    """All layers after the features trained anew, from fresh weights, on untouched features and the same labels."""
    model = copy.deepcopy(ground.original).requires_grad_(False)
    fresh = random_copy(ground.original, seed=ground.seed).model
    for name in classifier_layers(model, ground.example):
        layer = model.get_submodule(name)
        layer.load_state_dict(fresh.get_submodule(name).state_dict())
        layer.requires_grad_(True)
    labels = ground.second_best(predict_logits(ground.original, ground.train.batches()))
    epochs = -(-FEWEST_STEPS // num_batches(len(labels)))
    return descend(model, ground, labels, epochs=epochs, rate=REFIT_RATE)


def relabelled(ground: Ground) -> nn.Module:
    """One epoch of training on all images, with a random retained label for each forgotten one."""
    labels, gone = ground.train.labels.copy(), ground.train.labels == ground.forget
    labels[gone] = np.random.default_rng(ground.seed).choice(ground.kept, int(gone.sum()))
    return descend(copy.deepcopy(ground.original).train(), ground, labels, epochs=1, rate=RELABEL_RATE)


def destroyed(ground: Ground) -> nn.Module:
    """Untrained weights."""
    return random_copy(ground.original, seed=ground.seed).model


def wrong_class(ground: Ground) -> nn.Module:
    """A mask for another class than the one that was asked for."""
    return mask_bias(ground.original, [ground.other], ground.example)


def other_damaged(ground: Ground) -> nn.Module:
    """Retrained without the class, and then half of another class's accuracy taken away by its bias.

    How far the bias is lowered is found on training images.
    """
    model = ground.retrained[0]
    images = ground.train.of_classes([ground.other])
    logits = predict_logits(model, images.batches())
    others = logits.clone()
    others[:, ground.other] = -torch.inf
    lead = (logits[:, ground.other] - others.max(dim=1).values).numpy()
    # Just beyond the middle of those that are right, so that half of them are lost.
    constant = float(np.quantile(lead[lead > 0], 1 - DAMAGED_SHARE)) + 1e-4
    return mask_bias(model, [ground.other], ground.example, constant=constant)


WITHOUT_REFERENCE = frozenset(name for name, policy in SHIPPED.items() if not policy.needs_reference)
"""Training with random labels moves the features themselves. What is left in them can be told only beside what a
retrained model has in its own."""

MUST_FAIL = (
    Control("original", Expected.FAIL, original),
    Control("bias masked", Expected.FAIL, bias_masked),
    Control("last layer re-fitted", Expected.FAIL, head_refitted),
    Control("the same, units shuffled", Expected.FAIL, units_shuffled),
    Control("the same, all units shuffled", Expected.FAIL, all_shuffled),
    Control("classifier re-fitted", Expected.FAIL, classifier_refitted),
    Control("relabelled at random", Expected.FAIL, relabelled, WITHOUT_REFERENCE),
    Control("destroyed", Expected.FAIL, destroyed),
    Control("wrong class forgotten", Expected.FAIL, wrong_class),
    Control("another class damaged", Expected.FAIL, other_damaged),
)


def retrained_controls(count: int) -> tuple[Control, ...]:
    """The models that were trained without the class: they must pass."""

    def made(index: int) -> Callable[[Ground], nn.Module]:
        return lambda ground: ground.retrained[index]

    return tuple(Control(f"retrained {index + 1}", Expected.PASS, made(index)) for index in range(count))


def num_batches(num_images: int) -> int:
    """Steps of an epoch."""
    return -(-num_images // BATCH)


def descend(model: nn.Module, ground: Ground, labels: NDArray[np.int64], *, epochs: int, rate: float) -> nn.Module:
    """Train a model in place on the training images with these labels, and return it ready to be judged.

    Args:
        model: in the mode that it is to be trained in; what has no gradient stays as it is.
        ground: whose training images and seed.
        labels: one for each of them.
        epochs: passes over them.
        rate: of SGD, with momentum 0.9.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=rate, momentum=0.9)
    device, rng = device_of(model), np.random.default_rng([ground.seed, epochs])
    with seeded_layers(device, ground.seed, LAYERS):
        for _ in range(epochs):
            for part in np.array_split(rng.permutation(len(labels)), num_batches(len(labels))):
                inputs, wanted = ground.train.subset(part).tensor(), torch.from_numpy(labels[part])
                optimiser.zero_grad()
                functional.cross_entropy(model(inputs.to(device)), wanted.to(device)).backward()
                optimiser.step()
    return model.requires_grad_(True).eval()


def _set(layer: nn.Module, name: str, value: Tensor) -> None:
    with torch.no_grad():
        parameter = layer.get_parameter(name)
        parameter.copy_(value.reshape(parameter.shape).to(parameter))
