"""The register of requests: one row each, read in pieces, so that a long period takes no more memory."""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.orm import Session, contains_eager, defer

from app.reports.filters import Filters
from app.reports.grounds import ground_in_words
from app.reports.outcomes import outcome_of
from app.reports.retired import retired_by
from app.reports.spreadsheets import csv_lines
from app.schemas import Out
from app.unlearn.views import classes_of
from core.db.session import Database
from core.ledger.tables import LedgerEntry
from core.requests.tables import Job, UnlearnRequest
from core.states import JobState
from models_store.tables import ModelVersion

CHUNK = 200
"""Requests read at a time, each in a transaction of its own."""


class RegisterRow(Out):
    """What the register says of one request; also the columns of the CSV, in this order."""

    request: UUID
    state: JobState
    outcome: str
    received_on: date
    due_on: date | None = Field(description="Last day on which the data subject is answered in time.")
    months_extended: int | None
    days_paused: int | None
    answered_on: date | None
    answered_in_time: bool | None = Field(description="Null while it is open, or where no deadline is recorded.")
    accepted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    legal_ground: str | None
    legal_ground_in_words: str
    asked_by: str
    subject_reference: str | None
    external_reference: str | None
    model: str
    dataset: str
    class_indices: list[int]
    class_labels: list[str | None]
    base_version: int | None
    base_sha256: str | None
    new_version: int | None
    new_sha256: str | None
    policy: str
    verdict: str | None = Field(description="pass, fail or inconclusive; null where nothing was judged.")
    overridden_by: str | None
    override_reason: str | None
    problem: str | None
    erased_at: datetime | None = Field(description="When the personal data of the request itself were destroyed.")
    first_ledger_entry: int | None
    last_ledger_entry: int | None
    versions_retired: int = Field(description="Versions of the lineage that it put into quarantine.")
    copies_acknowledged: int = Field(description="Copies whose holders said that they retired them.")
    note: str | None


COLUMNS = (*RegisterRow.model_fields, "checkpoint_base64")
"""Of the register as CSV."""


def register_csv(rows: Iterable[RegisterRow], checkpoint: str | None) -> Iterator[str]:
    """The rows as lines of CSV, beside each the newest signed checkpoint.

    In base64, because a signature's line begins with a dash, and the apostrophe that keeps a spreadsheet from
    calculating with it would break the signature.
    """
    carried = b64encode(checkpoint.encode()).decode() if checkpoint is not None else None
    return csv_lines(COLUMNS, (row.model_dump(mode="json") | {COLUMNS[-1]: carried} for row in rows))


def register(database: Database, filters: Filters, *, after: int = 0, most: int | None = None) -> Iterator[RegisterRow]:
    """The rows in the order of acceptance, each chunk read in a short transaction of its own.

    Args:
        database: where the requests are.
        filters: which of them.
        after: the job number behind which it begins.
        most: how many at most; default: all.

    Yields:
        Rows.
    """
    while most is None or most > 0:
        with database.reading() as session:
            rows, after = rows_after(session, filters, after, CHUNK if most is None else min(CHUNK, most))
        yield from rows
        if len(rows) < CHUNK:
            return
        most = None if most is None else most - len(rows)


def rows_after(session: Session, filters: Filters, after: int, limit: int) -> tuple[list[RegisterRow], int]:
    """At most `limit` rows behind a job number, and the number to go on from."""
    # Results hold curves and images' counts; of these only the verdict is wanted.
    lean = contains_eager(UnlearnRequest.job).options(defer(Job.result), defer(Job.spec))
    verdict = Job.result["verdict"]["outcome"].as_string()
    query = select(UnlearnRequest, verdict).join(UnlearnRequest.job).where(*filters.conditions()).options(lean)
    found = session.execute(query.where(Job.seq > after).order_by(Job.seq).limit(limit)).all()
    requests: list[UnlearnRequest] = [row[0] for row in found]
    versions, entries = _versions(session, requests), _entries(session, requests)
    retired = retired_by(session, requests)
    rows = [_row(request, outcome, versions, entries, retired) for request, outcome in found]
    return rows, requests[-1].job.seq if requests else after


def _row(
    request: UnlearnRequest,
    verdict: str | None,
    versions: dict[int, ModelVersion],
    entries: Mapping[UUID | None, tuple[int, int]],
    retired: Mapping[UUID, tuple[int, int]],
) -> RegisterRow:
    job, classes = request.job, classes_of(request)
    state = JobState(job.state)
    base, new = (versions.get(row_id or 0) for row_id in (request.base_version_id, request.new_version_id))
    overridden_by = new.overridden_by if new else None
    told, followed = entries.get(job.id), retired.get(job.id, (0, 0))
    return RegisterRow(
        request=job.id,
        state=state,
        outcome=outcome_of(state, is_overridden=overridden_by is not None),
        received_on=request.received_on,
        **_deadline(request),
        accepted_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        legal_ground=request.legal_ground,
        legal_ground_in_words=ground_in_words(request.legal_ground),
        asked_by=request.actor,
        subject_reference=request.subject_reference,
        external_reference=request.external_reference,
        model=request.model_name,
        dataset=request.dataset_name,
        class_indices=[one.index for one in classes],
        class_labels=[one.label for one in classes],
        base_version=base.number if base else None,
        base_sha256=base.artifact_sha256 if base else None,
        new_version=new.number if new else None,
        new_sha256=new.artifact_sha256 if new else None,
        policy=f"{request.policy_name}/{request.policy_version}",
        verdict=verdict,
        overridden_by=overridden_by,
        override_reason=new.override_reason if new else None,
        problem=job.problem["title"] if job.problem else None,
        erased_at=request.erased_at,
        first_ledger_entry=told[0] if told else None,
        last_ledger_entry=told[1] if told else None,
        versions_retired=followed[0],
        copies_acknowledged=followed[1],
        note=request.note,
    )


def _deadline(request: UnlearnRequest) -> dict[str, Any]:
    deadline = request.deadline
    if deadline is None:
        return dict.fromkeys(("due_on", "months_extended", "days_paused", "answered_on", "answered_in_time"))
    closed = deadline.closed_on
    return {
        "due_on": deadline.due_on,
        "months_extended": deadline.further_months,
        "days_paused": deadline.days_paused,
        "answered_on": closed,
        "answered_in_time": closed <= deadline.due_on if closed is not None else None,
    }


def _versions(session: Session, requests: Sequence[UnlearnRequest]) -> dict[int, ModelVersion]:
    ids = {row_id for one in requests for row_id in (one.base_version_id, one.new_version_id) if row_id is not None}
    query = select(ModelVersion).where(ModelVersion.id.in_(ids)).options(defer(ModelVersion.manifest))
    return {version.id: version for version in session.execute(query).scalars()}


def _entries(session: Session, requests: Iterable[UnlearnRequest]) -> dict[UUID | None, tuple[int, int]]:
    query = select(LedgerEntry.request_id, func.min(LedgerEntry.seq), func.max(LedgerEntry.seq))
    query = query.where(LedgerEntry.request_id.in_([one.job_id for one in requests])).group_by(LedgerEntry.request_id)
    return {request: (first, last) for request, first, last in session.execute(query)}
