"""Who may run a job, and who may finish it: claim, heartbeat, progress, release, finish, reap.

The order is the safety property:

1. A claim raises the fence and starts a lease, both in one statement.
2. Every later write of the worker names its fence; if the row has another one, the write changes nothing.
3. The reaper raises the fence too, so the former holder is fenced off before anybody claims again.

So a worker that was merely paused can compute for as long as it likes and still publishes nothing. Expiry alone does
not fence: a holder that nobody replaced may still finish, which saves a finished job.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, exists, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from core.clock import database_now
from core.db.session import Database
from core.errors import LeaseLost, Problem
from core.requests.families import release_complete
from core.requests.moves import move, record
from core.requests.tables import Job
from core.states import JobKind, JobState

REAPER = "system:reaper"


@dataclass(frozen=True)
class Lease:
    """A claimed job as the worker knows it: which row, under which fence."""

    job_id: UUID
    kind: JobKind
    fence: int
    attempt: int
    owner: str

    @property
    def actor(self) -> str:
        """How the holder signs ledger entries."""
        return f"worker:{self.owner}"


def claim(database: Database, *, owner: str, ttl: timedelta, only: UUID | None = None) -> Lease | None:
    """Take the next runnable job, in a transaction of its own.

    Args:
        database: where the jobs are.
        owner: random name of this worker boot (never a host name: a restarted worker is another one).
        ttl: how long the lease holds without a heartbeat.
        only: take this job or none.

    Returns:
        The lease, or None when nothing is runnable or another worker was faster.
    """
    with database.reading() as session:  # idle workers poll: a look takes no write lock
        if not runnable_jobs(session, limit=1):
            return None
    try:
        with database.writing() as session:
            now = database_now(session)
            query = _runnable(now).limit(1).with_for_update(skip_locked=True, of=Job)
            if only is not None:
                query = query.where(Job.id == only)
            job = session.execute(query).scalar_one_or_none()
            if job is None:
                return None
            move(
                session,
                job,
                JobState.RUNNING,
                actor=f"worker:{owner}",
                fence_step=1,
                attempt=job.attempt + 1,
                lease_owner=owner,
                lease_until=now + ttl,
                heartbeat_at=now,
            )
            return Lease(job.id, JobKind(job.kind), job.fence, job.attempt, owner)
    except IntegrityError:  # two workers claimed two jobs of one model at once; the partial unique index chose
        return None


def _runnable(now: datetime) -> Select[Job]:
    running = aliased(Job)
    model_is_busy = exists().where(
        running.model_id == Job.model_id,
        running.state == JobState.RUNNING,
        running.kind == JobKind.UNLEARN,
    )
    return (
        select(Job)
        .where(Job.state == JobState.QUEUED, Job.not_before <= now)
        .where((Job.kind != JobKind.UNLEARN) | ~model_is_busy)
        .order_by(Job.priority.desc(), Job.seq)
    )


def runnable_jobs(session: Session, *, limit: int = 100) -> list[Job]:
    """Jobs that could be claimed now, in the order in which they would be; takes no lock."""
    return list(session.execute(_runnable(database_now(session)).limit(limit)).scalars())


def heartbeat(database: Database, lease: Lease, *, ttl: timedelta) -> bool:
    """Renew the lease.

    Returns:
        Whether the caller of the API asked to cancel.

    Raises:
        LeaseLost: the job is no longer ours; kill the runner at once.
    """
    with database.writing() as session:
        now = database_now(session)
        row = session.execute(
            update(Job)
            .where(*_held(lease))
            .values(lease_until=now + ttl, heartbeat_at=now)
            .returning(Job.cancel_requested_at)
        ).one_or_none()
    if row is None:
        raise LeaseLost(_lost(lease))
    return row.cancel_requested_at is not None


def report_progress(database: Database, lease: Lease, *, step: str, percent: int) -> None:
    """Show pollers how far the job is; the fence guards it like any other write.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    with database.writing() as session:
        row = session.execute(
            update(Job)
            .where(*_held(lease))
            .values(step=step, percent=percent, revision=Job.revision + 1)
            .returning(Job.seq)
        ).one_or_none()
    if row is None:
        raise LeaseLost(_lost(lease))


def hold(session: Session, lease: Lease) -> Job:
    """The job's row, locked, if the lease still holds: the first statement of every finishing transaction.

    Raises:
        LeaseLost: the job is no longer ours; whatever was prepared is an orphan.
    """
    job = session.execute(select(Job).where(*_held(lease)).with_for_update()).scalar_one_or_none()
    if job is None:
        raise LeaseLost(_lost(lease))
    return job


def finish(
    session: Session,
    lease: Lease,
    to: JobState,
    *,
    result: dict[str, Any] | None = None,
    problem: Problem | None = None,
    data: dict[str, Any] | None = None,
) -> Job:
    """End the job under its fence; the caller commits.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    job = hold(session, lease)
    changes: dict[str, Any] = {
        "problem": problem,
        "percent": 100 if problem is None else job.percent,
    }
    if result is not None:
        changes["result"] = result
    return move(
        session,
        job,
        to,
        actor=lease.actor,
        fence=lease.fence,
        data=data or {},
        **changes,
    )


def release(database: Database, lease: Lease, *, reason: str) -> None:
    """Give a job back unfinished (the worker is shutting down): queued again, and the attempt does not count."""
    with database.writing() as session:
        try:
            job = hold(session, lease)
        except LeaseLost:
            return
        move(
            session,
            job,
            JobState.QUEUED,
            actor=lease.actor,
            fence=lease.fence,
            fence_step=1,
            attempt=job.attempt - 1,
            not_before=database_now(session),
            data={"reason": reason},
        )


def attempt_failed(database: Database, lease: Lease, problem: Problem, *, backoff: timedelta) -> JobState:
    """The runner died: queue the job again, or fail it after its last attempt.

    Returns:
        The state the job is in now.

    Raises:
        LeaseLost: the job is no longer ours.
    """
    with database.writing() as session:
        return _next_attempt(
            session,
            hold(session, lease),
            actor=lease.actor,
            problem=problem,
            backoff=backoff,
        )


def reap(database: Database, *, backoff: timedelta) -> list[UUID]:
    """Take expired leases away; idempotent, run by every dispatcher and every polling worker.

    Parents whose children are all final are released too, should that have been missed.

    Returns:
        The jobs that were taken away.
    """
    reaped = []
    release_complete(database)
    with database.writing() as session:
        now = database_now(session)
        expired = session.execute(
            select(Job)
            .where(Job.state == JobState.RUNNING, Job.lease_until < now)
            .order_by(Job.seq)
            .with_for_update(skip_locked=True)
        ).scalars()
        for job in expired.all():
            problem = {
                "slug": "worker-lost",
                "title": "The worker was lost",
                "detail": f"The worker stopped renewing its lease in attempt {job.attempt} of {job.max_attempts}.",
            }
            _next_attempt(session, job, actor=REAPER, problem=problem, backoff=backoff)
            reaped.append(job.id)
    return reaped


def _next_attempt(session: Session, job: Job, *, actor: str, problem: Problem, backoff: timedelta) -> JobState:
    now = database_now(session)
    data = {"problem": problem["slug"]}
    to, changes = JobState.QUEUED, dict[str, Any](problem=problem)
    if job.cancel_requested_at is not None:
        to, changes = JobState.CANCELLED, {"problem": None}
    elif job.attempt >= job.max_attempts:
        to = JobState.FAILED
    else:
        wait = timedelta(0) if job.attempt == 1 else backoff
        changes["not_before"] = now + wait
    move(session, job, to, actor=actor, fence_step=1, data=data, **changes)
    return to


def cancel(session: Session, job: Job, *, actor: str) -> Job:
    """Withdraw a job: at once while it is queued, at its next heartbeat while it runs; the caller commits.

    Raises:
        InvalidMove: it is final.
    """
    if job.state == JobState.RUNNING:
        if job.cancel_requested_at is None:
            job.cancel_requested_at = database_now(session)
            job.revision += 1
            session.flush()
            record(session, job, "request.cancel_requested", actor=actor)
        return job
    return move(session, job, JobState.CANCELLED, actor=actor)


def retry(session: Session, job: Job, *, actor: str) -> Job:
    """Queue a failed job again with its attempts counted from zero; finished steps are kept. The caller commits.

    Raises:
        InvalidMove: it has not failed.
    """
    return move(
        session,
        job,
        JobState.QUEUED,
        actor=actor,
        fence_step=1,
        attempt=0,
        step=None,
        percent=0,
        problem=None,
        not_before=database_now(session),
        data={"reason": "retry"},
    )


def _held(lease: Lease) -> tuple[ColumnElement[bool], ...]:
    return (
        Job.id == lease.job_id,
        Job.fence == lease.fence,
        Job.state == JobState.RUNNING,
    )


def _lost(lease: Lease) -> str:
    return f"Job {lease.job_id} is no longer held under fence {lease.fence}; nothing was written."
