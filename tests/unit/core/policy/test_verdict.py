"""A verdict passes only when every deciding interval lies inside its margin."""

import math

import pytest

from core.policy.policies import (
    ImpossibleThreshold,
    LooserThreshold,
    Margin,
    Policy,
    TestName,
)
from core.policy.verdict import Evidence, Outcome, PassedVerdict, judge

AUC = TestName.MEMBERSHIP_AUC
FORGET = TestName.FORGET_ACCURACY_TEST
POLICY = Policy(name="p", version=1, deciding={FORGET: Margin(at_most=0.1), AUC: Margin(at_least=0.4, at_most=0.6)})


def measured(name: TestName, low: float | None, high: float | None) -> Evidence:
    value = None if low is None or high is None else (low + high) / 2
    return Evidence(name=name, value=value, low=low, high=high, n=100)


GOOD_AUC = measured(AUC, 0.45, 0.55)
GOOD_FORGET = measured(FORGET, 0.0, 0.04)


@pytest.mark.parametrize(
    ("evidence", "outcome"),
    [
        (measured(FORGET, 0.0, 0.1), Outcome.PASS),
        (measured(FORGET, 0.0, 0.101), Outcome.INCONCLUSIVE),
        (measured(FORGET, 0.1001, 0.3), Outcome.FAIL),
        (measured(FORGET, None, None), Outcome.INCONCLUSIVE),
        (measured(FORGET, 0.0, math.nan), Outcome.INCONCLUSIVE),
        (measured(FORGET, 0.0, math.inf), Outcome.INCONCLUSIVE),
    ],
)
def test_the_whole_interval_must_lie_inside_the_margin(evidence: Evidence, outcome: Outcome) -> None:
    assert judge([evidence, GOOD_AUC], POLICY).outcome is outcome


@pytest.mark.parametrize(("low", "high"), [(0.05, 0.15), (0.85, 0.95)])
def test_membership_far_below_one_half_fails_like_far_above(low: float, high: float) -> None:
    verdict = judge([GOOD_FORGET, measured(AUC, low, high)], POLICY)
    assert (verdict.outcome, verdict.decided_by) == (Outcome.FAIL, (AUC,))


def test_a_deciding_test_that_was_not_measured_never_releases() -> None:
    verdict = judge([GOOD_FORGET], POLICY)
    assert (verdict.outcome, verdict.decided_by) == (Outcome.INCONCLUSIVE, (AUC,))


def test_a_policy_without_deciding_tests_never_releases() -> None:
    assert judge([GOOD_FORGET], Policy(name="p", version=1, deciding={})).outcome is Outcome.INCONCLUSIVE


def test_a_test_that_is_not_named_informs_and_never_blocks() -> None:
    informing = measured(TestName.FALSE_FORGET_RATE, 0.9, 1.0)
    verdict = judge([GOOD_FORGET, GOOD_AUC, informing], POLICY)
    assert verdict.outcome is Outcome.PASS
    assert verdict.judgements[-1].outcome is None


def test_only_a_passed_verdict_becomes_what_publishing_takes() -> None:
    failed = judge([measured(FORGET, 0.5, 0.6), GOOD_AUC], POLICY)
    assert failed.passed() is None
    with pytest.raises(RuntimeError, match="Expected a passed verdict, got fail"):
        PassedVerdict(failed)
    assert judge([GOOD_FORGET, GOOD_AUC], POLICY).passed() is not None


def test_a_threshold_may_be_tightened_or_added() -> None:
    tighter = POLICY.tightened(
        {FORGET: Margin(at_most=0.05), TestName.FALSE_FORGET_RATE: Margin(at_most=0.2)},
    )
    assert tighter.deciding[FORGET].at_most == 0.05
    assert TestName.FALSE_FORGET_RATE in tighter.deciding
    assert tighter.deciding[AUC] == POLICY.deciding[AUC]


@pytest.mark.parametrize("margin", [Margin(at_most=0.2), Margin(at_least=0.0)])
def test_a_looser_threshold_is_refused(margin: Margin) -> None:
    with pytest.raises(LooserThreshold, match="forget_accuracy_test"):
        POLICY.tightened({FORGET: margin})


def test_a_threshold_that_no_result_can_meet_is_refused() -> None:
    with pytest.raises(ImpossibleThreshold, match="above 0 and below 1 by 1e-06 or more for false_forget_rate"):
        POLICY.tightened({TestName.FALSE_FORGET_RATE: Margin(at_most=0.0)})
    POLICY.tightened({TestName.RETAIN_ACCURACY_DROP: Margin(at_most=-0.01)})


def test_an_open_side_is_looser_than_a_closed_one() -> None:
    with pytest.raises(LooserThreshold):
        POLICY.tightened({AUC: Margin(at_most=0.55)})


def test_a_flawless_result_passes_with_just_the_fewest_images() -> None:
    limit = POLICY.deciding[FORGET].at_most
    fewest = POLICY.fewest_test_images()
    assert limit is not None
    upper_end = [1.959964**2 / (n + 1.959964**2) for n in (fewest, fewest - 1)]
    assert upper_end[0] <= limit < upper_end[1]


def test_a_judgement_says_margin_outcome_and_which_way_is_better() -> None:
    verdict = judge([GOOD_FORGET, GOOD_AUC, measured(TestName.TOW, 0.9, 0.95)], POLICY).as_json()
    found = {test["name"]: (test["outcome"], test["margin"], test["direction"]) for test in verdict["tests"]}
    assert found == {
        "forget_accuracy_test": ("pass", {"at_most": 0.1}, "lower"),
        "membership_auc": ("pass", {"at_least": 0.4, "at_most": 0.6}, "two-sided"),
        "tow": (None, None, "higher"),
    }
    assert (verdict["policy"]["name"], verdict["policy"]["version"]) == ("p", 1)
