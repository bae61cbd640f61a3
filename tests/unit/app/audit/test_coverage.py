"""What was measured and what was not: every test is one of both, and what was not has a reason."""

from typing import Any
from uuid import UUID

from app.audit.coverage import STATEMENT, coverage_of, statement_of
from app.audit.measures import measure_rows
from app.audit.schemas import CoverageOut
from app.audit.shadow_audit import audit_used, with_audit
from core.policy.catalogue import TESTS, TestName, Tier
from core.requests.tables import Job
from core.states import JobKind, JobState
from tests.unit.app.reports.examples import number, result_of


def covered(result: dict[str, Any], *audits: Job) -> CoverageOut:
    whole = with_audit(result, audits)
    found = coverage_of(whole, measure_rows(whole), audit_used(audits))
    assert found is not None
    return found


def test_every_test_is_measured_or_has_a_reason() -> None:
    coverage = covered(result_of(reference=False))
    assert [row.name for row in coverage.tests] == [name.value for name in TestName]
    assert all(row.measured == (row.reason is None) for row in coverage.tests)
    measured = {row.name for row in coverage.tests if row.measured}
    assert measured == {name.value for name, facts in TESTS.items() if facts.tier is Tier.ALWAYS}


def test_a_reason_says_what_would_have_been_needed() -> None:
    reasons = {row.name: row.reason for row in covered(result_of(reference=False)).tests}
    assert "trained without the classes" in str(reasons["probe_gap"])
    assert "shadow models" in str(reasons["u_lira_auc"])


def test_the_worker_s_own_reason_counts_more() -> None:
    result = result_of()
    for one in result["verdict"]["tests"]:
        if one["name"] == "idi":
            one.update(value=None, low=None, high=None, problem="The reference reads as much.")
    reasons = {row.name: row.reason for row in covered(result).tests}
    assert reasons["idi"] == "The reference reads as much."


def test_only_attacks_that_were_made_are_claimed() -> None:
    coverage = covered({"measures": {"unlearned": {"probe_forget_accuracy": number(0.5), "svc_score": number(1.0)}}})
    assert coverage.attacks == ["a linear probe on the last features"]
    assert "relearning of all weights" in coverage.attacks_not_made
    assert not set(coverage.attacks) & set(coverage.attacks_not_made)
    failed = {"value": None, "problem": "Too few images."}
    assert covered({"measures": {"unlearned": {"probe_forget_accuracy": failed}}}).attacks == []


def test_what_was_measured_of_the_original_alone_is_not_claimed_of_the_new_weights() -> None:
    coverage = covered({"measures": {"original": {"probe_forget_accuracy": number(0.5)}}})
    assert coverage.attacks == []


def test_the_reference_is_named_or_its_absence_is() -> None:
    noted = covered(result_of())
    assert noted.reference is not None
    assert (noted.reference.number, noted.reference.sha256, noted.reference.seed) == (4, "ef" * 32, 7)
    assert "reference 4" in noted.reference_sentence
    unnoted = covered({"measures": {"reference": {"probe_forget_accuracy": number(0.5)}}})
    assert unnoted.reference is not None
    assert "not told" in unnoted.reference_sentence
    none = covered(result_of(reference=False))
    assert none.reference is None
    assert "random labels" in none.reference_sentence, "whoever reads the verdict is told what it cannot see"


def test_the_statement_names_the_attacks_and_guarantees_nothing() -> None:
    coverage = covered(result_of())
    statement = statement_of(coverage)
    assert "not a guarantee" in statement
    assert all(attack in statement for attack in coverage.attacks)
    assert coverage.reference_sentence in statement


def test_before_anything_is_measured_nothing_is_claimed() -> None:
    assert coverage_of({}, [], None) is None
    assert statement_of(None) == STATEMENT


# ------------------------------------------------------------------------------------------------------------- audits

FOUND = {
    "measures": {"u_lira_auc": number(0.53, direction="two-sided"), "klom_floor": number(0.2)},
    "inconclusive": {"challenge_score": "Expected the models' accuracies, got none."},
    "models": {"unlearned": 16, "retrained": 15},
}


def audit(state: JobState, result: dict[str, Any] | None = None, *, number: int = 1) -> Job:
    return Job(id=UUID(int=number), kind=JobKind.AUDIT, state=state, spec={"pairs": 16, "seed": 3}, result=result)


def test_an_audit_adds_its_measures_its_attacks_and_its_reasons() -> None:
    coverage = covered(result_of(), audit(JobState.COMPLETED, FOUND))
    rows = {row.name: row for row in coverage.tests}
    assert rows["u_lira_auc"].measured
    assert rows["challenge_score"].reason == "Expected the models' accuracies, got none."
    assert any("U-LiRA" in attack for attack in coverage.attacks)
    assert "16 unlearned and 15 retrained shadow models" in coverage.audit_sentence
    assert coverage.audit_sentence in statement_of(coverage)
    before = {row.name: row for row in covered(result_of()).tests}
    assert not before["u_lira_auc"].measured


def test_an_audit_that_is_under_way_is_told_and_an_earlier_finished_one_counts() -> None:
    waiting = covered(result_of(), audit(JobState.QUEUED))
    assert waiting.audit_sentence.endswith("it is queued.")
    assert "it is queued." in str({row.name: row.reason for row in waiting.tests}["klom"])
    both = covered(result_of(), audit(JobState.RUNNING, number=2), audit(JobState.COMPLETED, FOUND))
    assert both.audit is not None
    assert (both.audit.id, both.audit.pairs, both.audit.seed) == (UUID(int=1), 16, 3)


def test_an_audit_changes_nothing_that_the_worker_measured() -> None:
    result = result_of()
    whole = with_audit(result, [audit(JobState.COMPLETED, FOUND)])
    assert whole["verdict"] == result["verdict"]
    assert whole["measures"]["original"] == result["measures"]["original"]
    assert result["measures"]["unlearned"].items() <= whole["measures"]["unlearned"].items()
    assert with_audit({}, [audit(JobState.COMPLETED, FOUND)]) == {}
    assert with_audit(result, []) == result
