"""How the tests look at models."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.baselines.method import Data
from unlearning.evaluation import predict_logits


def loss(model: nn.Module, data: Data) -> float:
    return float(functional.cross_entropy(predict_logits(model, data.inputs), data.labels))


def accuracy(model: nn.Module, data: Data) -> float:
    return float((predict_logits(model, data.inputs).argmax(dim=1) == data.labels).double().mean())


def changed(before: nn.Module, after: nn.Module) -> set[str]:
    """Names of the parameters and buffers that are not bit by bit the same."""
    old, new = before.state_dict(), after.state_dict()
    assert old.keys() == new.keys()
    return {name for name in old if not torch.equal(old[name], new[name])}
