"""The null method passes the usual measures and is caught by the original's last layer; a real edit is not."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import Leaking, SmallConvNet, normal, seeded
from unlearning import draw_samples, erase_classes
from unlearning.errors import NothingToProject, WeightsDoNotFit
from unlearning.evaluation import (
    accuracy_measures,
    classifier_back,
    classifier_layers,
    confusion_matrix,
    last_layer,
    last_layer_back,
    mask_bias,
    predict_logits,
)


def accuracies(model: nn.Module, leaking: Leaking) -> tuple[float, float]:
    inputs, labels = leaking.test
    measures = accuracy_measures(confusion_matrix(labels, predict_logits(model, inputs)), {FORGET})
    found = {measure.name: measure.value for measure in measures}
    return found["test_retain_accuracy"], found["test_forget_accuracy"]


def test_a_masked_bias_looks_perfect_until_the_original_last_layer_is_put_back(leaking: Leaking) -> None:
    original = accuracies(leaking.model, leaking)
    masked = mask_bias(leaking.model, {FORGET}, leaking.test[0])
    retain, forget = accuracies(masked, leaking)
    assert forget == 0
    assert retain >= original[0]
    assert accuracies(last_layer_back(masked, leaking.model, leaking.test[0]), leaking) == original
    assert original[1] > 0.6


def test_a_real_edit_stays_forgotten_with_the_original_last_layer(leaking: Leaking) -> None:
    original = accuracies(leaking.model, leaking)
    x, y = leaking.train
    draw = draw_samples(y, {FORGET}, num_classes=10)
    edited = copy.deepcopy(leaking.model)
    erase_classes(edited, retain=[x[draw.retain]], forget=[x[draw.forget]], alpha_r=30, alpha_f=3).apply_to(edited)
    retain, forget = accuracies(edited, leaking)
    assert forget <= 0.01
    assert retain >= original[0] - 0.03
    back = accuracies(last_layer_back(edited, leaking.model, x), leaking)
    assert back[1] <= 0.05 * original[1]


class Backwards(nn.Module):
    """Runs its layers in another order than it defines them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.body = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.body(x))
        return y


def test_the_last_layer_is_the_one_that_runs_last() -> None:
    model = Backwards().train()
    assert last_layer(model, normal(2, 5)) == "head"
    assert model.training
    assert all(not module._forward_pre_hooks for module in model.modules())
    convolution = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert last_layer(convolution, normal(2, 3, 4, 4)) == "0"
    with pytest.raises(NothingToProject):
        last_layer(nn.ReLU(), normal(2, 3))


def test_only_the_last_layer_is_put_back_and_no_model_is_changed() -> None:
    original, edited = seeded(SmallConvNet(), 0), seeded(SmallConvNet(), 1)
    before = {name: value.clone() for name, value in edited.state_dict().items()}
    mixed = last_layer_back(edited, original, normal(2, 3, 8, 8)).state_dict()
    for name, value in mixed.items():
        source = original if name.startswith("head") else edited
        assert torch.equal(value, source.state_dict()[name])
    assert all(torch.equal(before[name], value) for name, value in edited.state_dict().items())


def test_the_mask_lowers_only_the_biases_asked_for() -> None:
    model, x = seeded(SmallConvNet()), normal(5, 3, 8, 8)
    shift = predict_logits(mask_bias(model, {1, 3}, x, constant=7), x) - predict_logits(model, x)
    expected = np.tile([0, -7, 0, -7], (5, 1))
    np.testing.assert_allclose(shift.numpy(), expected, atol=1e-5)


def test_models_that_do_not_fit_are_refused() -> None:
    x = normal(2, 3, 8, 8)
    with pytest.raises(WeightsDoNotFit, match="'head'"):
        last_layer_back(SmallConvNet(5), SmallConvNet(4), x)
    with pytest.raises(WeightsDoNotFit, match="missing"):
        last_layer_back(nn.Linear(2, 2), SmallConvNet(), x)
    with pytest.raises(WeightsDoNotFit, match="no bias"):
        mask_bias(nn.Sequential(nn.Linear(3, 3, bias=False)), {0}, normal(2, 3))


def sequence(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


@pytest.mark.parametrize(
    ("model", "shape", "expected"),
    [
        (sequence(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 9), nn.ReLU(), nn.Linear(9, 4)), (3, 8, 8), "2 4"),
        (
            sequence(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 4), nn.Softmax(1)),
            (3, 8, 8),
            "2 3",
        ),
        (sequence(nn.Linear(5, 6), nn.LayerNorm(6), nn.Flatten(), nn.Linear(18, 4)), (3, 5), "3"),
        (sequence(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (3, 4, 4), "0"),
        (sequence(nn.Flatten(), nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 4)), (3, 4), "3"),
        (
            sequence(nn.Conv2d(3, 4, 3), nn.Flatten(), weight_norm(nn.Linear(144, 9, bias=False)), nn.Linear(9, 4)),
            (3, 8, 8),
            "2 3",
        ),
    ],
    ids=["vgg", "norm in it", "transformer", "convolution last", "perceptron", "parametrised"],
)
def test_the_classifier_is_what_follows_the_last_layer_that_sees_positions(
    model: nn.Module, shape: tuple[int, ...], expected: str
) -> None:
    model.train()
    assert classifier_layers(model, normal(3, *shape)) == tuple(expected.split())
    assert model.training
    assert all(not module._forward_pre_hooks for module in model.modules())


def test_an_edit_of_the_classifier_alone_is_undone_and_one_of_the_features_is_not(digits: Digits) -> None:
    x, y = digits.train
    draw = draw_samples(y, {FORGET}, num_classes=10)
    images, labels = digits.forgotten

    def forgotten(model: nn.Module) -> float:
        return float((predict_logits(model, images).argmax(dim=1).numpy() == labels).mean())

    found = {}
    for name, layers in (("all", None), ("classifier", ["classifier.fc1.weight", "classifier.fc2.weight"])):
        edited = copy.deepcopy(digits.original)
        edit = erase_classes(
            edited, retain=[x[draw.retain]], forget=[x[draw.forget]], alpha_r=10, alpha_f=100, layers=layers
        )
        edit.apply_to(edited)
        found[name] = forgotten(edited), forgotten(classifier_back(edited, digits.original, images))
    assert found["classifier"][0] <= 0.05
    assert found["classifier"][1] == forgotten(digits.original) > 0.9
    assert found["all"][0] <= 0.05
    assert found["all"][1] < 0.5 * found["classifier"][1]


def test_a_classifier_that_does_not_fit_is_refused() -> None:
    x = normal(2, 3, 8, 8)
    with pytest.raises(WeightsDoNotFit, match="'head'"):
        classifier_back(SmallConvNet(5), SmallConvNet(4), x)
