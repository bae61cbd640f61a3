"""A worker without Redis: the claim loop, and the reaper beside it. This is the whole of `expunge worker`."""

import threading
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from core import log
from core.db.session import Database
from core.requests.claims import reap
from core.settings import Settings
from core.upkeep import Upkeep
from worker.aftermath import refuse_unvalidated
from worker.process import RUNNER
from worker.signals import STOP_SIGNALS, stopping_on
from worker.supervisor import Supervisor

_log = log.get_logger("embedded")


def run(settings: Settings, *, command: Sequence[str] = RUNNER) -> None:
    """Work until SIGTERM, SIGINT or SIGQUIT; a job that is running then is given back. Main thread only.

    Args:
        settings: what the operator chose.
        command: what to start for a job; another one in tests.
    """
    database = Database(settings.database_url, pooled=False)
    supervisor = Supervisor(database, settings, command=command)
    log.configure(process="worker", boot=supervisor.owner)
    stopped = threading.Event()

    def stop() -> None:
        supervisor.stop()
        stopped.set()

    with stopping_on(stop, numbers=STOP_SIGNALS, redeliver=False):
        threading.Thread(target=_reap, args=(database, settings, stopped), name="reaper", daemon=True).start()
        _log.info("worker.started")
        try:
            while not stopped.is_set():
                if not _run_next(supervisor):
                    supervisor.warm_up()
                    stopped.wait(settings.poll_interval.total_seconds())
        finally:
            stopped.set()
            supervisor.close()
            _log.info("worker.stopped")


def _run_next(supervisor: Supervisor) -> bool:
    try:
        return supervisor.run_next()
    except SQLAlchemyError as error:
        _log.warning("claim.database_unavailable", error=type(error).__name__)
        return False


def _reap(database: Database, settings: Settings, stopped: threading.Event) -> None:
    """Beside the loop, not in it: a long job must not keep others' expired leases alive."""
    upkeep = Upkeep(database, settings)
    while not stopped.wait(settings.reap_interval.total_seconds()):
        try:
            for job_id in reap(database, backoff=settings.retry_backoff):
                _log.info("lease.reaped", job_id=str(job_id))
            refuse_unvalidated(database)
            upkeep.look()
        except SQLAlchemyError as error:
            _log.warning("reap.database_unavailable", error=type(error).__name__)
        except Exception:  # noqa: BLE001 without this thread a dead worker's jobs would stay running for ever
            _log.exception("reap.broke")
