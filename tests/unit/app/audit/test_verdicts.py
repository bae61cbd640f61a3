"""The verdict as it is shown: deciding tests first, and where their intervals lie."""

from app.audit.costs import cost_lines
from app.audit.schemas import TestOut
from app.audit.verdicts import verdict_out
from core.policy.catalogue import TestName
from core.policy.policies import STANDARD_1
from core.policy.verdict import Evidence, judge
from tests.unit.app.reports.examples import verdict


def evidence(name: TestName, low: float | None, high: float | None) -> Evidence:
    return Evidence(name=name, value=low, low=low, high=high, n=50, seed=3)


def judged_by_name() -> dict[str, TestOut]:
    found = [
        evidence(TestName.KLOM, 0.1, 0.2),
        evidence(TestName.FORGET_ACCURACY_TEST, 0.0, 0.05),
        evidence(TestName.FORGET_ACCURACY_TRAIN, 0.2, 0.3),
        evidence(TestName.RETAIN_ACCURACY_DROP, 0.0, 0.2),
        evidence(TestName.MEMBERSHIP_AUC, 0.45, 0.55),
        evidence(TestName.RESTORED_HEAD_FORGET_ACCURACY, None, None),
    ]
    out = verdict_out(judge(found, STANDARD_1).as_json())
    assert out is not None
    return {test.name: test for test in out.tests}


def test_deciding_tests_come_first_and_the_bad_ones_before_the_good() -> None:
    out = verdict_out(verdict(reference=True))
    assert out is not None
    assert [test.deciding for test in out.tests] == sorted((test.deciding for test in out.tests), reverse=True)
    deciding = [str(test.outcome) for test in out.tests if test.deciding]
    assert deciding == sorted(deciding, key=["fail", "inconclusive", "pass"].index)
    assert {"fail", "inconclusive", "pass"} == set(deciding)


def test_the_position_says_where_the_interval_lies() -> None:
    tests = judged_by_name()
    assert tests["forget_accuracy_test"].position == "wholly inside the margin"
    assert tests["forget_accuracy_train"].position == "wholly outside the margin"
    assert tests["retain_accuracy_drop"].position == "reaches over the margin"
    assert tests["restored_head_forget_accuracy"].position == "no interval"
    assert tests["klom"].position == ""


def test_margins_are_told_in_words_and_in_numbers() -> None:
    auc = judged_by_name()["membership_auc"]
    assert (auc.margin, auc.at_least, auc.at_most) == ("at least 0.3 and at most 0.7", 0.3, 0.7)
    assert (auc.n, auc.seed, auc.direction) == (50, 3, "neither high nor low")


def test_the_policy_and_its_version_are_named() -> None:
    out = verdict_out(verdict(reference=False))
    assert out is not None
    assert out.policy == "house (version 3)"
    assert out.decided_by == ["Loss of the class that paid most"]
    assert verdict_out(None) is verdict_out({}) is None


def test_a_verdict_of_an_earlier_release_is_still_shown() -> None:
    stored = verdict(reference=False)
    for test in stored["tests"]:
        for member in ("n", "seed", "direction"):
            del test[member]
    stored["tests"][0]["name"] = "retired_test"
    out = verdict_out(stored)
    assert out is not None
    assert "Retired test" in {test.title for test in out.tests}


def test_the_account_of_a_worker_is_told_in_words_beside_retraining() -> None:
    account = {
        "retrain_seconds": 1000,
        "samples": 900,
        "seconds": 4.0,
        "verification_samples": {"attacked": 1000},
        "verification_seconds": {"all": 61.0, "deciding": 20.5},
    }
    assert [f"{line.name}: {line.value}" for line in cost_lines(account)] == [
        "Deletion: 4 s",
        "Images used by the deletion: 900",
        "Verification: tests that decide: 20.5 s",
        "Verification: all tests: 61 s",
        "Images used by the verification: attacked: 1,000",
        "Retraining the reference, here: 1,000 s",
        "Retraining took as long as: 250 such deletions",
    ]
    assert [line.name for line in cost_lines({"seconds": 0.0, "retrain_seconds": 5})][
        -1
    ] != "Retraining took as long as"


def test_costs_are_flattened_and_seconds_say_so() -> None:
    lines = cost_lines({"cpu_seconds": {"fit": 3.214159}, "rows": {"kept": 3600}, "is_estimate": True, "x": None})
    assert [(line.name, line.value) for line in lines] == [
        ("cpu seconds: fit", "3.214 s"),
        ("is estimate", "True"),
        ("rows: kept", "3,600"),
    ]
    assert cost_lines(None) == cost_lines({}) == []
