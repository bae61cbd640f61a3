"""A running shadow makes room for a deletion that waits: priority alone orders only what is not running yet.

It gives its job back, and that attempt does not count; whoever takes it next goes on from its checkpoint. Of all
running shadows only the youngest do so, as many as deletions wait, and only after a moment in which an idle worker
could come.
"""

import time
from datetime import timedelta

from sqlalchemy import select

from core.clock import database_now
from core.db.session import Database
from core.requests.claims import Lease, runnable_jobs
from core.requests.tables import Job
from core.states import JobKind, JobState
from worker.patience import OUTAGES

LOOK_EVERY_SECONDS = 2.0
WAITING_FOR = timedelta(seconds=2)
REASON = "deletion-waits"


class GiveWay(Exception):
    """A deletion waits and this shadow is one of those that make room."""


class Courtesy:
    """Looks now and then whether a deletion waits.

    Args:
        database: where the jobs are.
        lease: the shadow's own.
    """

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._last_at = time.monotonic()

    def look(self) -> None:
        """Go on, or make room.

        Raises:
            GiveWay: it is this shadow's turn to go.
        """
        if time.monotonic() - self._last_at < LOOK_EVERY_SECONDS:
            return
        self._last_at = time.monotonic()
        try:
            is_due = self.is_due()
        except OUTAGES:
            return
        if is_due:
            raise GiveWay

    def is_due(self) -> bool:
        """Whether a deletion waits for which this shadow should make room."""
        with self._database.reading() as session:
            since = database_now(session) - WAITING_FOR
            # Deletions come first among the runnable, so a full page of them is as good as all.
            waiting = [job for job in runnable_jobs(session) if job.kind == JobKind.UNLEARN and job.not_before <= since]
            if not waiting:
                return False
            running = select(Job.id).where(Job.kind == JobKind.SHADOW, Job.state == JobState.RUNNING)
            youngest = session.execute(running.order_by(Job.seq.desc()).limit(len(waiting))).scalars()
            return self._lease.job_id in set(youngest)
