"""What every unlearning method is given and returns, and what all of them may rely on.

A method is `(model, data, classes, settings, seed) -> nn.Module`. Written as a function that may do to its model what
it likes, `on_a_copy` makes it one that never touches the caller's.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unlearning.modes import device_of

S = TypeVar("S")
Classes = tuple[int, ...]


class Diverged(RuntimeError):
    """A method ended with weights that are not finite."""


@dataclass(frozen=True)
class Data:
    """Labelled images: training images as a whole, one side of them, or one batch.

    Attributes:
        inputs: Images (n, ...), normalised; on the CPU but for batches.
        labels: Their classes (n,), int64.
    """

    inputs: Tensor
    labels: Tensor

    @classmethod
    def of(cls, inputs: Tensor, labels: NDArray[np.int64]) -> "Data":
        """Take labels as an array, as data sets hold them."""
        return cls(inputs, torch.from_numpy(labels))

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: Tensor) -> "Data":
        """The images at some positions."""
        return Data(self.inputs[index], self.labels[index])

    def to(self, device: torch.device) -> "Data":
        """The same on another device."""
        return Data(self.inputs.to(device), self.labels.to(device))

    def sides(self, classes: Classes) -> tuple["Data", "Data"]:
        """The retained images, and those of the classes to forget.

        Raises:
            ValueError: one side has no images.
        """
        gone = torch.isin(self.labels, torch.tensor(classes, dtype=self.labels.dtype))
        retain, forget = self.at(torch.nonzero(~gone).flatten()), self.at(torch.nonzero(gone).flatten())
        if not len(retain) or not len(forget):
            raise ValueError(f"Expected images on both sides of {classes}, got {len(retain)} and {len(forget)}.")
        return retain, forget

    def at_most(self, count: int, generator: torch.Generator) -> "Data":
        """All of it, or a random choice of `count`."""
        return self if len(self) <= count else self.at(torch.randperm(len(self), generator=generator)[:count])


Method = Callable[[nn.Module, Data, Classes, S, int], nn.Module]


def on_a_copy(method: Method[S]) -> Method[S]:
    """Give `method` a trainable copy of the model and randomness of its own; what it returns is ready to be judged.

    The copy is in training mode and every parameter takes a gradient. Dropout draws from PyTorch's global generator, so
    that one is seeded for the method and put back afterwards. The result is in evaluation mode.
    """

    @wraps(method)
    def run(model: nn.Module, data: Data, classes: Classes, settings: S, seed: int) -> nn.Module:
        copied = copy.deepcopy(model).requires_grad_(True).train()
        copied.zero_grad(set_to_none=True)
        with randomness_of(seed, device_of(model)), torch.enable_grad():
            result = method(copied, data, classes, settings, seed).eval()
        result.zero_grad(set_to_none=True)
        if broken := [name for name, value in result.state_dict().items() if not torch.isfinite(value).all()]:
            raise Diverged(f"Expected finite weights, got NaN or infinity in {len(broken)} tensors ({broken[0]}, ...).")
        return result

    return run


@contextmanager
def randomness_of(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators inside, and give them back as they were."""
    is_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if is_cuda else []):
        torch.random.set_rng_state(torch.Generator().manual_seed(seed).get_state())
        if is_cuda:
            torch.cuda.set_rng_state(torch.Generator(device).manual_seed(seed).get_state(), device)
        yield
