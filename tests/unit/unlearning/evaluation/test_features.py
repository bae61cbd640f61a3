"""One forward gives outputs and features; positions are averaged, whatever the layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.small_models import SmallConvNet, normal, seeded
from unlearning.errors import ShapeError, UnknownLayer
from unlearning.evaluation import predict_logits, trace


def test_features_are_the_inputs_of_the_modules_and_outputs_are_unchanged() -> None:
    model, x = seeded(SmallConvNet()).train(), normal(7, 3, 8, 8)
    found = trace(model, x, ["head", "second"], batch_size=3)
    assert torch.equal(found.logits, predict_logits(model, x, batch_size=3))
    model.eval()
    with torch.no_grad():
        hidden = torch.relu(model.norm(model.first(x)))
        penultimate = torch.relu(model.hidden(torch.relu(model.second(hidden)).flatten(1)))
    torch.testing.assert_close(found.features["head"], penultimate)
    torch.testing.assert_close(found.features["second"], hidden.mean(dim=(2, 3)))


def test_a_fresh_head_on_the_features_is_the_model_again() -> None:
    model, x = seeded(SmallConvNet()), normal(5, 3, 8, 8)
    found = trace(model, [x[:2], x[2:]], ["head"])
    torch.testing.assert_close(predict_logits(model.head, found.features["head"]), found.logits)


class Windows(nn.Module):
    """Cuts each sample into two windows, as shifted-window attention does, and ends in a vector per sample."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.norm, self.head, self.unused = (
            nn.Linear(3, 4),
            nn.LayerNorm(4),
            nn.Linear(4, 2),
            nn.Linear(1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        windows = x.reshape(-1, 2, 3)
        y: Tensor = self.head(self.norm(self.inner(windows)).reshape(len(x), -1, 4).mean(dim=1))
        return y


def test_windows_are_positions_of_their_sample() -> None:
    model, x = seeded(Windows()), normal(5, 4, 3)
    found = trace(model, x, ["inner"])
    torch.testing.assert_close(found.features["inner"], x.mean(dim=1))


def test_nothing_stays_attached() -> None:
    model = seeded(SmallConvNet()).train()
    trace(model, normal(2, 3, 8, 8), ["head"])
    assert model.training
    assert all(not module._forward_pre_hooks and not module._forward_hooks for module in model.modules())


def test_modules_that_are_not_there_or_do_not_run_are_refused() -> None:
    with pytest.raises(UnknownLayer, match="tail"):
        trace(SmallConvNet(), normal(2, 3, 8, 8), ["tail"])
    model = seeded(Windows())
    with pytest.raises(UnknownLayer, match="unused"):
        trace(model, normal(5, 4, 3), ["unused"])
    assert all(not module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ShapeError, match="input"):
        trace(nn.Sequential(nn.Flatten(0), nn.Linear(6, 6), nn.Unflatten(0, (2, 3))), normal(2, 3), ["1"])
