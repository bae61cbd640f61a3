"""A worker behind the doorbell: what one process of Celery's pool does when it rings."""

import signal

from sqlalchemy.exc import SQLAlchemyError

from core import log
from core.db.session import Database
from core.dispatch import Doorbell
from core.requests.claims import runnable_jobs
from core.settings import Settings
from worker.aftermath import refuse_unvalidated
from worker.signals import STOP_SIGNALS, stopping_on
from worker.supervisor import Supervisor

GIVE_BACK = signal.SIGUSR2
"""Sent by the parent when it shuts down: give the job back and live on, so that the pool can close in good order."""

_log = log.get_logger("listener")


class Listener:
    """Answers rings: runs one job, and rings on if there is more.

    Args:
        settings: what the operator chose.
        doorbell: rung when more is runnable.
    """

    def __init__(self, settings: Settings, doorbell: Doorbell) -> None:
        self._database = Database(settings.database_url, pooled=False)
        self._supervisor = Supervisor(self._database, settings)
        self._doorbell = doorbell
        # Between rings there is nothing to give back.
        signal.signal(GIVE_BACK, lambda _number, _frame: self._supervisor.stop())
        log.configure(process="worker", boot=self._supervisor.owner)

    def answer(self) -> None:
        """Run the next job, if there is one. Whatever fails here, the dispatcher will ring again."""
        try:
            with stopping_on(self._supervisor.stop, numbers=STOP_SIGNALS, redeliver=True):
                if self._supervisor.run_next():
                    self._ring_on()
                refuse_unvalidated(self._database)
                self._supervisor.warm_up()
        except SQLAlchemyError as error:
            _log.warning("answer.database_unavailable", error=type(error).__name__)

    def warm_up(self) -> None:
        """Load the next job's process now."""
        self._supervisor.warm_up()

    def _ring_on(self) -> None:
        if self._supervisor.is_stopping:
            return
        with self._database.reading() as session:
            waiting = [job.id for job in runnable_jobs(session, limit=1)]
        for job_id in waiting:
            self._doorbell.ring(job_id)
