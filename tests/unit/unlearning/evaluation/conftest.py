"""A digits classifier that was really trained, and one trained the same way that never saw class 8."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from models_store.convnets import SmallConvNet
from tests.fixtures.small_models import seeded
from unlearning.evaluation import mask_bias

FORGET = 8
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Digits:
    """Three models and the images to judge them with; nobody may change them."""

    original: nn.Module
    retrained: nn.Module
    masked: nn.Module
    train: tuple[Tensor, Labels]
    test: tuple[Tensor, Labels]

    @property
    def forgotten(self) -> tuple[Tensor, Labels]:
        """The forgotten class's test images."""
        x, y = self.test
        return x[torch.from_numpy(y == FORGET)], y[y == FORGET]


@pytest.fixture(scope="session")
def digits(one_thread: None) -> Digits:
    images, targets = load_digits(return_X_y=True)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).numpy()
    x, y = torch.from_numpy(images[order]).float().view(-1, 1, 8, 8) / 8 - 1, targets[order].astype(np.int64)
    train, test = (x[:900], y[:900]), (x[900:], y[900:])
    kept = torch.from_numpy(train[1] != FORGET)
    original = _trained(*train)
    retrained = _trained(train[0][kept], train[1][kept.numpy()])
    return Digits(original, retrained, mask_bias(original, {FORGET}, x), train, test)


def _trained(x: Tensor, labels: Labels) -> nn.Module:
    model, y = seeded(SmallConvNet(10), 0), torch.from_numpy(labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(1)
    for _ in range(15):
        for part in torch.randperm(len(x), generator=generator).split(64):
            optimiser.zero_grad()
            functional.cross_entropy(model(x[part]), y[part]).backward()
            optimiser.step()
    return copy.deepcopy(model).eval()
