"""What a register adds up to, counted by the database: the requests themselves need not be read for it."""

from datetime import date
from uuid import UUID

from pydantic import Field
from sqlalchemy import Row, case, func, select
from sqlalchemy.orm import Session

from app.reports.filters import Filters
from app.reports.grounds import ground_in_words
from app.reports.outcomes import OUTCOMES
from app.schemas import Out
from core.clock import database_now
from core.deadlines.tables import Deadline
from core.requests.repository import find_request
from core.requests.tables import Job, UnlearnRequest
from core.states import JobState
from models_store.tables import ModelVersion

MOST_MODELS = 10


class Count(Out):
    """How many requests have something in common."""

    of: str
    requests: int


class Totals(Out):
    requests: int
    first_received_on: date | None
    last_received_on: date | None
    by_outcome: list[Count] = Field(description="By what became of them.")
    by_ground: list[Count] = Field(description="By the ground on which deletion was asked for.")
    by_time_limit: list[Count] = Field(description="By whether the data subjects were answered in time.")
    by_model: list[Count] = Field(description="By model, the ten with most requests.")
    overridden: int = Field(description="Published by an override although the verification did not pass.")


class Part(Out):
    """Which of the requests stand in this document."""

    requests_before: int
    requests_here: int
    next_after: UUID | None = Field(description="Ask again with `after` set to this; null when nothing is left.")


def totals_of(session: Session, filters: Filters) -> Totals:
    """The counts of all requests that the filters leave, whatever part of them a document shows."""
    mine, received = filters.conditions(), UnlearnRequest.received_on
    ends = select(func.count(), func.min(received), func.max(received)).select_from(UnlearnRequest).where(*mine)
    count, since, until = session.execute(ends).one()
    versions = select(func.count()).select_from(UnlearnRequest)
    versions = versions.join(ModelVersion, ModelVersion.job_id == UnlearnRequest.job_id)
    overridden = versions.where(*mine, ModelVersion.overridden_by.is_not(None))
    return Totals(
        requests=count,
        first_received_on=since,
        last_received_on=until,
        by_outcome=_by_outcome(session, filters),
        by_ground=_by_ground(session, filters),
        by_time_limit=_by_time_limit(session, filters),
        by_model=_by_model(session, filters),
        overridden=session.execute(overridden).scalar_one(),
    )


def part_of(session: Session, filters: Filters, after: UUID | None, limit: int | None) -> tuple[Part, int]:
    """The part behind a request, at most `limit` of them, and the number of that request's job.

    Raises:
        UnknownRequest: `after` is none of the tenant's.
    """
    start = find_request(session, filters.tenant, after).job.seq if after is not None else 0
    mine = filters.conditions()
    counted = select(func.count()).select_from(UnlearnRequest).join(UnlearnRequest.job).where(*mine)
    remaining = session.execute(counted.where(Job.seq > start)).scalar_one()
    before = session.execute(counted.where(Job.seq <= start)).scalar_one()
    here = remaining if limit is None else min(limit, remaining)
    last = None
    if here < remaining:
        ids = select(Job.id).select_from(UnlearnRequest).join(UnlearnRequest.job).where(*mine, Job.seq > start)
        last = session.execute(ids.order_by(Job.seq).offset(here - 1).limit(1)).scalar_one()
    return Part(requests_before=before, requests_here=here, next_after=last), start


def _by_outcome(session: Session, filters: Filters) -> list[Count]:
    query = select(Job.state, func.count()).select_from(UnlearnRequest).join(UnlearnRequest.job)
    rows = session.execute(query.where(*filters.conditions()).group_by(Job.state))
    found = {JobState(state): count for state, count in rows}
    return [
        Count(of=f"{state.value}: {OUTCOMES[state]}", requests=found[state]) for state in JobState if state in found
    ]


def _by_ground(session: Session, filters: Filters) -> list[Count]:
    ground = UnlearnRequest.legal_ground
    rows = session.execute(select(ground, func.count()).where(*filters.conditions()).group_by(ground))
    return [Count(of=ground_in_words(code), requests=count) for code, count in sorted(rows, key=_stated_first)]


def _by_time_limit(session: Session, filters: Filters) -> list[Count]:
    today = database_now(session).date()
    is_open, is_paused = Deadline.closed_on.is_(None), Deadline.paused_on.is_not(None)
    kinds = {
        "answered in time": Deadline.closed_on <= Deadline.due_on,
        "answered too late": Deadline.closed_on > Deadline.due_on,
        "not answered, and overdue": is_open & ~is_paused & (Deadline.due_on < today),
        "not answered yet, and not due yet": is_open & ~is_paused & (Deadline.due_on >= today),
        "not answered yet, and paused": is_open & is_paused,
        "extended, whatever became of them": Deadline.further_months > 0,
        "no deadline recorded": Deadline.job_id.is_(None),
    }
    sums = [func.coalesce(func.sum(case((kind, 1), else_=0)), 0) for kind in kinds.values()]
    query = select(*sums).select_from(UnlearnRequest).outerjoin(Deadline, Deadline.job_id == UnlearnRequest.job_id)
    counts = session.execute(query.where(*filters.conditions())).one()
    return [Count(of=kind, requests=int(count)) for kind, count in zip(kinds, counts, strict=True) if count]


def _by_model(session: Session, filters: Filters) -> list[Count]:
    name = UnlearnRequest.model_name
    query = select(name, func.count()).where(*filters.conditions()).group_by(name)
    rows = session.execute(query.order_by(func.count().desc(), name).limit(MOST_MODELS))
    return [Count(of=model, requests=count) for model, count in rows]


def _stated_first(row: Row[str | None, int]) -> tuple[bool, str]:
    return row[0] is None, row[0] or ""
