"""Destroying everything personal about a request, so that the ledger's commitments can no longer be linked to anybody.

The rules:

1. Entries are never touched. They hold HMACs under the request's key; without it an HMAC of a guess cannot be made.
2. What goes with the key: subject reference, class labels, note, external reference, free-text reasons, the detail of
   a problem, and the stored first answer with its fingerprint, which is an unkeyed hash and could be guessed at.
3. What stays: that there was a request, for which class indices of which model, with which result.
4. A request that is still owed an answer keeps its data; without them nobody could give it.
5. The rows are changed in one transaction with a ledger entry; the old bytes are then scrubbed from a SQLite file.

A table elsewhere that takes up text about people belongs into `_erase`.
"""

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Uuid, column, delete, exists, select, table, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, aliased

from core import log
from core.clock import database_now
from core.db.base import JsonValue
from core.db.session import Database
from core.deadlines.tables import Deadline, DeadlineStep
from core.errors import Conflict, Gone
from core.requests.moves import record
from core.requests.subjects import requests_of_subject
from core.requests.tables import IdempotencyRecord, Job, Submission, UnlearnRequest
from core.states import JobKind, JobState

SWEEPER = "system:retention"
AT_ONCE = 50
"""Requests that one round of the sweep takes, so that none holds the ledger's head for long."""

_versions = table("model_versions", column("job_id", Uuid()), column("override_reason"))
_quarantines = table("quarantines", column("job_id", Uuid()), column("version_id"))
_broken_glass = table("broken_glass", column("version_id"), column("reason"))
_purges = table("purges", column("job_id", Uuid()), column("request_id", Uuid()), column("targets", JsonValue))
"""By name: these tables lie above this room, and a sweep must reach them from here."""

_log = log.get_logger("erasure")


class SubjectHasOpenRequests(Conflict):
    """A request of the data subject is still owed an answer, and without its data nobody could give it."""

    slug = "subject-has-open-requests"
    title = "The data subject has open requests"


class RequestErased(Gone):
    """The personal data of the request were destroyed, so it cannot be taken up again."""

    slug = "request-erased"
    title = "The request's personal data were destroyed"


def refuse_erased(request: UnlearnRequest) -> None:
    """Refuse to take up a request again whose labels are gone.

    Raises:
        RequestErased: they are.
    """
    if request.erased_at is not None:
        msg = f"Expected a request that still has its data, got {request.job_id}, erased since; submit a new one."
        raise RequestErased(msg)


def lock_erasable(session: Session, tenant: str, reference: str) -> list[UnlearnRequest]:
    """The requests of a data subject, oldest first, locked, if all of them may be erased.

    Raises:
        SubjectHasOpenRequests: one of them is owed an answer yet.
    """
    requests = _lock(session, requests_of_subject(session, tenant, reference))
    waiting = [request.job_id for request in requests if _is_owed(session, request)]
    if waiting:
        msg = (
            f"Expected every request of the data subject to have been answered, got {len(waiting)} that was not; wait "
            "for it or its purge, or cancel it; if it failed or was rejected, retry it or POST to its /deadline/answer."
        )
        raise SubjectHasOpenRequests(msg, requests=[f"/unlearn/{job_id}" for job_id in waiting])
    return requests


def erase_requests(session: Session, requests: list[UnlearnRequest], *, actor: str) -> None:
    """Destroy the keys and personal data of locked requests; the caller commits, then scrubs."""
    for request in requests:
        _erase(session, request, actor=actor, why="asked")


def erase_expired(database: Database, *, retention: timedelta) -> list[UUID]:
    """Destroy the keys of requests that were answered and ended longer ago than `retention`, some at a time.

    Returns:
        The requests that were erased.
    """
    with database.reading() as session:  # sweepers come every minute: a look takes no write lock
        if not _expired(session, retention, lock=False):
            return []
    with database.writing() as session:
        requests = _not_erased(session, _expired(session, retention, lock=True))
        for request in requests:
            _erase(session, request, actor=SWEEPER, why="retention")
        return [request.job_id for request in requests]


def scrub(database: Database) -> bool:
    """Rebuild a SQLite file in which erased bytes may linger, and say so in the rows; False if it must be done later.

    SQLite overwrites what it deletes (`secure_delete`), but not the copies it left behind when pages were split.
    On PostgreSQL this is the business of its vacuum, and of whoever keeps backups; see docs/subjects.md.
    """
    due = UnlearnRequest.erased_at.is_not(None), UnlearnRequest.scrubbed_at.is_(None)
    with database.reading() as session:
        erased = list(session.execute(select(UnlearnRequest.job_id).where(*due)).scalars())
    if not erased:
        return True
    try:
        database.rebuild()
    except OperationalError as error:
        _log.warning("scrub.postponed", error=type(error).__name__)
        return False
    with database.writing() as session:
        session.execute(
            update(UnlearnRequest)
            .where(UnlearnRequest.job_id.in_(erased))
            .values(scrubbed_at=database_now(session))
            .execution_options(synchronize_session=False)
        )
    return True


def _expired(session: Session, retention: timedelta, *, lock: bool) -> list[UnlearnRequest]:
    long_ago = database_now(session) - retention
    still_owed = UnlearnRequest.deadline.has(Deadline.closed_on.is_(None))
    query = (
        select(UnlearnRequest)
        .join(UnlearnRequest.job)
        .where(UnlearnRequest.erased_at.is_(None), Job.finished_at < long_ago)
        .where(Job.state.not_in([JobState.QUEUED, JobState.RUNNING]), ~still_owed, ~_is_purged(Job.id))
        .order_by(Job.seq)
        .limit(AT_ONCE)
    )
    if lock:
        query = query.with_for_update(skip_locked=True, of=Job).execution_options(populate_existing=True)
    return list(session.execute(query).scalars())


def _is_owed(session: Session, request: UnlearnRequest) -> bool:
    """Whether it needs its labels yet: to be worked on, to be answered, or to be purged by them."""
    is_open = request.deadline is not None and request.deadline.closed_on is None
    is_purged = session.execute(select(_is_purged(request.job_id))).scalar_one()
    return is_open or is_purged or not JobState(request.job.state).is_final


def _is_purged(job_id: Any) -> ColumnElement[bool]:
    purge = aliased(Job)
    under_way = purge.state.in_([JobState.QUEUED, JobState.RUNNING])
    return exists().where(purge.parent_job_id == job_id, purge.kind == JobKind.PURGE, under_way)


def _lock(session: Session, requests: list[UnlearnRequest]) -> list[UnlearnRequest]:
    """Those that are still there to be erased, once nobody else can touch their jobs."""
    if requests:
        ids = [request.job_id for request in requests]
        session.execute(select(Job.id).where(Job.id.in_(ids)).order_by(Job.seq).with_for_update()).all()
    return _not_erased(session, requests)


def _not_erased(session: Session, requests: list[UnlearnRequest]) -> list[UnlearnRequest]:
    # What was read before the lock was had may be older than what its last holder wrote.
    for request in requests:
        session.refresh(request)
    return [request for request in requests if request.erased_at is None]


def _erase(session: Session, request: UnlearnRequest, *, actor: str, why: str) -> None:
    job = request.job
    request.subject_reference = None
    request.class_labels = []
    request.note = None
    request.external_reference = None
    request.commitment_key = None
    request.erased_at = database_now(session)
    children = session.execute(select(Job).where(Job.parent_job_id == job.id)).scalars()
    for one in (job, *children):
        if one.problem is not None:
            kept: dict[str, Any] = {name: one.problem[name] for name in ("slug", "title") if name in one.problem}
            one.problem = kept | {"detail": "Erased with the request's personal data."}
            one.revision += 1
    job.revision += 1
    session.flush()
    session.execute(delete(IdempotencyRecord).where(IdempotencyRecord.job_id == job.id))
    session.execute(delete(Submission).where(Submission.job_id == job.id))
    session.execute(update(DeadlineStep).where(DeadlineStep.job_id == job.id).values(reason=None))
    session.execute(update(_versions).where(_versions.c.job_id == job.id).values(override_reason=None))
    quarantined = select(_quarantines.c.version_id).where(_quarantines.c.job_id == job.id)
    session.execute(update(_broken_glass).where(_broken_glass.c.version_id.in_(quarantined)).values(reason="erased"))
    for row in session.execute(select(_purges).where(_purges.c.request_id == job.id)).all():
        targets = [target | {"classes": []} for target in row.targets]
        session.execute(update(_purges).where(_purges.c.job_id == row.job_id).values(targets=targets))
    record(session, job, "request.key_destroyed", actor=actor, data={"reason": why})
