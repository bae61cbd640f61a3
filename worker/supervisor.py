"""Claims a job and sees it through: one fresh process per job, watched until it ends or must end.

The rules (the fence in `core.requests.claims` guards every one of them a second time):

1. The process works under the lease; this side renews it. A lost lease ends the process group at once.
2. No heartbeat for too long counts as a lost lease: the process is dead before somebody else may claim the job.
3. Cancelled, or told to stop: the group gets SIGTERM, five seconds, SIGKILL; then the job is cancelled, or given back
   with the attempt not counted.
4. A process that ends without a final state has failed its attempt, and the problem says how it died.
"""

import time
from collections.abc import Callable, Sequence
from enum import Enum, auto
from uuid import uuid4

from sqlalchemy.exc import SQLAlchemyError

from core import log
from core.db.session import Database
from core.errors import LeaseLost
from core.requests import claims
from core.requests.claims import Lease
from core.settings import Settings
from core.states import JobState
from worker import problems
from worker.heart import Heart
from worker.order import Order
from worker.patience import patiently
from worker.process import RUNNER, RunnerGone, RunnerProcess

GRACE_SECONDS = 5.0
LOOK_SECONDS = 0.1
WARM_AGAIN_SECONDS = 30.0

_log = log.get_logger("supervisor")


class Ending(Enum):
    """Why a job's process is no longer watched."""

    EXITED = auto()
    LEASE_LOST = auto()
    SELF_FENCED = auto()
    CANCELLED = auto()
    OVERDUE = auto()
    STOPPED = auto()
    NOT_STARTED = auto()


class Supervisor:
    """Runs jobs one after another. Use it from one thread, the main one (see `RunnerProcess`).

    Args:
        database: where the jobs are.
        settings: lease, deadline, and whether a process is kept ready; handed to the job as they are.
        command: what to start for a job; another one in tests.
    """

    def __init__(self, database: Database, settings: Settings, *, command: Sequence[str] = RUNNER) -> None:
        self.owner = uuid4().hex
        """Random per boot, never a host name: a restarted worker is another one."""
        self._database = database
        self._settings = settings
        self._command = tuple(command)
        self._warm: RunnerProcess | None = None
        self._not_warm_before = 0.0
        self._stopping = False

    @property
    def is_stopping(self) -> bool:
        return self._stopping

    def stop(self) -> None:
        """Give the present job back and take no other; safe in a signal handler."""
        self._stopping = True

    def run_next(self) -> bool:
        """Run the next runnable job to its end; False if there is none."""
        if self._stopping:
            return False
        claimed_at = time.monotonic()
        lease = claims.claim(self._database, owner=self.owner, ttl=self._settings.lease_ttl)
        if lease is None:
            return False
        _log.info("job.claimed", **_facts(lease))
        heart = Heart(self._database, lease, self._settings, claimed_at=claimed_at)
        heart.start()
        try:
            self._settle(lease, *self._run(lease, heart))
        finally:
            heart.stop()
        return True

    def warm_up(self) -> None:
        """Start the next job's process ahead of it, if the operator wants that; it loads while nobody waits."""
        if not self._settings.keep_runner_warm or self._stopping or time.monotonic() < self._not_warm_before:
            return
        if self._warm is not None and not self._warm.is_alive:
            _log.warning("runner.died_while_waiting", pid=self._warm.pid)
            self._warm.kill()
            self._warm = None
            self._not_warm_before = time.monotonic() + WARM_AGAIN_SECONDS
        elif self._warm is None:
            try:
                self._warm = RunnerProcess(self._command)
            except OSError as error:
                _log.warning("runner.not_started", error=type(error).__name__)
                self._not_warm_before = time.monotonic() + WARM_AGAIN_SECONDS

    def close(self) -> None:
        """End the process kept ready, if any."""
        if self._warm is not None:
            self._warm.kill()
            self._warm = None

    def _run(self, lease: Lease, heart: Heart) -> tuple[Ending, int | None]:
        try:
            runner = self._ordered(Order.of(lease, self._settings))
        except OSError as error:
            _log.warning("runner.not_started", **_facts(lease), error=type(error).__name__)
            return Ending.NOT_STARTED, None
        try:
            ending, exit_code = self._watch(runner, heart)
            if ending in (Ending.CANCELLED, Ending.STOPPED):
                runner.terminate(GRACE_SECONDS)
        finally:
            runner.kill()
        _log.info("job.process_ended", **_facts(lease), ending=ending.name.lower(), exit_code=exit_code)
        return ending, exit_code

    def _ordered(self, order: Order) -> RunnerProcess:
        """A process that has its order: the one kept ready, else a new one."""
        if self._warm is not None:
            warm, self._warm = self._warm, None
            try:
                warm.give(order)
            except RunnerGone:
                warm.kill()
            else:
                return warm
        fresh = RunnerProcess(self._command)
        try:
            fresh.give(order)
        except RunnerGone:
            _log.warning("runner.died_at_once", pid=fresh.pid)  # its exit code is read like any other
        return fresh

    def _watch(self, runner: RunnerProcess, heart: Heart) -> tuple[Ending, int | None]:
        deadline = time.monotonic() + self._settings.job_deadline.total_seconds()
        while True:
            exit_code = runner.wait(LOOK_SECONDS)
            if exit_code is not None:
                return Ending.EXITED, exit_code
            reasons = (
                (heart.lost, Ending.LEASE_LOST),
                (heart.is_silent, Ending.SELF_FENCED),
                (heart.cancel_requested, Ending.CANCELLED),
                (self._stopping, Ending.STOPPED),
                (time.monotonic() > deadline, Ending.OVERDUE),
            )
            for holds, ending in reasons:
                if holds:
                    return ending, None

    def _settle(self, lease: Lease, ending: Ending, exit_code: int | None) -> None:
        """Write down how it ended, unless the job did so itself or is no longer ours."""
        if ending in (Ending.LEASE_LOST, Ending.SELF_FENCED):
            return
        settle = self._settlement(lease, ending, exit_code)
        try:
            patiently(settle, at_most=self._settings.lease_ttl)
        except LeaseLost:
            return  # the usual case: the job wrote its final state
        except SQLAlchemyError as error:
            _log.warning("job.left_to_the_reaper", **_facts(lease), error=type(error).__name__)

    def _settlement(self, lease: Lease, ending: Ending, exit_code: int | None) -> Callable[[], object]:
        if ending is Ending.CANCELLED:
            return lambda: self._cancel(lease)
        if ending is Ending.STOPPED:
            return lambda: claims.release(self._database, lease, reason="worker-stopping")
        if ending is Ending.OVERDUE:
            problem = problems.overdue(lease, self._settings.job_deadline)
        elif ending is Ending.NOT_STARTED:
            problem = problems.not_started(lease)
        else:
            problem = problems.died(lease, exit_code or 0)
        return lambda: claims.attempt_failed(self._database, lease, problem, backoff=self._settings.retry_backoff)

    def _cancel(self, lease: Lease) -> None:
        with self._database.writing() as session:
            claims.finish(session, lease, JobState.CANCELLED)


def _facts(lease: Lease) -> dict[str, object]:
    return {"job_id": str(lease.job_id), "kind": str(lease.kind), "fence": lease.fence, "attempt": lease.attempt}
