"""Jobs that wait for others: a parent is queued with its children and released when the last of them is final.

Released means that its `not_before` moves from `NEVER` to now, in the transaction that makes the last child final. The
reaper looks as well, so that nothing waits for ever whatever was missed.

The order of locks is children, parent, head of the ledger: whoever withdraws a family locks its children first. The
release comes after the child's ledger entry, and so under the ledger's head: of two children that end at once, the
later one sees the earlier one's end.
"""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import Session, aliased

from core.clock import database_now
from core.db.session import Database
from core.requests.tables import Job
from core.states import JobState

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""Until when a parent waits if nobody releases it."""


def release_parent(session: Session, parent_id: UUID) -> None:
    """Let a parent run if it waits and all of its children are final; the caller commits."""
    session.execute(
        update(Job)
        .where(Job.id == parent_id, *_waits_in_vain())
        .values(not_before=database_now(session), revision=Job.revision + 1)
        .execution_options(synchronize_session=False)
    )


def release_complete(database: Database) -> list[UUID]:
    """Release every parent that waits for nobody any more, in a transaction of its own; idempotent.

    Returns:
        The parents released.
    """
    with database.reading() as session:  # the reaper comes every few seconds: a look takes no write lock
        found = list(session.execute(select(Job.id).where(*_waits_in_vain())).scalars())
    for parent_id in found:
        with database.writing() as session:
            release_parent(session, parent_id)
    return found


def children_of(session: Session, parent_id: UUID, *, lock: bool = False) -> list[Job]:
    """A job's children in the order of their arrival; with `lock`, their rows are held until the transaction ends."""
    query = select(Job).where(Job.parent_job_id == parent_id).order_by(Job.seq)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return list(session.execute(query).scalars())


def _waits_in_vain() -> tuple[ColumnElement[bool], ...]:
    child = aliased(Job)
    open_child = exists().where(child.parent_job_id == Job.id, child.state.in_([JobState.QUEUED, JobState.RUNNING]))
    return Job.state == JobState.QUEUED, Job.not_before >= NEVER, ~open_child
