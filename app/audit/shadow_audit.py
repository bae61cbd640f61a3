"""What an audit with shadow models found, beside what the worker measured; it comes later and changes no verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from app.audit.schemas import AuditUsed
from core.requests.tables import Job
from core.states import JobState


def audit_used(audits: Sequence[Job]) -> AuditUsed | None:
    """The audit that the report tells of: the newest that was completed, else the newest; None without any.

    Args:
        audits: of the request, newest first.
    """
    job = next((one for one in audits if one.state == JobState.COMPLETED), audits[0] if audits else None)
    if job is None:
        return None
    result = job.result or {}
    return AuditUsed(
        id=job.id,
        state=JobState(job.state),
        pairs=job.spec["pairs"],
        seed=job.spec["seed"],
        models=result.get("models") or {},
        finished_at=job.finished_at,
    )


def with_audit(result: Mapping[str, Any], audits: Sequence[Job]) -> dict[str, Any]:
    """The result with the measures of the newest completed audit among those of the new weights.

    Args:
        result: of the request; without one there is nothing to add to.
        audits: of the request, newest first.
    """
    found = next((one.result or {} for one in audits if one.state == JobState.COMPLETED), None)
    if not result or found is None:
        return dict(result)
    absent = {name: {"value": None, "problem": reason} for name, reason in (found.get("inconclusive") or {}).items()}
    measures = result.get("measures") or {}
    unlearned = {**(measures.get("unlearned") or {}), **absent, **(found.get("measures") or {})}
    return {**result, "measures": {**measures, "unlearned": unlearned}}
