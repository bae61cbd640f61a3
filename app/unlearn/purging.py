"""Asking for a purge: only of a published request, only after the retention period, one at a time."""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.dependencies import Caller
from core.clock import database_now
from core.errors import Conflict, NotFound
from core.requests.moves import InvalidMove
from core.requests.repository import enqueue, find_request
from core.requests.tables import Job
from core.states import JobKind, JobState
from models_store.tables import ModelVersion


class RetentionNotOver(Conflict):
    """What is to be purged must be kept for some time yet."""

    slug = "retention-not-over"
    title = "The retention period is not over"


class PurgeRunning(Conflict):
    """A purge of the request is not final yet."""

    slug = "purge-running"
    title = "A purge is under way"


class UnknownPurge(NotFound):
    """Nobody has asked for a purge of the request."""

    slug = "unknown-purge"
    title = "Unknown purge"


def start(session: Session, who: Caller, request_id: UUID, *, retention: timedelta, max_attempts: int) -> Job:
    """Queue a purge with its ledger entry; the caller commits.

    The request's row is locked, so of two purges asked for at once one is refused.

    Raises:
        UnknownRequest: the tenant has none with this id.
        InvalidMove: it is not published.
        RetentionNotOver: the retention period, counted from the publication, is not over.
        PurgeRunning: another purge of it is not final.
    """
    request = find_request(session, who.tenant, request_id, lock=True)
    session.refresh(request, ["new_version_id"])
    if request.job.state != JobState.PUBLISHED or request.new_version_id is None:
        msg = f"Expected a request that is published, got one that is {request.job.state}."
        raise InvalidMove(msg, state=str(request.job.state))
    over = session.get_one(ModelVersion, request.new_version_id).created_at + retention
    if database_now(session) < over:
        moment = over.replace(microsecond=0).isoformat()
        msg = f"Expected the retention period to be over, which it is on {over.date()} ({moment}); ask again then."
        raise RetentionNotOver(msg, purgeable_at=moment)
    if any(not JobState(job.state).is_final for job in _purges(session, request_id)):
        msg = (
            f"Expected no purge of this request to be under way, got one that is; see GET /unlearn/{request_id}/purge."
        )
        raise PurgeRunning(msg)
    return enqueue(
        session,
        JobKind.PURGE,
        tenant=who.tenant,
        actor=who.actor,
        spec={"request": str(request_id)},
        max_attempts=max_attempts,
        model_id=request.job.model_id,
        parent=request_id,
    )


def newest(session: Session, tenant: str, request_id: UUID) -> Job:
    """The newest purge of a request.

    Raises:
        UnknownRequest: the tenant has no such request.
        UnknownPurge: nobody has asked for one.
    """
    find_request(session, tenant, request_id)
    found = _purges(session, request_id)
    if not found:
        msg = f"Expected a request with a purge, got {request_id}; POST /unlearn/{request_id}/purge asks for one."
        raise UnknownPurge(msg)
    return found[0]


def _purges(session: Session, request_id: UUID) -> list[Job]:
    query = select(Job).where(Job.parent_job_id == request_id, Job.kind == JobKind.PURGE)
    return list(session.execute(query.order_by(Job.seq.desc())).scalars())
