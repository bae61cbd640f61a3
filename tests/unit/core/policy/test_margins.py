"""A margin that no result could meet, that every result meets, or that bounds the wrong side never becomes a policy."""

import math
from typing import Any

import pytest
from pydantic import ValidationError

from core.policy.catalogue import TESTS, TestName, Tier
from core.policy.margins import ImpossibleThreshold, Margin, Policy, refuse_impossible
from core.policy.verdict import Evidence, Outcome, judge

SHARES = [name for name, facts in TESTS.items() if facts.scale.kind == "share"]


DECIDABLE = [name for name in TestName if TESTS[name].scale.instead is None]


def sensible(name: TestName) -> Margin:
    """A margin of the right shape, well inside the range."""
    scale = TESTS[name].scale
    lowest, highest = max(scale.lowest, -1.0), min(scale.highest, 1.0)
    third = (highest - lowest) / 3
    return Margin.model_validate({side: lowest + third * (1 if side == "at_least" else 2) for side in scale.needed})


def refusal(name: str, margin: dict[str, Any]) -> ImpossibleThreshold:
    """The error for one margin."""
    with pytest.raises(ImpossibleThreshold) as caught:
        refuse_impossible({TestName(name): Margin.model_validate(margin)}, member="deciding")
    return caught.value


def test_every_test_has_a_scale_and_a_tier() -> None:
    assert list(TESTS) == list(TestName)
    assert {facts.tier for facts in TESTS.values()} == set(Tier)
    for facts in TESTS.values():
        assert facts.scale.lowest < facts.scale.highest
        assert facts.scale.needed
        assert set(facts.scale.needed).isdisjoint(facts.scale.optional)
        assert facts.scale.ideal is None or facts.scale.direction == "two-sided"


@pytest.mark.parametrize("name", DECIDABLE)
def test_a_sensible_margin_of_every_test_is_taken(name: TestName) -> None:
    refuse_impossible({name: sensible(name)}, member="deciding")


@pytest.mark.parametrize("name", DECIDABLE)
def test_a_sensible_margin_can_be_met_and_can_be_missed(name: TestName) -> None:
    policy, margin = Policy(name="p", version=1, deciding={name: sensible(name)}), sensible(name)
    if margin.at_most is not None:
        good, bad = margin.at_most - 0.02, margin.at_most + 0.1
    else:
        good, bad = (margin.at_least or 0) + 0.02, (margin.at_least or 0) - 0.1

    def outcome(value: float) -> Outcome:
        item = Evidence(name=name, value=value, low=value - 0.01, high=value + 0.01, n=100)
        return judge([item], policy).outcome

    assert (outcome(good), outcome(bad)) == (Outcome.PASS, Outcome.FAIL)


@pytest.mark.parametrize(
    ("name", "margin", "words"),
    [
        ("forget_accuracy_test", {"at_most": 0.0}, "above 0 and below 1"),
        ("forget_accuracy_test", {"at_most": 1.0}, "above 0 and below 1"),
        ("forget_accuracy_test", {"at_most": 1.5}, "above 0 and below 1"),
        ("forget_accuracy_test", {"at_most": -0.1}, "above 0 and below 1"),
        ("forget_accuracy_test", {"at_least": 0.5}, "Expected at_most for"),
        ("forget_accuracy_test", {"at_least": 0.1, "at_most": 0.5}, "Expected only at_most"),
        ("retain_accuracy_drop", {"at_least": -0.1}, "Expected at_most for"),
        ("retain_accuracy_drop", {"at_most": -1.0}, "above -1 and below 1"),
        ("retain_accuracy_drop", {"at_least": 0.02, "at_most": 0.02}, "an interval has a width"),
        ("retain_accuracy_gap", {"at_most": 0.1}, "Expected at_least for"),
        ("membership_auc", {"at_most": 0.7}, "Expected at_least and at_most for"),
        ("membership_auc", {"at_least": 0.3}, "Expected at_least and at_most for"),
        ("membership_auc", {"at_least": 0.6, "at_most": 0.9}, "around 0.5"),
        ("u_lira_auc", {"at_least": 0.1, "at_most": 0.5}, "around 0.5"),
        ("probe_gap", {"at_most": -0.1}, "around 0 for probe_gap"),
        ("probe_gap", {"at_least": -0.1}, "Expected at_most for"),
        ("retain_accuracy_gap", {"at_least": 0.01}, "around 0"),
        ("idi", {"at_least": 0.1, "at_most": 1.0}, "around 0"),
        ("tow", {"at_most": 0.5}, "Expected at_least for"),
        ("tow", {"at_least": 1.0}, "above 0 and below 1"),
        ("cka_reference", {"at_least": 0.5, "at_most": 0.9}, "Expected only at_least"),
        ("routing_distance", {"at_most": 1.0}, "above 0 and below 1"),
        ("head_outlier", {"at_most": 0}, "above 0 by 1e-06 or more for head_outlier"),
        ("forget_accuracy_test", {"at_most": 1e-310}, "got 1e-310"),
        ("false_forget_rate", {"at_most": 1e-7}, "by 1e-06 or more"),
        ("tow", {"at_least": 1 - 1e-9}, "below 1 by 1e-06"),
        ("klom_excess", {"at_least": 1}, "Expected at_most for"),
        ("klom", {"at_most": 2.0}, "Expected klom_excess in place of klom"),
        ("challenge_epsilon", {"at_most": 50}, "above 0 and below 50"),
    ],
)
def test_a_margin_that_makes_no_sense_is_refused_in_words(name: str, margin: dict[str, Any], words: str) -> None:
    error = refusal(name, margin)
    assert words in error.detail
    assert name in error.detail
    assert error.pointer == f"#/deciding/{name}"


@pytest.mark.parametrize(
    ("name", "margin"),
    [
        ("head_outlier", {"at_most": 3.5}),
        ("klom_excess", {"at_most": 2.0}),
        ("challenge_epsilon", {"at_most": 6.0}),
        ("challenge_score", {"at_least": 1.1}),
        ("idi", {"at_least": -1.5, "at_most": 1.5}),
        ("probe_gap", {"at_least": -0.3, "at_most": 0.1}),
        ("retain_accuracy_gap", {"at_least": -0.05, "at_most": 0.05}),
        ("retain_accuracy_drop", {"at_most": -0.01}),
    ],
)
def test_what_a_test_can_be_is_its_own(name: str, margin: dict[str, Any]) -> None:
    refuse_impossible({TestName(name): Margin.model_validate(margin)}, member="deciding")


@pytest.mark.parametrize(
    "margin", [{}, {"at_least": 0.9, "at_most": 0.1}, {"at_most": math.nan}, {"at_most": math.inf}, {"about": 0.5}]
)
def test_what_is_no_margin_at_all_is_not_even_read(margin: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Margin.model_validate(margin)


def test_what_was_stored_under_older_rules_can_still_be_read() -> None:
    tiny = Policy(name="p", version=1, deciding={TestName.FORGET_ACCURACY_TEST: Margin(at_most=1e-310)})
    assert tiny.fewest_test_images() > 1_000_000
    old = {"name": "standard", "version": 1, "deciding": {"forget_accuracy_test": {"at_most": 0.0}}}
    assert Policy.model_validate(old).deciding[TestName.FORGET_ACCURACY_TEST].at_most == 0.0


@pytest.mark.parametrize(
    ("names", "reference", "audit"),
    [
        ([TestName.FORGET_ACCURACY_TEST], False, False),
        ([TestName.FORGET_ACCURACY_TEST, TestName.IDI], True, False),
        ([TestName.KLOM_EXCESS], False, True),
        ([TestName.TOW, TestName.RMIA_AUC], True, True),
    ],
)
def test_a_policy_knows_what_its_tests_need(names: list[TestName], reference: bool, audit: bool) -> None:
    policy = Policy(name="p", version=1, deciding={name: sensible(name) for name in names})
    assert (policy.needs_reference, policy.needs_audit) == (reference, audit)


def test_a_tightened_policy_needs_what_its_new_tests_need() -> None:
    policy = Policy(name="p", version=1, deciding={TestName.FORGET_ACCURACY_TEST: Margin(at_most=0.1)})
    assert policy.tightened({TestName.PROBE_GAP: Margin(at_most=0.1)}).needs_reference


@pytest.mark.parametrize("limit", [0.02, 0.05, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("name", SHARES)
def test_the_fewest_images_are_those_with_which_a_flawless_share_just_passes(name: TestName, limit: float) -> None:
    policy = Policy(name="p", version=1, deciding={name: Margin(at_most=limit)})
    fewest = max(policy.fewest_test_images(), policy.fewest_train_images(), policy.fewest_retained_test_images())

    def outcome(images: int) -> Outcome:
        # Wilson's interval of 0 in n (Wilson 1927).
        upper = 1.959964**2 / (images + 1.959964**2)
        return judge([Evidence(name=name, value=0.0, low=0.0, high=upper, n=images)], policy).outcome

    assert outcome(fewest) is Outcome.PASS
    assert fewest == 1 or outcome(fewest - 1) is Outcome.INCONCLUSIVE


def test_each_share_asks_for_images_of_its_own_side() -> None:
    def needs(name: TestName) -> tuple[int, int, int]:
        policy = Policy(name="p", version=1, deciding={name: Margin(at_most=0.1)})
        return policy.fewest_test_images(), policy.fewest_train_images(), policy.fewest_retained_test_images()

    assert needs(TestName.FORGET_ACCURACY_TRAIN) == (1, 35, 1)
    assert needs(TestName.FALSE_FORGET_RATE) == (1, 1, 35)
    assert needs(TestName.RESTORED_CLASSIFIER_FORGET_ACCURACY) == (35, 1, 1)
    assert needs(TestName.WORST_CLASS_DROP) == (1, 1, 1)
