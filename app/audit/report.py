"""The report of a request: put together from the rows and the ledger, measured by nobody here."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit.measures import MEANINGS, measure_rows
from app.audit.schemas import ReportEntry, ReportOut, TestOut, VerdictOut, VersionOut
from app.audit.service import entries_of
from app.unlearn.views import classes_of, steps_of
from core.ledger.tables import LedgerEntry
from core.requests.repository import find_request
from core.requests.tables import UnlearnRequest
from models_store.tables import ModelVersion

STATEMENT = (
    "This report is empirical evidence, not a guarantee. The tests found what they found on the stated images and at "
    "the stated confidence; they do not prove that no trace of the deleted classes remains in the weights, and they "
    "say nothing about copies of earlier versions that were downloaded before."
)


def compile_report(session: Session, tenant: str, request_id: UUID) -> ReportOut:
    """Everything that is known of one of the tenant's requests.

    Raises:
        UnknownRequest: the tenant has none with this id.
    """
    request = find_request(session, tenant, request_id)
    job, result = request.job, request.job.result or {}
    return ReportOut(
        request=job.id,
        state=job.state,
        tenant=job.tenant,
        asked_by=request.actor,
        asked_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        attempt=job.attempt,
        fence=job.fence,
        classes=classes_of(request),
        base_version=_version(session, request.base_version_id),
        new_version=_version(session, request.new_version_id),
        method={**job.spec["method"], **_chosen(result.get("method") or {})},
        seed=job.spec["seed"],
        verdict=_verdict(result.get("verdict")),
        measures=measure_rows(result),
        steps=steps_of(session, job.id),
        environment=result.get("environment") or {},
        problem=job.problem,
        ledger=[_entry(entry) for entry in entries_of(session, job.id, tenant)],
        statement=STATEMENT,
        **_as_submitted(request),
    )


def _as_submitted(request: UnlearnRequest) -> dict[str, Any]:
    return {
        "model": request.model_name,
        "dataset": request.dataset_name,
        "received_on": request.received_on,
        "legal_ground": request.legal_ground,
        "subject_reference": request.subject_reference,
        "external_reference": request.external_reference,
        "note": request.note,
    }


def _version(session: Session, row_id: int | None) -> VersionOut | None:
    version = session.get(ModelVersion, row_id) if row_id is not None else None
    if version is None:
        return None
    return VersionOut(
        number=version.number,
        sha256=version.artifact_sha256,
        size_bytes=version.size_bytes,
        created_at=version.created_at,
    )


def _chosen(method: dict[str, Any]) -> dict[str, Any]:
    return {name: method[name] for name in ("name", "alpha_r", "alpha_f", "chosen", "layers") if name in method}


def _verdict(verdict: dict[str, Any] | None) -> VerdictOut | None:
    if not verdict:
        return None
    policy = verdict["policy"]
    return VerdictOut(
        outcome=verdict["outcome"],
        policy=f"{policy['name']} (version {policy['version']})",
        decided_by=[_title(name) for name in verdict["decided_by"]],
        tests=[_test(one) for one in verdict["tests"]],
    )


def _test(judged: dict[str, Any]) -> TestOut:
    return TestOut(
        name=judged["name"],
        title=_title(judged["name"]),
        deciding=judged["deciding"],
        outcome=judged["outcome"],
        margin=_margin(judged["margin"] or {}),
        value=judged["value"],
        low=judged["low"],
        high=judged["high"],
        problem=judged["problem"],
    )


def _margin(margin: dict[str, float]) -> str:
    sides = {"at_least": "at least", "at_most": "at most"}
    return " and ".join(f"{words} {margin[side]:g}" for side, words in sides.items() if side in margin)


def _title(name: str) -> str:
    return MEANINGS[name][0] if name in MEANINGS else name


def _entry(entry: LedgerEntry) -> ReportEntry:
    leaf = json.loads(entry.leaf)
    return ReportEntry(
        seq=entry.seq,
        at=leaf["ts"],
        type=leaf["type"],
        actor=leaf["actor"],
        origin=leaf.get("from"),
        to=leaf.get("to"),
        attempt=leaf.get("attempt"),
        hash=entry.leaf_hash.hex(),
    )
