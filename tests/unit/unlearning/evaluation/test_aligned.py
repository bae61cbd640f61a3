"""Features that were only turned are found again; those of a network that never saw the class are not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, NonFinite, OptionOutOfRange, ShapeError
from unlearning.evaluation import last_layer, last_layer_back, predict_logits, trace
from unlearning.evaluation.aligned import RIDGE, aligned_layer_back, fit_alignment


def penalised(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """The naive oracle: least squares with the penalty written as further rows."""
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    p = x.shape[1]
    rows = (ridge * x.square().sum() / p).sqrt() * torch.eye(p, dtype=x.dtype)
    solution: Tensor = torch.linalg.lstsq(torch.cat([x, rows]), torch.cat([y, y.new_zeros(p, y.shape[1])])).solution
    return solution


@pytest.mark.parametrize(("n", "p"), [(40, 7), (9, 9), (6, 15)])
def test_the_map_is_the_penalised_least_squares_solution(n: int, p: int) -> None:
    x, y = normal(n, p, seed=1).double(), normal(n, 4, seed=2).double()
    found = fit_alignment(x, y)
    torch.testing.assert_close(found.weight, penalised(x, y, RIDGE), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.mean, x.mean(dim=0))
    torch.testing.assert_close(found.target, y.mean(dim=0))


def test_shrinking_the_features_changes_nothing() -> None:
    x, y = normal(50, 6, seed=1), normal(50, 3, seed=2)
    shrunk = fit_alignment(1e-3 * x, y)
    torch.testing.assert_close((1e-3 * x.double() - shrunk.mean) @ shrunk.weight, _mapped(x, y), rtol=1e-4, atol=1e-6)


def _mapped(x: Tensor, y: Tensor) -> Tensor:
    found = fit_alignment(x, y)
    return (x.double() - found.mean) @ found.weight


def restored(digits: Digits, model: nn.Module, *, aligned: bool) -> tuple[float, float]:
    """Forget and retain accuracy with the original's last layer on the model's features."""
    (x, y), (x_test, y_test) = digits.train, digits.test
    kept, head = torch.from_numpy(y != FORGET), last_layer(digits.original, x)
    back = last_layer_back(model, digits.original, x)
    if aligned:
        ours, wanted = (trace(one, x[kept], {head}).features[head] for one in (model, digits.original))
        back = aligned_layer_back(model, digits.original, fit_alignment(ours, wanted), x)
    right = predict_logits(back, x_test).argmax(dim=1).numpy() == y_test
    gone = y_test == FORGET
    return float(right[gone].mean()), float(right[~gone].mean())


def shuffled(model: nn.Module) -> nn.Module:
    """The same function, its last features in another order."""
    copied = copy.deepcopy(model)
    before, last = (copied.get_submodule(f"classifier.{name}") for name in ("fc1", "fc2"))
    assert isinstance(before, nn.Linear)
    assert isinstance(last, nn.Linear)
    order = torch.randperm(last.in_features, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before.weight.copy_(before.weight[order])
        before.bias.copy_(before.bias[order])
        last.weight.copy_(last.weight[:, order])
    return copied


def test_shuffled_features_hide_from_the_plain_test_and_not_from_this_one(digits: Digits) -> None:
    hidden = shuffled(digits.masked)
    torch.testing.assert_close(predict_logits(hidden, digits.test[0]), predict_logits(digits.masked, digits.test[0]))
    assert restored(digits, hidden, aligned=False)[1] < 0.5
    forget, retain = restored(digits, hidden, aligned=True)
    assert forget > 0.9
    assert retain > 0.9


def test_a_mask_is_undone_and_far_less_comes_back_from_a_retrained_model(digits: Digits) -> None:
    """Not nothing, though: this one began with the same weights, and its training kept every class apart."""
    masked, retrained = (restored(digits, model, aligned=True) for model in (digits.masked, digits.retrained))
    assert masked[0] > 0.9
    assert masked[0] - retrained[0] > 0.2
    assert min(masked[1], retrained[1]) > 0.9


def test_the_models_are_not_changed_and_the_copy_runs_in_batches(digits: Digits) -> None:
    x = digits.test[0]
    before = {name: value.clone() for name, value in digits.original.state_dict().items()}
    features = trace(digits.original, x, {last_layer(digits.original, x)})
    found = next(iter(features.features.values()))
    back = aligned_layer_back(digits.original, digits.original, fit_alignment(found, found), x)
    torch.testing.assert_close(predict_logits(back, x, batch_size=7), predict_logits(back, x), rtol=1e-4, atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in digits.original.state_dict().items())


class Convolved(nn.Module):
    """The last layer sees positions, and its outputs are averaged over them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 5, 3)
        self.last = nn.Conv2d(5, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.last(torch.relu(self.features(x))).mean(dim=(2, 3))
        return pooled


def test_a_last_layer_that_sees_positions_is_mapped_channel_by_channel() -> None:
    model, x = Convolved().eval(), normal(30, 1, 6, 6)
    turned = copy.deepcopy(model)
    order = torch.tensor([2, 0, 4, 1, 3])
    with torch.no_grad():
        turned.features.weight.copy_(model.features.weight[order])
        assert turned.features.bias is not None
        assert model.features.bias is not None
        turned.features.bias.copy_(model.features.bias[order])
        turned.last.weight.zero_()
    ours, wanted = (trace(one, x, {"last"}).features["last"] for one in (turned, model))
    back = aligned_layer_back(turned, model, fit_alignment(ours, wanted, ridge=1e-9), x)
    torch.testing.assert_close(predict_logits(back, x), predict_logits(model, x), rtol=1e-3, atol=1e-4)


def test_a_model_that_is_its_last_layer_is_put_back_as_well() -> None:
    model, x = nn.Linear(4, 3).eval(), normal(20, 4)
    back = aligned_layer_back(nn.Linear(4, 3), model, fit_alignment(x, x, ridge=1e-9), x)
    torch.testing.assert_close(predict_logits(back, x), predict_logits(model, x), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_fitted_is_refused() -> None:
    x = normal(5, 3)
    with pytest.raises(ShapeError):
        fit_alignment(x, x[:4])
    with pytest.raises(EmptySide):
        fit_alignment(x[:0], x[:0])
    with pytest.raises(OptionOutOfRange):
        fit_alignment(x, x, ridge=0.0)
    with pytest.raises(NonFinite):
        fit_alignment(torch.full((5, 3), np.nan), x)
