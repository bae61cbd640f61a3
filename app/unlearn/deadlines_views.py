"""How the deadline of a request is shown."""

from datetime import date

from app.unlearn.deadlines_schemas import DeadlineOut, DeadlineStepOut
from core.deadlines.tables import Deadline, DeadlineStep


def deadline_out(deadline: Deadline | None, today: date) -> DeadlineOut | None:
    """A deadline with its history."""
    if deadline is None:
        return None
    return DeadlineOut(
        due_on=deadline.due_on,
        overdue=deadline.is_overdue(today),
        in_time=deadline.closed_on <= deadline.due_on if deadline.closed_on is not None else None,
        further_months=deadline.further_months,
        paused_on=deadline.paused_on,
        days_paused=deadline.days_paused,
        closed_on=deadline.closed_on,
        closed_by=deadline.closed_by,
        steps=[_step(step) for step in deadline.steps],
    )


def _step(step: DeadlineStep) -> DeadlineStepOut:
    return DeadlineStepOut(kind=step.kind, at=step.at, actor=step.actor, reason=step.reason, due_on=step.due_on)
