"""Gradient descent as the methods use it: batches, optimiser, and one loop for all losses."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.baselines.method import Data
from unlearning.modes import device_of

Step = TypeVar("Step")


@dataclass(frozen=True)
class Descent:
    """How a method descends.

    Attributes:
        epochs: Passes over the images.
        learning_rate: Constant.
        batch_size: Images per step, at most.
        optimiser: SGD with momentum, or Adam.
        weight_decay: Of either, added to the gradient.
        momentum: Of SGD.
        max_norm: The gradient is cut to this norm, if it is given: ascent has no minimum to slow down at.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    optimiser: Literal["sgd", "adam"] = "sgd"
    weight_decay: float = 5e-4
    momentum: float = 0.9
    max_norm: float | None = None

    def of(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters."""
        held, rate, decay = list(parameters), self.learning_rate, self.weight_decay
        optimiser: torch.optim.Optimizer
        if self.optimiser == "adam":
            optimiser = torch.optim.Adam(held, lr=rate, weight_decay=decay)
        else:
            optimiser = torch.optim.SGD(held, lr=rate, weight_decay=decay, momentum=self.momentum)
        if (most := self.max_norm) is not None:
            optimiser.register_step_pre_hook(lambda *_: _cut(held, most))
        return optimiser


def _cut(parameters: list[nn.Parameter], max_norm: float) -> None:
    nn.utils.clip_grad_norm_(parameters, max_norm)


def batches(data: Data, batch_size: int, generator: torch.Generator, epochs: int = 1) -> Iterator[Data]:
    """Each epoch in a new order, in batches of nearly equal size: batch norm cannot take a last one of one image."""
    for _ in range(epochs):
        order = torch.randperm(len(data), generator=generator)
        for index in order.tensor_split(-(-len(data) // batch_size)):
            yield data.at(index)


def endless(data: Data, batch_size: int, generator: torch.Generator) -> Iterator[Data]:
    """Epoch after epoch."""
    while True:
        yield from batches(data, batch_size, generator)


def descend(
    steps: Iterable[Step],
    loss: Callable[[Step], Tensor],
    optimiser: torch.optim.Optimizer,
    after_step: Callable[[], None] | None = None,
) -> None:
    """Take one step of `optimiser` down `loss` for each of `steps`."""
    for step in steps:
        optimiser.zero_grad()
        loss(step).backward()
        optimiser.step()
        if after_step is not None:
            after_step()


def cross_entropy(model: nn.Module, batch: Data) -> Tensor:
    """Mean cross-entropy of a batch, wherever the model is."""
    here = batch.to(device_of(model))
    return functional.cross_entropy(model(here.inputs), here.labels)


def generator_of(seed: int, stream: int = 0) -> torch.Generator:
    """A generator on the CPU; streams of one seed are independent of each other."""
    return torch.Generator().manual_seed(seed * 1000 + stream)
