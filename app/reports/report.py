"""The report of a request: put together from the rows and the ledger, measured by nobody here."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.audit.costs import cost_lines
from app.audit.coverage import coverage_of, statement_of
from app.audit.curves import read_curves
from app.audit.measures import measure_rows
from app.audit.schemas import ReportEntry, ReportOut, VersionOut
from app.audit.service import entries_of
from app.audit.shadow_audit import audit_used, with_audit
from app.audit.verdicts import verdict_out
from app.reports.accounting import accounted
from app.unlearn.views import classes_of, override_of, steps_of
from core.ledger.tables import LedgerEntry
from core.requests.repository import find_request
from core.requests.tables import UnlearnRequest
from models_store.lineage.labels import shown_labels
from models_store.shadows import audits_of
from models_store.tables import Model, ModelVersion


def compile_report(session: Session, tenant: str, request_id: UUID, *, as_of: datetime | None = None) -> ReportOut:
    """Everything that is known of one of the tenant's requests.

    Args:
        session: any transaction; only read.
        tenant: whose request.
        request_id: the request.
        as_of: the moment that the report says it is of; default: now.

    Raises:
        UnknownRequest: the tenant has none with this id.
    """
    request = find_request(session, tenant, request_id)
    job, audits = request.job, audits_of(session, request_id)
    result = with_audit(job.result or {}, audits)
    rows = measure_rows(result)
    coverage = coverage_of(result, rows, audit_used(audits))
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
        verdict=verdict_out(result.get("verdict")),
        measures=rows,
        coverage=coverage,
        curves=read_curves(result),
        class_labels=_labels(session, request),
        erased_before=sorted(set(result.get("forgotten") or []) - set(request.class_indices)),
        cost=cost_lines(result.get("cost")),
        steps=steps_of(session, job.id),
        environment=result.get("environment") or {},
        problem=job.problem,
        ledger=[_entry(entry) for entry in entries_of(session, job.id, tenant)],
        accounted=accounted(session, request, rows, coverage, as_of),
        statement=statement_of(coverage),
        **_as_submitted(request),
        **override_of(session, request),
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
        "erased_at": request.erased_at,
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


def _labels(session: Session, request: UnlearnRequest) -> list[str]:
    model = session.get(Model, request.job.model_id) if request.job.model_id is not None else None
    # Those of this request, published or not, and of every other that was erased.
    own = request.class_indices if request.erased_at is not None else []
    shown = shown_labels(session, model) if model is not None else []
    return ["erased" if label is None or index in own else label for index, label in enumerate(shown)]


def _chosen(method: dict[str, Any]) -> dict[str, Any]:
    return {name: method[name] for name in ("name", "alpha_r", "alpha_f", "chosen", "layers") if name in method}


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
