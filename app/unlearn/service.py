"""Finding requests, and moving them on behalf of a caller."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, select, tuple_
from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.errors import MalformedParameter
from app.unlearn.classes import refuse_all, refuse_deleted, refuse_requested
from app.unlearn.schemas import Sort
from core.clock import database_now
from core.deadlines.tables import Deadline
from core.requests import claims
from core.requests.erasure import refuse_erased
from core.requests.moves import InvalidMove
from core.requests.repository import find_request
from core.requests.tables import Job, JobStep, UnlearnRequest
from core.states import JobState
from models_store.registry import find_model
from models_store.tables import Model, ModelVersion


@dataclass(frozen=True)
class Filters:
    """Which requests a list is about."""

    state: JobState | None = None
    model: str | None = None
    external_reference: str | None = None
    overdue: bool | None = None
    sort: Sort = Sort.NEWEST


def list_requests(
    session: Session, tenant: str, filters: Filters, *, limit: int, after: str | None
) -> list[UnlearnRequest]:
    """The tenant's requests, newest first or by the day they are due, one more than `limit` if there are more.

    Raises:
        MalformedParameter: `after` is not the id of one of the tenant's requests.
    """
    query = select(UnlearnRequest).join(UnlearnRequest.job).where(UnlearnRequest.tenant == tenant)
    if filters.state is not None:
        query = query.where(Job.state == filters.state)
    if filters.model is not None:
        query = query.where(UnlearnRequest.model_name == filters.model)
    if filters.external_reference is not None:
        query = query.where(UnlearnRequest.external_reference == filters.external_reference)
    if filters.overdue is not None:
        query = query.where(_is_overdue(session) if filters.overdue else ~_is_overdue(session))
    last = _last_seen(session, tenant, after) if after is not None else None
    if filters.sort is Sort.DUE:
        query = query.join(UnlearnRequest.deadline).order_by(Deadline.due_on, Job.seq)
        if last is not None and last.due_on is not None:
            query = query.where(tuple_(Deadline.due_on, Job.seq) > tuple_(last.due_on, last.seq))
    else:
        query = query.order_by(Job.seq.desc())
        if last is not None:
            query = query.where(Job.seq < last.seq)
    return list(session.execute(query.limit(limit + 1)).scalars())


def _is_overdue(session: Session) -> ColumnElement[bool]:
    today = database_now(session).date()
    late = and_(Deadline.closed_on.is_(None), Deadline.paused_on.is_(None), Deadline.due_on < today)
    return UnlearnRequest.deadline.has(late)


def _last_seen(session: Session, tenant: str, after: str) -> Row[int, date]:
    try:
        identifier = UUID(after)
    except ValueError:
        identifier = None
    query = select(Job.seq, Deadline.due_on).outerjoin(Deadline, Deadline.job_id == Job.id)
    query = query.where(Job.id == identifier, Job.tenant == tenant)
    row = session.execute(query).one_or_none() if identifier else None
    if row is None:
        msg = "Expected `after` to be the id of the last request already seen."
        raise MalformedParameter(msg, "after")
    return row


def cancel(session: Session, who: Caller, job_id: UUID) -> UnlearnRequest:
    """Withdraw a request: at once while it waits, soon while it runs; the caller commits.

    Raises:
        UnknownRequest: the tenant has none with this id.
        InvalidMove: it is final.
    """
    request = find_request(session, who.tenant, job_id, lock=True)
    claims.cancel(session, request.job, actor=who.actor)
    return request


def retry(session: Session, who: Caller, job_id: UUID) -> UnlearnRequest:
    """Queue a failed request again; the caller commits.

    The model's row is locked, as in a submission: while this one lay failed, another may have taken its classes. The
    job's is locked before it, as by a worker that publishes.

    Raises:
        UnknownRequest: the tenant has none with this id.
        InvalidMove: it has not failed.
        RequestErased: its personal data were destroyed.
        AlreadyDeleted: its classes are gone meanwhile.
        AlreadyRequested: another open request names them.
        NoClassRetained: with the open requests, no class would be left.
    """
    request = find_request(session, who.tenant, job_id, lock=True)
    if request.job.state != JobState.FAILED:
        msg = f"Expected a request that has failed, got one that is {request.job.state}."
        raise InvalidMove(msg, state=str(request.job.state))
    refuse_erased(request)
    model = find_model(session, who.tenant, request.model_name, lock=True)
    refuse_moved_on(session, model, request)
    claims.retry(session, request.job, actor=who.actor)
    return request


def refuse_moved_on(session: Session, model: Model, request: UnlearnRequest) -> None:
    """Refuse to take up a request again that the model has overtaken meanwhile.

    Raises:
        AlreadyDeleted: its classes are gone.
        AlreadyRequested: another open request names them.
        NoClassRetained: with the open requests, no class would be left.
    """
    refuse_deleted(session, model, request.class_indices)
    being_deleted = refuse_requested(session, model, request.class_indices)
    refuse_all(session, model, request.class_indices, being_deleted)


def finished_steps(session: Session, job_id: UUID) -> list[JobStep]:
    """The steps that are done, in the order in which they were."""
    query = select(JobStep).where(JobStep.job_id == job_id).order_by(JobStep.finished_at, JobStep.started_at)
    return list(session.execute(query).scalars())


def version_numbers(session: Session, requests: list[UnlearnRequest]) -> dict[int, int]:
    """Numbers of the base and new versions of these requests, by row id."""
    ids = {row_id for one in requests for row_id in (one.base_version_id, one.new_version_id) if row_id is not None}
    rows = session.execute(select(ModelVersion.id, ModelVersion.number).where(ModelVersion.id.in_(ids))) if ids else ()
    return {row_id: number for row_id, number in rows}  # noqa: C416 rows are not pairs to mypy
