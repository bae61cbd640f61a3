"""Writing new jobs and finding old ones."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import database_now
from core.errors import NotFound
from core.ledger.tables import LedgerEntry
from core.requests.moves import record
from core.requests.tables import Job, UnlearnRequest
from core.states import JobKind, JobState


class UnknownRequest(NotFound):
    """No request of this tenant has the id."""

    slug = "unknown-request"
    title = "Unknown request"


def enqueue(
    session: Session,
    kind: JobKind,
    *,
    tenant: str,
    actor: str,
    spec: dict[str, Any],
    max_attempts: int,
    model_id: int | None = None,
    subject_id: int | None = None,
    request: UnlearnRequest | None = None,
    parent: UUID | None = None,
    priority: int = 0,
    not_before: datetime | None = None,
    data: dict[str, Any] | None = None,
    tell: Callable[[LedgerEntry], object] | None = None,
) -> Job:
    """Write a queued job, its request row and its first ledger entry; the caller commits.

    Args:
        session: a writing transaction.
        kind: what the job does.
        tenant: whose job it is.
        actor: who asked for it.
        spec: what was asked, JSON.
        max_attempts: attempts before it is failed.
        model_id: the model whose unlearning jobs run one at a time; empty for validations.
        subject_id: the version or data set that a validation is about.
        request: for `JobKind.UNLEARN`: the row without its `job_id`, which is set here.
        parent: the id of the job that this one is part of.
        priority: the higher is claimed first; deletions have 0.
        not_before: earliest moment of a claim; default: now. `families.NEVER` waits for the last child.
        data: further facts for the ledger entry.
        tell: is given the ledger entry, which a receipt is about.
    """
    now = database_now(session)
    job = Job(
        id=uuid4(),
        kind=kind,
        parent_job_id=parent,
        tenant=tenant,
        actor=actor,
        model_id=model_id,
        subject_id=subject_id,
        state=JobState.QUEUED,
        revision=1,
        priority=priority,
        not_before=not_before or now,
        created_at=now,
        attempt=0,
        max_attempts=max_attempts,
        fence=0,
        percent=0,
        spec=spec,
    )
    session.add(job)
    session.flush()
    if request is not None:
        request.job_id = job.id
        session.add(request)
        session.flush()
    entry = record(session, job, "request.accepted", actor=actor, to_state=JobState.QUEUED, data=data)
    if tell is not None:
        tell(entry)
    return job


def find_request(session: Session, tenant: str, job_id: UUID, *, lock: bool = False) -> UnlearnRequest:
    """The tenant's unlearning request with this id.

    Raises:
        UnknownRequest: there is none; another tenant's request is answered the same way.
    """
    query = select(UnlearnRequest).where(UnlearnRequest.job_id == job_id, UnlearnRequest.tenant == tenant)
    request = session.execute(query).scalar_one_or_none()
    if request is None:
        msg = f"Expected the id of one of your requests, got {job_id}."
        raise UnknownRequest(msg)
    if lock:
        session.execute(select(Job).where(Job.id == job_id).with_for_update().execution_options(populate_existing=True))
        session.refresh(request)  # whoever held the lock before us may have erased it
    return request
