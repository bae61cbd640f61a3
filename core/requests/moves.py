"""The one function through which every job changes state, so that no move can miss its ledger entry."""

from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from core.clock import database_now
from core.deadlines.tables import Deadline
from core.errors import Conflict, LeaseLost
from core.ledger.entries import Record, append, commitment
from core.ledger.tables import LedgerEntry
from core.policy.override import Override
from core.requests.families import release_parent
from core.requests.tables import Job, UnlearnRequest
from core.states import JOB_MOVES, JobKind, JobState

ANSWERS = frozenset({JobState.PUBLISHED, JobState.CANCELLED, JobState.DENIED})
"""What the data subject can be told. One that failed or was rejected is owed an answer yet."""


class InvalidMove(Conflict):
    """The job is not in a state from which this move leads."""

    slug = "invalid-transition"
    title = "The request is in another state"


def move(
    session: Session,
    job: Job,
    to: JobState,
    *,
    actor: str,
    fence: int | None = None,
    fence_step: int = 0,
    override: Override | None = None,
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """Move a job to another state and write the ledger entry; the caller commits.

    Compare-and-swap: the row changes only if state and fence are still those in `job`, so of two racers one gets
    `LeaseLost` and its transaction rolls back with everything else in it.

    Args:
        session: a writing transaction.
        job: the row as read in this transaction.
        to: the new state.
        actor: who moves it, as `key:<id>`, `worker:<id>` or `system:<part>`.
        fence: the fence the caller holds; default: the row's own (callers that hold no lease).
        fence_step: how much the fence grows; 1 whenever the holder changes.
        override: what alone leads out of a rejection.
        data: further facts for the ledger entry.
        **changes: other columns of the job to set.

    Raises:
        InvalidMove: the present state does not allow it.
        LeaseLost: somebody else changed the row first.
    """
    origin = JobState(job.state)
    if to not in JOB_MOVES.get(origin, frozenset()) or (origin is JobState.REJECTED and override is None):
        msg = f"Expected a request that can become {to}, got one that is {origin}."
        raise InvalidMove(msg, state=origin.value)
    now = database_now(session)
    changes = _housekeeping(to, now) | changes
    held = job.fence if fence is None else fence
    swapped = session.execute(
        update(Job)
        .where(Job.seq == job.seq, Job.state == origin, Job.fence == held)
        .values(state=to, revision=Job.revision + 1, fence=held + fence_step, **changes)
        .returning(Job.seq)
        .execution_options(synchronize_session=False)
    ).scalar_one_or_none()
    if swapped is None:
        msg = f"Expected job {job.id} to be {origin} under fence {held}; it was taken over or finished by another."
        raise LeaseLost(msg)
    session.refresh(job)
    if to in ANSWERS:
        _close_deadline(session, job, now)
    record(
        session,
        job,
        "request.transition",
        actor=actor,
        from_state=origin,
        to_state=to,
        data=data,
    )
    if to.is_final and job.parent_job_id is not None:
        release_parent(session, job.parent_job_id)
    return job


def record(
    session: Session,
    job: Job,
    kind: str,
    *,
    actor: str,
    from_state: JobState | None = None,
    to_state: JobState | None = None,
    data: dict[str, Any] | None = None,
) -> LedgerEntry:
    """Write a ledger entry about a job; class labels and subject reference go in as commitments only."""
    request = session.get(UnlearnRequest, job.id) if job.kind == JobKind.UNLEARN else None
    facts: dict[str, Any] = {"kind": str(job.kind), "fence": job.fence, **(data or {})}
    subject = None
    if request is not None and request.commitment_key is not None:
        key = request.commitment_key
        facts["classes"] = [commitment(key, "class", label) for label in request.class_labels]
        facts["model"] = request.model_name
        if request.subject_reference is not None:
            subject = commitment(key, "subject", request.subject_reference)
    return append(
        session,
        Record(
            type=kind,
            tenant=job.tenant,
            actor=actor,
            request=job.id,
            from_state=from_state,
            to_state=to_state,
            attempt=job.attempt,
            subject=subject,
            data=facts,
        ),
    )


def _close_deadline(session: Session, job: Job, now: datetime) -> None:
    session.execute(
        update(Deadline)
        .where(Deadline.job_id == job.id, Deadline.closed_on.is_(None))
        .values(closed_on=now.date(), closed_by=str(job.state))
    )


def _housekeeping(to: JobState, now: datetime) -> dict[str, Any]:
    if to is JobState.RUNNING:
        return {"started_at": now}
    released: dict[str, Any] = {"lease_owner": None, "lease_until": None}
    if to is JobState.QUEUED:
        return released | {"last_ring_at": None, "finished_at": None}
    return released | {"finished_at": now, "cancel_requested_at": None}
