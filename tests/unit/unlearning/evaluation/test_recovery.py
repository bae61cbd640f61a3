"""Every way back works on a model that forgot nothing, and brings back less from one that never saw the class."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fixtures.digits_models import FORGET, Digits
from tests.fixtures.small_models import normal
from unlearning.errors import EmptySide, OptionOutOfRange, ShapeError
from unlearning.evaluation import (
    Attacker,
    confusion_matrix,
    mask_bias,
    predict_logits,
    recovery_gaps,
    recovery_measures,
    recovery_outcomes,
)

ORDERS = 3


@pytest.fixture(scope="module")
def recovered(digits: Digits) -> dict[str, dict[str, float]]:
    """For each model, the accuracy that each attack brings back."""
    models = {"original": digits.original, "masked": digits.masked, "retrained": digits.retrained}
    attacker = Attacker(*digits.train, digits.original)
    return {
        name: {
            measure.name.removesuffix("_forget_accuracy"): measure.value
            for measure in recovery_measures(model, attacker, digits.test, {FORGET}, orders=ORDERS, seed=0)
        }
        for name, model in models.items()
    }


def forget_accuracy(model: nn.Module, digits: Digits) -> float:
    confusion = confusion_matrix(digits.test[1], predict_logits(model, digits.test[0]))
    return float(confusion[FORGET, FORGET] / confusion[FORGET].sum())


def test_outputs_alone_cannot_tell_the_mask_from_retraining(digits: Digits) -> None:
    assert forget_accuracy(digits.original, digits) > 0.9
    assert forget_accuracy(digits.masked, digits) == 0
    assert forget_accuracy(digits.retrained, digits) == 0


@pytest.mark.parametrize(
    "attack",
    [
        "last_layer_back",
        "classifier_back",
        "bias_zeroed",
        "probe",
        "early_probe",
        "few_shot_5",
        "prototype",
        "relearn_last_20",
        "relearn_all_20",
    ],
)
def test_every_attack_succeeds_on_the_original(recovered: dict[str, dict[str, float]], attack: str) -> None:
    assert recovered["original"][attack] > 0.8


@pytest.mark.parametrize(
    "attack", ["last_layer_back", "classifier_back", "bias_zeroed", "probe", "early_probe", "few_shot_5", "prototype"]
)
def test_looking_past_the_last_layer_undoes_the_mask(recovered: dict[str, dict[str, float]], attack: str) -> None:
    # A zeroed bias is not quite the original's, and the prototype's blend is chosen by what the mask leaves.
    within = 0.05 if attack in {"bias_zeroed", "prototype"} else 1e-6
    assert recovered["masked"][attack] == pytest.approx(recovered["original"][attack], abs=within)


def test_relearning_misses_a_deep_mask_unless_the_head_is_reset_first(
    digits: Digits, recovered: dict[str, dict[str, float]]
) -> None:
    deep = mask_bias(digits.original, {FORGET}, digits.train[0], constant=10_000)
    kinds = ("last", "last_after_reset", "all", "all_after_reset")
    attacker = Attacker(*digits.train, digits.original)
    measures = recovery_measures(deep, attacker, digits.test, {FORGET}, attacks=kinds, orders=ORDERS, seed=0)
    found = {measure.name.removesuffix("_forget_accuracy"): measure.value for measure in measures}
    for way in ("last", "all"):
        assert found[f"relearn_{way}_20"] == 0
        reset = f"relearn_{way}_after_reset_20"
        assert found[reset] == recovered["masked"][reset] == recovered["original"][reset] > 0.7


@pytest.mark.parametrize(
    "attack",
    [
        "last_layer_back",
        "classifier_back",
        "bias_zeroed",
        "few_shot_5",
        "relearn_last_after_reset_20",
        "relearn_all_20",
    ],
)
def test_less_comes_back_from_a_model_that_never_saw_the_class(
    recovered: dict[str, dict[str, float]], attack: str
) -> None:
    assert recovered["retrained"][attack] < recovered["original"][attack] - 0.2


def test_a_probe_reads_much_of_a_class_that_the_model_never_saw(recovered: dict[str, dict[str, float]]) -> None:
    """Why the retrained model's value is the target, and chance is not."""
    assert 0.5 < recovered["retrained"]["probe"] < recovered["original"]["probe"]


def test_differences_from_the_retrained_model_are_paired_by_sample(digits: Digits) -> None:
    attacker = Attacker(*digits.train, digits.original)
    attacks = ("last_layer_back", "probe", "early_probe", "few_shot", "prototype", "last_after_reset")
    outcomes = {
        name: recovery_outcomes(model, attacker, digits.test, {FORGET}, attacks=attacks, seed=0)
        for name, model in (("masked", digits.masked), ("retrained", digits.retrained))
    }
    measures = recovery_measures(digits.masked, attacker, digits.test, {FORGET}, attacks=attacks, seed=0)
    assert tuple(outcome.measure() for outcome in outcomes["masked"]) == measures
    found = {gap.name: gap for gap in recovery_gaps(outcomes["masked"], outcomes["retrained"])}
    for ours, reference in zip(outcomes["masked"], outcomes["retrained"], strict=True):
        gap = found[f"{ours.name}_gap"]
        assert gap.value == pytest.approx(ours.measure().value - reference.measure().value)
    for name in ("last_layer_back", "few_shot_5", "prototype", "relearn_last_after_reset_20"):
        assert (found[f"{name}_gap"].low or 0) > 0
    nothing = recovery_gaps(outcomes["retrained"], outcomes["retrained"])
    assert all(gap.value == 0 and (gap.low or 0) < 0 < (gap.high or 0) for gap in nothing)


def test_attacks_that_a_model_has_no_place_for_are_left_out(digits: Digits) -> None:
    single = nn.Sequential(nn.Flatten(), nn.Linear(64, 10, bias=False))
    attacker = Attacker(*digits.train, single)
    attacks = ("bias_zeroed", "probe", "early_probe", "prototype")
    found = recovery_measures(single, attacker, digits.test, {FORGET}, attacks=attacks, seed=0)
    assert [measure.name for measure in found] == ["probe_forget_accuracy", "prototype_forget_accuracy"]
    scaled = Scaled(digits.original, 3.0)
    found = recovery_measures(scaled, attacker_of(digits, scaled), digits.test, {FORGET}, attacks=attacks, seed=0)
    assert [measure.name for measure in found] == [f"{name}_forget_accuracy" for name in attacks[:3]]


def attacker_of(digits: Digits, original: nn.Module) -> Attacker:
    return Attacker(*digits.train, original)


def test_only_the_attacks_asked_for_are_made(digits: Digits) -> None:
    attacker = Attacker(*digits.train, digits.original)
    found = recovery_measures(
        digits.original,
        attacker,
        digits.test,
        {FORGET},
        attacks=("few_shot", "last"),
        shots=(2, 5000),
        steps=(0, 3),
        watched=50,
        seed=1,
    )
    names = ["few_shot_2", "relearn_last_0", "relearn_last_3", "relearn_last_best_3"]
    assert [measure.name for measure in found] == [f"{name}_forget_accuracy" for name in names]
    count = len(digits.forgotten[1])
    assert [measure.n for measure in found] == [count, count, count, 50]
    assert all(0 <= (measure.low or 0) <= measure.value <= (measure.high or 0) <= 1 for measure in found)
    assert found[1].value == forget_accuracy(digits.original, digits)


class Scaled(nn.Module):
    """Its outputs are not what its last layer returns."""

    def __init__(self, model: nn.Module, factor: float) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = self.factor * self.model(x)
        return scaled


def test_relearning_the_last_layer_goes_through_what_follows_it(digits: Digits) -> None:
    """A model that scales its outputs by zero cannot learn by its last layer, whatever that layer returns."""
    found = {}
    for factor in (1.0, 0.0):
        model = Scaled(digits.original, factor)
        attacker = Attacker(*digits.train, model)
        measures = recovery_measures(model, attacker, digits.test, {FORGET}, attacks=("last",), seed=0)
        found[factor] = measures[0].value
    assert found[1.0] > 0.8
    assert found[0.0] == 0


def test_what_cannot_be_attacked_is_refused(digits: Digits) -> None:
    attacker = Attacker(*digits.train, digits.original)
    kept = torch.from_numpy(digits.test[1] != FORGET)
    without = digits.test[0][kept], digits.test[1][kept.numpy()]
    with pytest.raises(OptionOutOfRange, match="guessing"):
        recovery_measures(digits.original, attacker, digits.test, {FORGET}, attacks=("guessing",), seed=0)
    with pytest.raises(EmptySide, match="forget test"):
        recovery_measures(digits.original, attacker, without, {FORGET}, seed=0)
    with pytest.raises(ShapeError, match="labels"):
        recovery_measures(digits.original, attacker, (normal(3, 1, 8, 8), digits.test[1]), {FORGET}, seed=0)
