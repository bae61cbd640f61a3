"""Forwards that are left in the middle: where the model allows it, and where it must not be done."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning import refit_classes
from unlearning.leaving import may_be_left


class Plain(nn.Module):
    """Two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.first(x).relu())
        return y


class Busy(Plain):
    """Refuses to run while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.is_busy = False

    def forward(self, x: Tensor) -> Tensor:
        assert not self.is_busy
        self.is_busy = True
        y = super().forward(x)
        self.is_busy = False
        return y


class Stack(Plain):
    """Puts a result aside and takes the first one out at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.aside: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.aside.append(x.mean(dim=1, keepdim=True))
        y = super().forward(x)
        return y + self.aside.pop(0)


class Retrying(Plain):
    """Takes whatever goes wrong for a hiccup."""

    def forward(self, x: Tensor) -> Tensor:
        try:
            return super().forward(x)
        except:  # noqa: E722
            return super().forward(x)


def product(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecated, and still in many models
    multiplied = torch.jit.script(product)


class Scripted(Plain):
    """Multiplies in an interpreter that turns every exception into its own."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = multiplied(multiplied(x, self.first.weight.t()).relu(), self.head.weight.t())
        return y


@pytest.mark.parametrize("build", [Plain, Busy, Stack, Retrying, Scripted])
def test_a_refit_is_the_same_whether_forwards_are_left_or_not(
    build: type[Plain], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, model = normal(40, 6), seeded(build())
    retain, forget = [x[:20], x[20:30]], [x[30:]]
    assert may_be_left(model, x[:2]) == (build is Plain)

    left = refit_classes(model, retain=retain, forget=forget, classes={1})
    monkeypatch.setattr("unlearning.passes.may_be_left", lambda *_: False)
    whole = refit_classes(model, retain=retain, forget=forget, classes={1})

    assert left.weights
    assert all(torch.equal(value, whole.weights[name]) for name, value in left.weights.items())


def test_the_model_itself_is_not_run() -> None:
    model = seeded(SmallConvNet()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert may_be_left(model, normal(2, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
