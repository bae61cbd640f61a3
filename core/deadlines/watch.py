"""The watch: each deadline that comes near or is missed is said once, however many watch.

A look reads first and then takes each request in a transaction of its own: its job's row is locked, its deadline read
again, and a mark set beside it with the ledger entry. Whoever comes second finds the mark.
"""

from datetime import date, timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from core.clock import database_now
from core.db.session import Database
from core.deadlines.moves import note_step
from core.deadlines.tables import Deadline
from core.requests.moves import record
from core.requests.tables import Job, UnlearnRequest

WATCH = "system:deadlines"
AT_ONCE = 100


class Alarm(StrEnum):
    """What the watch has to say."""

    APPROACHING = "approaching"
    OVERDUE = "overdue"


ENTRIES = {Alarm.APPROACHING: "request.deadline_approaching", Alarm.OVERDUE: "request.overdue"}


def watch(database: Database, *, warning: timedelta) -> list[tuple[UUID, Alarm]]:
    """Say which deadlines were missed, and which end within `warning`; idempotent, run by everybody who keeps upkeep.

    Returns:
        What was said now, and nobody else has said.
    """
    said = []
    for alarm in Alarm:
        with database.reading() as session:
            query = select(Deadline.job_id).where(*_calls_for(alarm, _today(session), warning))
            found = session.execute(query.order_by(Deadline.due_on).limit(AT_ONCE)).scalars().all()
        said += [(job_id, alarm) for job_id in found if _say(database, job_id, alarm, warning)]
    return said


def _say(database: Database, job_id: UUID, alarm: Alarm, warning: timedelta) -> bool:
    with database.writing() as session:
        lock = select(Job.id).where(Job.id == job_id).with_for_update(skip_locked=True)
        if session.execute(lock).scalar_one_or_none() is None:
            return False  # a worker is at it; the next look will see what came of it
        today = _today(session)
        query = select(Deadline).where(Deadline.job_id == job_id, *_calls_for(alarm, today, warning))
        deadline = session.execute(query).scalar_one_or_none()
        if deadline is None:
            return False
        if alarm is Alarm.OVERDUE:
            deadline.overdue_on = today
        else:
            deadline.warned_on = today
        request = session.get_one(UnlearnRequest, job_id)
        note_step(session, request, deadline, alarm.value, actor=WATCH)
        record(session, request.job, ENTRIES[alarm], actor=WATCH, data={"due_on": deadline.due_on.isoformat()})
        return True


def _calls_for(alarm: Alarm, today: date, warning: timedelta) -> tuple[ColumnElement[bool], ...]:
    runs = Deadline.closed_on.is_(None), Deadline.paused_on.is_(None)
    if alarm is Alarm.OVERDUE:
        return *runs, Deadline.overdue_on.is_(None), Deadline.due_on < today
    return *runs, Deadline.warned_on.is_(None), Deadline.due_on >= today, Deadline.due_on <= today + warning


def _today(session: Session) -> date:
    return database_now(session).date()
