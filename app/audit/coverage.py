"""What was measured and what was not, and what may be claimed: evidence by these attacks, never a guarantee."""

from collections.abc import Iterable, Mapping
from typing import Any

from app.audit.meanings import MEANINGS, meaning_of, title_of
from app.audit.measures import MeasureRow, sides_of
from app.audit.schemas import AuditUsed, CoverageOut, CoverageRow, ReferenceUsed
from core.policy.catalogue import TESTS, TestName, Tier
from core.states import JobState

STATEMENT = (
    "This report is empirical evidence, not a guarantee. The tests found what they found on the stated images and at "
    "the stated confidence; they do not prove that no trace of the deleted classes remains in the weights, and they "
    "say nothing about copies of earlier versions that were downloaded before."
)
NO_REASON = {"", "not measured", "It was not measured."}
"""What a worker writes for a test that it did not make: that says less than the test's tier does."""
TIERS = {Tier.ALWAYS: "every request", Tier.REFERENCE: "with a reference", Tier.AUDIT: "audit"}


def coverage_of(result: Mapping[str, Any], rows: Iterable[MeasureRow], audit: AuditUsed | None) -> CoverageOut | None:
    """Every test there is, measured or not and why; None as long as nothing has been measured.

    Args:
        result: of the job, with what an audit has added.
        rows: its measures.
        audit: that audit, if there is one.
    """
    if not (result.get("measures") or result.get("verdict")):
        return None
    measured = [row.name for row in rows if row.after is not None and row.after.value is not None]
    told = [_told(name, result, set(measured), audit) for name in TestName]
    attacks = _attacks(measured)
    return CoverageOut(
        tests=told,
        attacks=attacks,
        attacks_not_made=[attack for attack in _attacks([*MEANINGS, *map(str, TestName)]) if attack not in attacks],
        reference=_reference(result),
        reference_sentence=reference_sentence(result),
        audit=audit,
        audit_sentence=audit_sentence(audit),
    )


def statement_of(coverage: CoverageOut | None) -> str:
    """What the report claims, and what it does not."""
    if coverage is None:
        return STATEMENT
    made = "; ".join(coverage.attacks)
    attacks = f"The attacks that were made: {made}." if made else "No attack was made."
    others = "Attacks that are not named here were not made."
    return f"{STATEMENT} {attacks} {others} {coverage.reference_sentence} {coverage.audit_sentence}"


def reference_sentence(result: Mapping[str, Any]) -> str:
    """Whether there was something to compare with, and what."""
    reference = _reference(result)
    if reference is None:
        return (
            "No model retrained without the classes was compared with, so what a retrained model would have scored is "
            "said in words, not measured. Without one, a network that was trained on random labels for the deleted "
            "classes may pass as one that has forgotten them: that is a known limit of these tests."
        )
    number = f"reference {reference.number}" if reference.number is not None else "a reference (its number is not told)"
    return f"Compared with {number}: a model of the same architecture that was trained without the classes."


def audit_sentence(audit: AuditUsed | None) -> str:
    """Whether shadow models were made, and how many."""
    if audit is None:
        return "No audit with shadow models was made for this request."
    if audit.state is JobState.COMPLETED:
        models = " and ".join(f"{count} {kind}" for kind, count in sorted(audit.models.items(), reverse=True))
        return f"An audit compared {models} shadow models; it informs, and does not change the verdict."
    return f"An audit with {audit.pairs} pairs of shadow models was asked for; it is {audit.state.value}."


def _told(name: TestName, result: Mapping[str, Any], measured: set[str], audit: AuditUsed | None) -> CoverageRow:
    tier, is_measured = TESTS[name].tier, name in measured
    return CoverageRow(
        name=name,
        title=title_of(name),
        tier=TIERS[tier],
        measured=is_measured,
        reason=None if is_measured else _reason(name, tier, result, audit),
    )


def _reason(name: str, tier: Tier, result: Mapping[str, Any], audit: AuditUsed | None) -> str:
    """Why a test has no value: in the words of audit or worker where they gave any, else by what the test needs."""
    tests = {one["name"]: one for one in (result.get("verdict") or {}).get("tests", [])}
    sides = [*reversed(sides_of(result)), tests]
    given = [one.get("problem") or "" for side in sides if (one := side.get(name)) is not None]
    told = next((problem for problem in given if problem not in NO_REASON), None)
    if told is not None:
        return told
    if tier is Tier.AUDIT:
        return f"It needs pairs of shadow models. {audit_sentence(audit)}"
    if tier is Tier.REFERENCE and _reference(result) is None:
        return "It needs a model trained without the classes, and none was compared with."
    return "The result does not hold it and gives no reason."


def _reference(result: Mapping[str, Any]) -> ReferenceUsed | None:
    """The reference as the worker noted it; without a note, its measures show that there was one."""
    noted, measured = result.get("reference"), (result.get("measures") or {}).get("reference")
    if isinstance(noted, Mapping):
        return ReferenceUsed(number=noted.get("number"), sha256=noted.get("sha256"), seed=noted.get("seed"))
    return ReferenceUsed(number=None, sha256=None, seed=None) if measured else None


def _attacks(names: Iterable[str]) -> list[str]:
    """What attackers did to get these measures, each once."""
    found = (meaning.attack for name in names if (meaning := meaning_of(name)) is not None)
    return list(dict.fromkeys(attack for attack in found if attack))
