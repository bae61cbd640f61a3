"""The doorbell: tells workers that there is work. The table is the queue; a ring carries a job's id and no authority.

A lost ring costs one `ring_again_after`, a doubled one costs a look at the table. The path of a request never comes
through here: the dispatcher is a loop of its own, and all it knows stands in the database.

Every Celery setting stands here too, because the side that rings and the side that listens must agree.
"""

import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from core import log
from core.clock import database_now
from core.db.session import Database
from core.requests.claims import reap, runnable_jobs
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState
from core.upkeep import Upkeep

QUEUE = "gpu"
RING_TASK = "worker.tasks.ring"
KEY_PREFIX = "expunge:"
MAX_WAITING_RINGS = 500
"""With more rings than this in the queue nobody is listening, and another one only fills Redis."""

_log = log.get_logger("dispatch")


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Every Celery setting, for the doorbell and for the workers alike.

    Raises:
        ValueError: no Redis is configured.
    """
    if settings.redis_url is None:
        msg = "Expected EXPUNGE_REDIS_URL to be set, got nothing; without Redis run `expunge worker` instead."
        raise ValueError(msg)
    return {
        "broker_url": settings.redis_url.get_secret_value(),
        # State lives in SQL.
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "event_serializer": "json",
        # Acknowledged before it runs: a ring is worth nothing once somebody looks at the table.
        "task_acks_late": False,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        # A dead worker's job comes back through its lease, with a cap, never through the broker.
        "task_reject_on_worker_lost": False,
        "task_retry_on_worker_lost": False,
        # A Redis that restarts must not kill a running job.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "task_publish_retry": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_connection_timeout": 3,
        "broker_pool_limit": 4,
        "broker_pool_acquire_timeout": 2.0,
        "broker_transport_options": {
            "visibility_timeout": 120,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": 10,
            "socket_connect_timeout": 3,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "retry_on_timeout": False,
            "global_keyprefix": KEY_PREFIX,
            "client_name": "expunge-worker",
        },
        "task_queues": {QUEUE: {"exchange": QUEUE, "routing_key": QUEUE}},
        "task_default_queue": QUEUE,
        # A misspelt queue must fail, not wait for ever in one that nobody reads.
        "task_create_missing_queues": False,
        # A backstop: the supervisor ends the job at its deadline.
        "task_time_limit": int((settings.job_deadline + timedelta(minutes=3)).total_seconds()),
        "worker_max_tasks_per_child": 20,
        "worker_max_memory_per_child": 1_000_000,
        "worker_soft_shutdown_timeout": 20.0,
        # Whoever can write to Redis could shut workers down.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


class Doorbell(Protocol):
    """Wakes a worker."""

    def ring(self, job_id: UUID) -> bool:
        """Ring for a job; False if the bell could not be reached. Never raises for want of a broker."""


class SilentDoorbell:
    """No bell: every worker polls the table."""

    def ring(self, job_id: UUID) -> bool:  # noqa: ARG002 the protocol's signature
        """Do nothing, well."""
        return True


class CeleryDoorbell:
    """Rings through Redis, with short timeouts and without retries: the next tick is the retry."""

    def __init__(self, settings: Settings) -> None:
        from celery import Celery  # noqa: PLC0415 only processes that ring pay for Celery

        options = celery_settings(settings)
        # A worker waits on Redis for as long as it takes; the bell gives up and leaves it to the next tick.
        options["broker_transport_options"] |= {"socket_timeout": 3, "max_retries": 0, "client_name": "expunge-bell"}
        self._app = Celery("expunge", set_as_current=False)
        self._app.conf.update(options)

    def ring(self, job_id: UUID) -> bool:
        """Put a message with the job's id, and nothing else, into the queue."""
        from kombu.exceptions import OperationalError  # noqa: PLC0415 see above
        from redis.exceptions import RedisError  # noqa: PLC0415 see above

        try:
            with self._app.connection_for_write() as connection:
                waiting = connection.default_channel.queue_declare(queue=QUEUE).message_count
                if waiting < MAX_WAITING_RINGS:
                    self._app.send_task(RING_TASK, args=[str(job_id)], queue=QUEUE, connection=connection, retry=False)
        except (OperationalError, RedisError, OSError) as error:
            _log.warning("doorbell.unreachable", job_id=str(job_id), error=type(error).__name__)
            return False
        return True


def doorbell_for(settings: Settings) -> Doorbell:
    """The bell that the settings ask for."""
    return CeleryDoorbell(settings) if settings.redis_url is not None else SilentDoorbell()


@dataclass(frozen=True)
class Tick:
    """What one round did."""

    reaped: tuple[UUID, ...]
    rung: tuple[UUID, ...]


class Dispatcher:
    """Takes expired leases away and rings for waiting jobs; any number may run beside each other."""

    def __init__(self, database: Database, doorbell: Doorbell, settings: Settings) -> None:
        self._database = database
        self._doorbell = doorbell
        self._settings = settings
        self._upkeep = Upkeep(database, settings)

    def tick(self) -> Tick:
        """One round; rings at most once for each runnable job, and stops at the first ring that fails."""
        reaped = reap(self._database, backoff=self._settings.retry_backoff)
        for job_id in reaped:
            _log.info("lease.reaped", job_id=str(job_id))
        rung = []
        for job_id in self._due():
            if not self._doorbell.ring(job_id):
                break
            self._rang_for(job_id)
            rung.append(job_id)
        return Tick(tuple(reaped), tuple(rung))

    def run(self, stop: threading.Event) -> None:
        """Tick, and keep up with the calendar, until `stop` is set; an outage of the database is waited out."""
        interval = min(self._settings.ring_interval, self._settings.reap_interval).total_seconds()
        while not stop.is_set():
            try:
                self.tick()
                self._upkeep.look()
            except SQLAlchemyError as error:
                _log.warning("dispatch.database_unavailable", error=type(error).__name__)
            stop.wait(interval)

    def _due(self) -> list[UUID]:
        with self._database.reading() as session:
            long_ago = database_now(session) - self._settings.ring_again_after
            jobs = runnable_jobs(session)
            return [job.id for job in jobs if job.last_ring_at is None or job.last_ring_at <= long_ago]

    def _rang_for(self, job_id: UUID) -> None:
        with self._database.writing() as session:
            session.execute(
                update(Job)
                .where(Job.id == job_id, Job.state == JobState.QUEUED)
                .values(last_ring_at=database_now(session))
                .execution_options(synchronize_session=False)
            )


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM or SIGINT from now on; for the main thread of a process that only runs a loop."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop())


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Dispatch until told to stop: the whole of `expunge dispatch`.

    Args:
        settings: what the operator chose.
        stop: ends the loop when set; without one, SIGTERM and SIGINT end it, and this must be the main thread.
    """
    log.configure(process="dispatcher")
    if stop is None:
        stop = threading.Event()
        stop_on_signals(stop.set)
    database = Database(settings.database_url)
    _log.info("dispatch.started", bell=settings.redis_url is not None)
    try:
        Dispatcher(database, doorbell_for(settings), settings).run(stop)
    finally:
        database.dispose()
        _log.info("dispatch.stopped")
