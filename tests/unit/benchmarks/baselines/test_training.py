"""Retraining, fine-tuning, NegGrad, NegGrad+, EU-k and CF-k: what each does with the two sides and the layers."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from benchmarks.baselines.descent import Descent, batches, descend, generator_of
from benchmarks.baselines.gradients import NegGradPlus, fine_tune, neggrad, neggrad_plus
from benchmarks.baselines.last_layers import LastLayers, cf_k, eu_k
from benchmarks.baselines.layers import layers_in_order, reinitialise
from benchmarks.baselines.method import Data
from benchmarks.baselines.retrain import Recipe, crop_and_flip, retrain, train
from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import SmallConvNet, normal, seeded
from tests.unit.benchmarks.baselines.judging import accuracy, changed, loss

RECIPE = Recipe(epochs=2, batch_size=64, peak_rate=0.02)
CLASSES = (FORGET,)


def with_other_forget_images(data: Data) -> Data:
    gone = data.labels == FORGET
    return Data(torch.where(gone[:, None, None, None], normal(*data.inputs.shape), data.inputs), data.labels)


def test_retraining_depends_neither_on_the_forgotten_images_nor_on_the_original(digits: Digits, data: Data) -> None:
    one = retrain(digits.original, data, CLASSES, RECIPE, 0)
    assert not changed(one, retrain(digits.original, with_other_forget_images(data), CLASSES, RECIPE, 0))
    assert not changed(one, retrain(digits.retrained, data, CLASSES, RECIPE, 0))
    assert changed(one, train(digits.original, data, (), RECIPE, 0))


def test_a_retrained_model_knows_the_retained_classes_and_not_the_other(digits: Digits, data: Data) -> None:
    model = retrain(digits.original, data, CLASSES, replace(RECIPE, epochs=8), 0)
    retain, forget = data.sides(CLASSES)
    assert accuracy(model, retain) > 0.97
    assert accuracy(model, forget) == 0


def test_an_original_leaves_no_class_out(digits: Digits, data: Data) -> None:
    with pytest.raises(ValueError, match=r"Expected no class to leave out of an original, got \(8,\)"):
        train(digits.original, data, CLASSES, RECIPE, 0)


@pytest.mark.parametrize("settings", [Descent(1, 0.05, 64), Descent(1, 5e-4, 64, "adam")])
def test_fine_tuning_never_looks_at_the_forgotten_images(digits: Digits, data: Data, settings: Descent) -> None:
    one = fine_tune(digits.original, data, CLASSES, settings, 0)
    assert changed(digits.original, one)
    assert not changed(one, fine_tune(digits.original, with_other_forget_images(data), CLASSES, settings, 0))


def test_neggrad_raises_the_loss_of_the_forgotten_images_step_by_step(digits: Digits, data: Data) -> None:
    _, forget = data.sides(CLASSES)
    models = [neggrad(digits.original, data, CLASSES, Descent(epochs, 5e-3, 64), 0) for epochs in (1, 2, 3)]
    losses = [loss(model, forget) for model in (digits.original, *models)]
    assert losses == sorted(losses)
    assert losses[-1] > 1.1 * losses[0]


def test_neggrad_plus_is_fine_tuning_where_the_forgotten_side_has_no_weight(digits: Digits, data: Data) -> None:
    settings = Descent(1, 0.01, 64)
    assert not changed(
        neggrad_plus(digits.original, data, CLASSES, NegGradPlus(settings, beta=1.0), 0),
        fine_tune(digits.original, data, CLASSES, settings, 0),
    )


def test_a_step_of_neggrad_plus_descends_on_one_side_and_ascends_on_the_other(digits: Digits, data: Data) -> None:
    few = data.at(torch.arange(300))
    settings = NegGradPlus(Descent(1, 0.1, 1000, weight_decay=0.0, momentum=0.0), beta=0.7)
    model = neggrad_plus(digits.original, few, CLASSES, settings, 0)
    parameters = list(digits.original.parameters())
    down, up = (
        torch.autograd.grad(functional.cross_entropy(digits.original(side.inputs), side.labels), parameters)
        for side in few.sides(CLASSES)
    )
    for old, new, kept, gone in zip(parameters, model.parameters(), down, up, strict=True):
        assert torch.allclose(new - old, -0.1 * (0.7 * kept - 0.3 * gone), atol=1e-6)


@pytest.mark.parametrize(("max_norm", "expected"), [(None, 5.0), (10.0, 5.0), (1.0, 1.0)])
def test_a_gradient_is_cut_to_the_norm_that_is_given(max_norm: float | None, expected: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimiser = Descent(1, 1.0, 1, weight_decay=0.0, max_norm=max_norm).of([weight])
    descend([torch.tensor([3.0, 4.0])], lambda slope: (slope * weight).sum(), optimiser)
    assert float(weight.detach().norm()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_eu_k_and_cf_k_change_exactly_the_last_k_layers(digits: Digits, data: Data, k: int) -> None:
    layers = layers_in_order(digits.original, data.inputs)
    wanted = {f"{name}.{kind}" for layer in layers[-k:] for name in layer for kind in ("weight", "bias")}
    for method in (eu_k, cf_k):
        model = method(digits.original, data, CLASSES, LastLayers(Descent(1, 0.05, 64), k), 0)
        assert changed(digits.original, model) == wanted


def test_eu_k_begins_with_fresh_weights_and_cf_k_with_its_own(digits: Digits, data: Data) -> None:
    settings = LastLayers(Descent(1, 0.0, 64), 2)  # with a rate of 0 one sees where training began
    assert not changed(digits.original, cf_k(digits.original, data, CLASSES, settings, 0))
    fresh = eu_k(digits.original, data, CLASSES, settings, 0)
    assert changed(digits.original, fresh) == {
        f"classifier.fc{n}.{kind}" for n in (1, 2) for kind in ("weight", "bias")
    }
    assert not changed(fresh, eu_k(digits.original, data, CLASSES, settings, 0))
    assert accuracy(fresh, data) < 0.4


def test_frozen_batch_norms_keep_their_running_statistics() -> None:
    model, data = seeded(SmallConvNet()), Data(normal(40, 3, 8, 8), torch.arange(40) % 4)
    shallow = cf_k(model, data, (1,), LastLayers(Descent(1, 0.01, 8), 2), 0)
    assert changed(model, shallow) == {"hidden.weight", "hidden.bias", "head.weight", "head.bias"}
    deep = cf_k(model, data, (1,), LastLayers(Descent(1, 0.01, 8), 4), 0)
    assert {"norm.running_mean", "norm.running_var"} <= changed(model, deep)


def test_layers_are_listed_as_they_run_with_the_norms_that_follow() -> None:
    layers = layers_in_order(seeded(SmallConvNet()), normal(1, 3, 8, 8))
    assert layers == [("first", "norm"), ("second",), ("hidden",), ("head",)]


@pytest.mark.parametrize("k", [0, 5])
def test_more_layers_than_there_are_is_refused(k: int) -> None:
    data = Data(normal(8, 3, 8, 8), torch.arange(8) % 4)
    with pytest.raises(ValueError, match=f"Expected k between 1 and 4, got {k}"):
        cf_k(seeded(SmallConvNet()), data, (1,), LastLayers(Descent(1, 0.01, 8), k), 0)


def test_fresh_weights_leave_nothing_of_the_old_ones() -> None:
    one, other = (seeded(SmallConvNet(), seed) for seed in (0, 1))
    one.get_buffer("norm.running_mean").fill_(3.0)
    for model in (one, other):
        reinitialise(model, ["first", "norm", "second", "hidden", "head"], generator_of(5))
    assert not changed(one, other)


def test_a_kind_of_weights_that_is_not_known_is_refused() -> None:
    with pytest.raises(TypeError, match="at '0', got Embedding"):
        reinitialise(nn.Sequential(nn.Embedding(3, 2)), ["0"], generator_of(0))


def test_batches_cover_each_epoch_once_and_none_is_a_single_image() -> None:
    data = Data(normal(65, 1), torch.arange(65))
    seen = list(batches(data, 64, generator_of(0), epochs=2))
    assert [len(batch) for batch in seen] == [33, 32, 33, 32]
    orders = [torch.cat([batch.labels for batch in seen[start : start + 2]]) for start in (0, 2)]
    assert all(sorted(order.tolist()) == list(range(65)) for order in orders)
    assert not torch.equal(*orders)


def test_augmented_images_are_the_old_ones_moved_and_mirrored() -> None:
    """Every result is found among all crops of the padded image and of its mirror image."""
    images = normal(12, 2, 6, 5)
    found = crop_and_flip(images, generator_of(0), reach=2)
    assert found.shape == images.shape
    padded = functional.pad(images, (2, 2, 2, 2))
    for image, result in zip(padded, found, strict=True):
        crops = [image[:, y : y + 6, x : x + 5] for y in range(5) for x in range(5)]
        assert any(torch.equal(result, crop) or torch.equal(result, crop.flip(2)) for crop in crops)
