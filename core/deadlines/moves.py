"""Extend, pause, resume, answer: what may be done to a deadline, each with a reason and a ledger entry.

The job's row is the lock. Reasons may be about people: the ledger holds commitments to them, under the request's key.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy.orm import Session

from core.clock import database_now
from core.deadlines.periods import WorkingDays, due_on
from core.deadlines.tables import Deadline, DeadlineStep
from core.errors import Conflict
from core.ledger.entries import commitment
from core.requests.moves import record
from core.requests.tables import UnlearnRequest
from core.states import JobState

ANSWERED = "answered"


class DeadlineClosed(Conflict):
    """The data subject has been answered."""

    slug = "deadline-closed"
    title = "The deadline is closed"


class ExtensionRefused(Conflict):
    """It was extended before, or it is too late."""

    slug = "deadline-extension-refused"
    title = "The deadline cannot be extended"


class PauseRefused(Conflict):
    """It does not run, or it is too late."""

    slug = "deadline-pause-refused"
    title = "The deadline cannot be paused"


class NotPaused(Conflict):
    """It runs already."""

    slug = "deadline-not-paused"
    title = "The deadline is not paused"


class StillWorkedOn(Conflict):
    """The request may yet be published, and that would be the answer."""

    slug = "request-not-final"
    title = "The request has not ended"


@dataclass(frozen=True)
class Grounds:
    """Who moves a deadline, and why."""

    actor: str
    reason: str


def extend(
    session: Session, request: UnlearnRequest, months: int, grounds: Grounds, *, working_days: WorkingDays
) -> None:
    """Give the answer one or two further months, once and before it is due; the caller holds the job and commits.

    Raises:
        ExtensionRefused: it is closed, late, or was extended before.
    """
    deadline, today = _deadline(request), _today(session)
    if deadline.closed_on is not None:
        msg = f"Expected a deadline that is open, got one that was closed on {deadline.closed_on}."
        raise ExtensionRefused(msg)
    if deadline.further_months:
        msg = f"Expected a deadline that was not extended before, got one that was, to {deadline.due_on}."
        raise ExtensionRefused(msg, due_on=deadline.due_on.isoformat())
    if deadline.is_overdue(today):
        msg = f"Expected an extension up to the day it is due, {deadline.due_on}; today is {today}."
        raise ExtensionRefused(msg, due_on=deadline.due_on.isoformat())
    deadline.further_months = months
    _move_on(request, deadline, working_days)
    _note(session, request, deadline, "extended", grounds, months=months)


def pause(session: Session, request: UnlearnRequest, grounds: Grounds) -> None:
    """Stop the clock, as while the data subject has to prove who they are; the caller holds the job and commits.

    Raises:
        PauseRefused: it is closed, stands still already, or is late.
    """
    deadline, today = _deadline(request), _today(session)
    if deadline.closed_on is not None or deadline.paused_on is not None:
        how = f"closed on {deadline.closed_on}" if deadline.closed_on else f"paused on {deadline.paused_on}"
        msg = f"Expected a deadline that runs, got one that was {how}."
        raise PauseRefused(msg)
    if deadline.is_overdue(today):
        msg = f"Expected a pause up to the day it is due, {deadline.due_on}; today is {today}."
        raise PauseRefused(msg, due_on=deadline.due_on.isoformat())
    deadline.paused_on = today
    _note(session, request, deadline, "paused", grounds)


def resume(session: Session, request: UnlearnRequest, grounds: Grounds, *, working_days: WorkingDays) -> None:
    """Let the clock run again; it is due later by the days it stood still. The caller holds the job and commits.

    Raises:
        DeadlineClosed: it needs no clock any more.
        NotPaused: it runs.
    """
    deadline, today = _open(request), _today(session)
    if deadline.paused_on is None:
        msg = "Expected a deadline that is paused, got one that runs."
        raise NotPaused(msg)
    deadline.days_paused += max((today - deadline.paused_on).days, 0)
    deadline.paused_on = None
    _move_on(request, deadline, working_days)
    _note(session, request, deadline, "resumed", grounds, days_paused=deadline.days_paused)


def answer(session: Session, request: UnlearnRequest, grounds: Grounds) -> None:
    """Close the deadline of a request that ended without a deletion: the data subject was told (Article 12(4)).

    The caller holds the job and commits.

    Raises:
        DeadlineClosed: it is closed already.
        StillWorkedOn: the request is queued or running.
    """
    deadline = _open(request)
    if not JobState(request.job.state).is_final:
        msg = f"Expected a request that has ended, got one that is {request.job.state}; cancel it or wait."
        raise StillWorkedOn(msg, state=str(request.job.state))
    deadline.closed_on, deadline.closed_by = _today(session), ANSWERED
    _note(session, request, deadline, ANSWERED, grounds)


def note_step(
    session: Session, request: UnlearnRequest, deadline: Deadline, kind: str, *, actor: str, reason: str | None = None
) -> None:
    """Put a step into the deadline's history, and let pollers see it."""
    step = DeadlineStep(
        job_id=request.job_id,
        tenant=request.tenant,
        actor=actor,
        kind=kind,
        reason=reason,
        due_on=deadline.due_on,
        at=database_now(session),
    )
    deadline.steps.append(step)
    request.job.revision += 1
    session.flush()


def _deadline(request: UnlearnRequest) -> Deadline:
    if request.deadline is None:
        msg = f"Expected request {request.job_id} to have a deadline, got none."
        raise RuntimeError(msg)
    return request.deadline


def _open(request: UnlearnRequest) -> Deadline:
    deadline = _deadline(request)
    if deadline.closed_on is not None:
        msg = f"Expected a deadline that is open, got one that was closed on {deadline.closed_on}."
        raise DeadlineClosed(msg)
    return deadline


def _move_on(request: UnlearnRequest, deadline: Deadline, working_days: WorkingDays) -> None:
    deadline.due_on = due_on(
        request.received_on,
        working_days=working_days,
        further_months=deadline.further_months,
        days_paused=deadline.days_paused,
    )
    deadline.warned_on = None


def _note(
    session: Session, request: UnlearnRequest, deadline: Deadline, kind: str, grounds: Grounds, **facts: Any
) -> None:
    note_step(session, request, deadline, kind, actor=grounds.actor, reason=grounds.reason)
    data = {"due_on": deadline.due_on.isoformat(), **facts}
    if request.commitment_key is not None:
        data["reason"] = commitment(request.commitment_key, "reason", grounds.reason)
    record(session, request.job, f"request.deadline_{kind}", actor=grounds.actor, data=data)


def _today(session: Session) -> date:
    return database_now(session).date()
