"""What the controls are made from: an original with its images, and models that were trained without the class."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker.pipeline.data import Images


@dataclass(frozen=True)
class Ground:
    """One class of one original.

    Attributes:
        original: The model before.
        train: Its training images.
        test: Images that it never saw.
        forget: The class to be deleted.
        num_classes: Outputs of the model.
        retrained: Models that were trained without the class, to be judged: at least one.
        reference: Another such model, to compare with.
        seed: Of everything random.
    """

    original: nn.Module
    train: Images
    test: Images
    forget: int
    num_classes: int
    retrained: tuple[nn.Module, ...]
    reference: nn.Module
    seed: int = 0

    @property
    def kept(self) -> list[int]:
        """All other classes."""
        return [index for index in range(self.num_classes) if index != self.forget]

    @property
    def other(self) -> int:
        """One of them, for the controls that damage one."""
        return (self.forget + 1) % self.num_classes

    @cached_property
    def example(self) -> Tensor:
        """A few images, to find layers with."""
        return next(iter(self.test.batches()))[:2]

    def second_best(self, logits: Tensor) -> NDArray[np.int64]:
        """The training images' classes, for the forgotten ones the retained class with the largest output."""
        among_kept = logits.clone()
        among_kept[:, self.forget] = -torch.inf
        instead = among_kept.argmax(dim=1).numpy()
        return np.where(self.train.labels == self.forget, instead, self.train.labels)
