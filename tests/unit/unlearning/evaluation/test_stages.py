"""Stages are where everything passes through: not beside a skip connection, and with a layer between two of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from models_store.convnets import CifarResNet18, CifarVgg11
from tests.fixtures.digits_models import Digits
from tests.fixtures.small_models import normal, seeded
from unlearning.errors import OptionOutOfRange
from unlearning.evaluation import early_stage, stages, trace


class Block(nn.Module):
    """A residual block on sequences or images, channels last, that begins inside its branch."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.inner, self.outer = nn.LayerNorm(width), nn.Linear(width, 9), nn.Linear(9, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.outer(functional.gelu(self.inner(self.norm(x))))
        return y


class Residual(nn.Module):
    """Images (B, 3, 4, 4) with channels moved last, two blocks, mean over places, one last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.one, self.two = nn.Linear(3, 7), Block(7), Block(7)
        self.norm, self.head = nn.LayerNorm(7), nn.Linear(7, 5)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(self.one(self.stem(x.movedim(1, -1))))
        logits: Tensor = self.head(self.norm(y).mean(dim=(1, 2)))
        return logits


def test_beside_a_skip_connection_there_is_no_stage() -> None:
    model, x = seeded(Residual()).train(), normal(4, 3, 4, 4)
    assert stages(model, x, limit=9) == ("one", "two", "head")
    assert stages(model, x, limit=2) == ("two", "head")
    assert early_stage(model, x) == "two"
    assert model.training
    assert all(not module._forward_pre_hooks for module in model.modules())


def test_a_block_is_read_as_its_first_layer_reads_it() -> None:
    model, x = seeded(Residual()), normal(4, 3, 4, 4)
    with torch.no_grad():
        expected = model.one(model.stem(x.movedim(1, -1))).mean(dim=(1, 2))
    torch.testing.assert_close(trace(model, x, ["two"]).features["two"], expected)


class TurnsRound(nn.Module):
    """Gets (B, C, H, W) and moves the channels to where its first layer expects them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.inner = nn.LayerNorm(3), nn.Linear(3, 6)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(self.norm(x.movedim(1, -1)))
        return y.mean(dim=(1, 2))


def test_a_block_that_turns_its_input_round_is_read_by_its_width() -> None:
    model, x = seeded(nn.Sequential(TurnsRound(), nn.Linear(6, 2))), normal(5, 3, 4, 4)
    torch.testing.assert_close(trace(model, x, ["0"]).features["0"], x.mean(dim=(2, 3)))


def test_the_stages_of_a_plain_network_are_its_layers(digits: Digits) -> None:
    x = digits.train[0][:6]
    assert stages(digits.original, x) == ("features.conv3", "features.conv4", "classifier.fc1", "classifier.fc2")
    assert early_stage(digits.original, x) == "classifier.fc1"


@pytest.mark.parametrize(
    ("model", "early", "width"),
    [(CifarResNet18(10), "layer4.1", 512), (CifarVgg11(10), "classifier.0", 512)],
    ids=["resnet", "vgg"],
)
def test_the_early_stage_is_the_end_of_the_features_or_the_last_block(model: nn.Module, early: str, width: int) -> None:
    x = normal(2, 3, 32, 32)
    seeded(model)
    assert early_stage(model, x) == early
    assert trace(model, x, [early]).features[early].shape == (2, width)


def test_one_sample_is_enough_and_a_network_of_one_layer_has_nothing_earlier() -> None:
    single = seeded(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)))
    assert stages(single, normal(1, 3, 4)) == ("1",)
    assert early_stage(single, normal(1, 3, 4)) is None
    perceptron = seeded(nn.Sequential(nn.Linear(5, 8), nn.ReLU(inplace=True), nn.Linear(8, 8), nn.Linear(8, 3)))
    assert early_stage(perceptron, normal(1, 5)) == "2"


def test_outputs_that_never_change_tell_nothing() -> None:
    model = seeded(Residual())
    with torch.no_grad():
        model.head.weight.zero_()
    assert stages(model, normal(4, 3, 4, 4)) == ("head",)


class Twice(nn.Module):
    """Runs its first layer twice, so that its input has no one meaning."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.head = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.shared(torch.tanh(self.shared(torch.tanh(self.first(x)))))
        y: Tensor = self.head(torch.tanh(hidden))
        return y


def test_modules_that_run_twice_are_passed_over() -> None:
    assert stages(seeded(Twice()), normal(3, 5)) == ("head",)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(OptionOutOfRange, match="limit"):
        stages(seeded(Residual()), normal(4, 3, 4, 4), limit=0)
