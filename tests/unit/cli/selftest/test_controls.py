"""Each control is what its name says, and none of them touches the models that it is made from."""

import numpy as np
import pytest
import torch
from torch import nn

from cli.selftest.controls import (
    MUST_FAIL,
    Control,
    Expected,
    all_shuffled,
    classifier_refitted,
    head_refitted,
    other_damaged,
    relabelled,
    retrained_controls,
    units_shuffled,
)
from cli.selftest.gate import Trial, measured
from cli.selftest.ground import Ground
from cli.selftest.service import service_default
from core.policy.policies import TestName, policy_named
from core.policy.verdict import Outcome, judge
from models_store.datasets import ImageSet
from models_store.input_spec import InputSpec
from tests.fixtures.digits_models import FORGET, Digits, Labels, digits_models
from unlearning.evaluation import predict_logits, trace
from worker.pipeline.data import Images

SPEC = InputSpec(height=8, width=8, channels=1, mean=(0.5,), std=(0.5,))


@pytest.fixture(scope="module")
def ground() -> Ground:
    torch.set_num_threads(1)
    found: Digits = digits_models()
    sides = (_images(found.train), _images(found.test))
    return Ground(found.original, *sides, FORGET, 10, (found.retrained,), found.retrained)


def _images(split: tuple[torch.Tensor, Labels]) -> Images:
    pixels = ((split[0] + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return Images.whole(ImageSet(np.ascontiguousarray(pixels), split[1]), SPEC)


def accuracies(model: nn.Module, images: Images) -> np.ndarray:
    """By class."""
    right = predict_logits(model, images.batches()).argmax(dim=1).numpy() == images.labels
    return np.array([right[images.labels == index].mean() for index in range(10)])


def features(model: nn.Module, ground: Ground, layer: str) -> torch.Tensor:
    return trace(model, ground.test.batches(), {layer}).features[layer]


def others(found: np.ndarray) -> float:
    return float(np.delete(found, FORGET).mean())


@pytest.mark.parametrize(
    ("make", "untouched"), [(head_refitted, "classifier.fc2"), (classifier_refitted, "classifier.fc1")]
)
def test_a_refitted_part_passes_tests_of_outputs_on_features_that_are_untouched(
    ground: Ground, make: object, untouched: str
) -> None:
    model = make(ground)  # type: ignore[operator]
    found, before = accuracies(model, ground.test), accuracies(ground.original, ground.test)
    assert found[FORGET] < 0.1 < 0.9 < before[FORGET]
    assert others(found) > others(before) - 0.05
    torch.testing.assert_close(features(model, ground, untouched), features(ground.original, ground, untouched))


@pytest.mark.parametrize("make", [units_shuffled, all_shuffled])
def test_shuffled_units_are_the_same_function_with_other_features(ground: Ground, make: object) -> None:
    plain, shuffled = head_refitted(ground), make(ground)  # type: ignore[operator]
    outputs = [predict_logits(model, ground.test.batches()) for model in (plain, shuffled)]
    torch.testing.assert_close(*outputs, rtol=1e-4, atol=1e-3)
    ours, theirs = (features(model, ground, "classifier.fc2") for model in (shuffled, plain))
    assert not torch.allclose(ours, theirs, atol=0.1)
    torch.testing.assert_close(ours.sort(dim=1).values, theirs.sort(dim=1).values, rtol=1e-4, atol=1e-3)


def test_random_labels_change_the_features_and_hide_the_class(ground: Ground) -> None:
    model = relabelled(ground)
    found = accuracies(model, ground.test)
    assert found[FORGET] < 0.3
    assert others(found) > 0.85
    new, old = (features(one, ground, "classifier.fc1") for one in (model, ground.original))
    assert not torch.allclose(new, old, atol=0.1)


def test_the_damaged_class_loses_about_half_and_the_others_nothing(ground: Ground) -> None:
    before, after = (accuracies(model, ground.train) for model in (ground.retrained[0], other_damaged(ground)))
    assert before[ground.other] - after[ground.other] == pytest.approx(0.5 * before[ground.other], abs=0.1)
    kept = [index for index in ground.kept if index != ground.other]
    assert (after[kept] >= before[kept] - 0.01).all()
    assert after[FORGET] == 0


def test_no_control_changes_what_it_is_made_from(ground: Ground) -> None:
    models = (ground.original, *ground.retrained)
    before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
    for control in (*MUST_FAIL, *retrained_controls(1)):
        control.make(ground)
    service_default(ground)
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert not model.training


def test_the_services_default_is_an_edit_by_the_workers_own_code(ground: Ground) -> None:
    found = accuracies(service_default(ground), ground.test)
    assert found[FORGET] < 0.1
    assert others(found) > 0.9


def test_equal_seeds_make_equal_controls(ground: Ground) -> None:
    for make in (relabelled, classifier_refitted, units_shuffled, all_shuffled):
        first, again = make(ground).state_dict(), make(ground).state_dict()
        assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_a_model_whose_units_are_all_shuffled_got_past_the_standard_before_and_does_not_now(ground: Ground) -> None:
    before, now = policy_named("standard/2"), policy_named("standard")
    trial = Trial(ground, [Control("shuffled", Expected.FAIL, all_shuffled), *retrained_controls(1)])
    shuffled, retrained = (evidence for _, evidence in measured(trial, lambda _name: None))
    assert judge(shuffled, before).outcome is Outcome.PASS
    assert judge(shuffled, now).decided_by == (TestName.REALIGNED_HEAD_FORGET_ACCURACY,)
    assert judge(shuffled, now).outcome is Outcome.FAIL
    assert judge(retrained, now).outcome is Outcome.PASS
