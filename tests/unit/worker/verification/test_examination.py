"""The whole examination: what is measured, what becomes evidence, and what a broken network or reference does to it."""

import copy
import json
import math
from typing import Any

import pytest
import torch
from torch import nn

from core.errors import JobCancelled
from core.policy.catalogue import TESTS, Tier
from core.policy.margins import Margin, Policy
from core.policy.policies import SHIPPED, STANDARD, WITH_REFERENCE, TestName
from core.policy.verdict import Outcome, judge
from models_store.normalise import normalise
from tests.fixtures.digits_models import FORGET, Digits
from tests.unit.worker.verification.conftest import MakeSubject, silent
from worker.pipeline.verification import Case, Examined, Scene, decide, evidence_of, examine
from worker.progress import Progress


@pytest.fixture(scope="module")
def examined(digits: Digits, scene: Scene) -> Examined:
    """The mask beside the original and the retrained model, everything measured."""
    from worker.pipeline.verification import Subject

    def subject(model: nn.Module) -> Subject:
        return Subject(scene, model, silent(), (0.0, 1.0))

    case = Case(subject(digits.original), subject(digits.masked), subject(digits.retrained))
    return examine(case, WITH_REFERENCE.deciding, silent(), 0.0)


def broken(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    with torch.no_grad():
        next(copied.parameters()).fill_(math.nan)
    return copied


def test_every_test_that_can_be_made_here_is_made_and_fits_its_scale(examined: Examined) -> None:
    ours = examined.measures["unlearned"]
    for name, facts in TESTS.items():
        if facts.tier is Tier.AUDIT:
            assert name.value not in ours
            continue
        measure = ours[name.value]
        if name is TestName.IDI and measure["value"] is None:
            assert "more about the forgotten classes" in measure["problem"]  # as it says, on so small a network
            continue
        assert facts.scale.lowest <= measure["low"] <= measure["value"] <= measure["high"] <= facts.scale.highest
        assert measure["n"] > 0


def test_the_same_attacks_succeed_before_and_what_a_retrained_model_scores_stands_beside(examined: Examined) -> None:
    before, after, reference = (examined.measures[name] for name in ("original", "unlearned", "reference"))
    assert before["forget_accuracy_test"]["value"] > 0.9
    assert after["forget_accuracy_test"]["value"] == reference["forget_accuracy_test"]["value"] == 0
    for name in ("probe", "early_probe", "aligned_head", "few_shot_50", "prototype", "bias_zeroed"):
        assert before[f"{name}_forget_accuracy"]["value"] > 0.8
        assert after[f"{name}_forget_accuracy"]["value"] == before[f"{name}_forget_accuracy"]["value"]
    for name in ("restored_head_forget_accuracy", "restored_classifier_forget_accuracy"):
        assert after[name]["value"] > 0.9
        assert reference[name]["high"] < 0.4
    assert after["head_outlier"]["low"] > 20 > reference["head_outlier"]["high"]


def test_the_original_is_measured_by_nothing_that_the_candidate_is_not(examined: Examined) -> None:
    before, after, reference = (set(examined.measures[name]) for name in ("original", "unlearned", "reference"))
    assert before < reference < after


def test_everything_is_json_and_holds_no_score_of_a_single_image(examined: Examined, scene: Scene) -> None:
    text = json.dumps([examined.measures, examined.curves, examined.seconds], allow_nan=False)
    numbers = json.loads(text)
    longest = max(len(found) for found in _lists(numbers))
    assert longest < len(scene.looked.attacked) < len(scene.looked.beside)


def _lists(value: Any) -> list[list[Any]]:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [*([value] if isinstance(value, list) else []), *(found for each in inside for found in _lists(each))]


def test_the_curves_have_the_shapes_that_are_drawn(examined: Examined) -> None:
    curves = examined.curves
    assert set(curves) == {"confusion", "per_class_accuracy", "membership_roc", "few_shot", "layers"}
    for name in ("original", "unlearned", "reference"):
        matrix = curves["confusion"][name]
        assert [len(row) for row in matrix] == [10] * 10
        assert sum(map(sum, matrix)) == 897
        diagonal = [row[place] / sum(row) for place, row in enumerate(matrix)]
        assert curves["per_class_accuracy"][name] == pytest.approx(diagonal)
        assert set(curves["few_shot"][name]) == {"1", "5", "10", "50"}
    assert 2 <= len(curves["membership_roc"]["fpr"]) <= 60
    changed = [layer["layer"] for layer in curves["layers"] if layer["relative_change"]]
    assert changed == ["classifier.fc2.bias"]


def test_evidence_is_what_was_made_and_what_the_policy_misses(examined: Examined) -> None:
    ours = examined.measures["unlearned"]
    every = {item.name for item in evidence_of(ours, STANDARD.deciding, why_no_reference="none")}
    assert every == {name for name, facts in TESTS.items() if facts.tier is not Tier.AUDIT}
    audit = evidence_of(ours, [TestName.KLOM], why_no_reference="none")
    assert [item.problem for item in audit if item.name is TestName.KLOM] == [
        "Expected shadow models, got none: no audit was made."
    ]


def test_without_a_reference_the_standard_still_judges_and_the_others_say_why(
    digits: Digits, subject: MakeSubject
) -> None:
    case = Case(subject(digits.original), subject(digits.retrained))
    assert judge(decide(case, STANDARD.deciding), STANDARD).outcome is Outcome.PASS
    verdict = judge(decide(case, WITH_REFERENCE.deciding), WITH_REFERENCE)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    problems = {judgement.problem for judgement in verdict.judgements if judgement.name in verdict.decided_by}
    assert problems == {"Expected a reference that was trained without exactly the forgotten classes, got none."}


@pytest.mark.parametrize("policy", SHIPPED.values(), ids=str)
def test_outputs_that_are_not_finite_are_inconclusive_in_words_and_no_crash(
    policy: Any, digits: Digits, subject: MakeSubject
) -> None:
    case = Case(subject(digits.original), subject(broken(digits.original)), subject(digits.retrained))
    verdict = judge(decide(case, policy.deciding), policy)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    problems = {judgement.problem for judgement in verdict.judgements if judgement.outcome is Outcome.INCONCLUSIVE}
    assert problems == {"Expected finite numbers, got NaN or infinity in the model's outputs."}


def test_a_broken_reference_costs_only_what_is_compared_with_it(digits: Digits, subject: MakeSubject) -> None:
    case = Case(subject(digits.original), subject(digits.retrained), subject(broken(digits.retrained)))
    assert judge(decide(case, STANDARD.deciding), STANDARD).outcome is Outcome.PASS
    verdict = judge(decide(case, WITH_REFERENCE.deciding), WITH_REFERENCE)
    assert set(verdict.decided_by) == set(WITH_REFERENCE.of_tier(Tier.REFERENCE))


def test_a_class_deleted_before_need_not_be_in_the_data_any_more(digits: Digits) -> None:
    from tests.unit.worker.verification.conftest import images
    from worker.pipeline.verification import Deletion, Looked, Subject

    deletion = Deletion([3, FORGET], [FORGET], 10, seed=0)
    sides = [images(x[torch.from_numpy(y != 3)], y[y != 3]) for x, y in (digits.train, digits.test)]
    scene = Scene(deletion, Looked.at(sides[0], sides[1], deletion), digits.original)
    before, after = (Subject(scene, model, silent(), (0, 1)) for model in (digits.original, digits.masked))
    measures = examine(Case(before, after), STANDARD.deciding, silent(), 0.0).measures["unlearned"]
    assert all(measure["value"] is not None for name, measure in measures.items() if "forget" in name)


def test_equal_seeds_give_equal_evidence_and_another_seed_another_interval(digits: Digits) -> None:
    from tests.unit.worker.verification.conftest import scene_of
    from worker.pipeline.verification import Subject

    def found(seed: int) -> list[Any]:
        scene = scene_of(digits, seed=seed)
        before, after = (Subject(scene, model, silent(), (0, 1)) for model in (digits.original, digits.retrained))
        return decide(Case(before, after), STANDARD.deciding)

    assert found(1) == found(1)
    assert found(1) != found(2)


def test_a_job_that_must_stop_does_so_between_two_measures(digits: Digits, scene: Scene) -> None:
    from worker.pipeline.verification import Subject

    asked = iter(range(10_000))
    progress = Progress(lambda _step, _percent: None, lambda: next(asked) > 40)
    before, after = (Subject(scene, model, progress, (0.0, 0.5)) for model in (digits.original, digits.masked))
    case = Case(before, after)
    with pytest.raises(JobCancelled):
        examine(case, STANDARD.deciding, progress, 0.5)


def test_pixels_of_the_fixture_are_what_the_models_were_trained_on(digits: Digits, scene: Scene) -> None:
    looked = normalise(scene.looked.test.pixels.x, scene.looked.test.spec)
    torch.testing.assert_close(looked, digits.test[0], atol=0.01, rtol=0)
    assert set(scene.looked.attacked.labels.tolist()) == {FORGET}


def test_relearning_that_diverges_is_no_evidence_of_forgetting(digits: Digits, subject: MakeSubject) -> None:
    steep = copy.deepcopy(digits.original)
    with torch.no_grad():
        for parameter in steep.parameters():
            parameter.mul_(1e4)
    policy = Policy(name="p", version=1, deciding={TestName.RELEARNING_GAP: Margin(at_most=0.3)})
    case = Case(subject(digits.original), subject(steep), subject(digits.retrained))
    (judgement,) = judge(decide(case, policy.deciding), policy).judgements
    assert judgement.outcome is Outcome.INCONCLUSIVE
    assert judgement.problem == "Expected finite numbers, got NaN or infinity in the outputs after relearning."
