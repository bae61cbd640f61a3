"""From a lease to the code that does the work, and from whatever that raises to the job's state."""

import errno
import time
from collections.abc import Callable

import torch
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from core import log
from core.db.session import Database
from core.errors import JobCancelled, LeaseLost, Problem, ServiceError
from core.requests import claims
from core.requests.claims import Lease
from core.requests.spec import UnlearnSpec
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobKind, JobState
from models_store.storage import LocalStorage
from unlearning.errors import UnlearningError
from worker import problems, validation
from worker.environment import prepare
from worker.patience import patiently
from worker.pipeline import runner
from worker.pipeline.context import Context
from worker.progress import Progress, reporter
from worker.purging import job as purging
from worker.replays import job as replays
from worker.retraining import job as retraining
from worker.shadows import gathering
from worker.shadows import job as shadows

DONE, BROKEN, STOPPED = 0, 1, 3

_log = log.get_logger("job")


def run(lease: Lease, settings: Settings, must_stop: Callable[[], bool]) -> int:
    """Run one job to its end.

    Returns:
        The exit code: `DONE` when a final state is written or the job is no longer ours.
    """
    database = Database(settings.database_url, pooled=False)
    began = time.monotonic()
    try:
        _work(lease, database, settings, must_stop)
    except LeaseLost:
        _log.warning("job.lease_lost")
        return DONE
    except JobCancelled:
        _log.info("job.stopped")
        return STOPPED
    except ServiceError as error:
        return _refused(lease, database, settings, error.as_problem())
    except UnlearningError as error:
        return _refused(lease, database, settings, problems.refused_by_engine(error))
    except Exception as error:  # noqa: BLE001 the outermost edge of the process: nobody else would say how it ended
        _log.exception("job.broke")
        return _broke(lease, database, settings, error)
    _log.info("job.done", seconds=round(time.monotonic() - began, 3))
    return DONE


def _work(lease: Lease, database: Database, settings: Settings, must_stop: Callable[[], bool]) -> None:
    storage = LocalStorage(settings.artifacts_dir)
    if lease.kind is JobKind.VALIDATE_VERSION:
        validation.validate_weights(lease, database, storage, settings)
    elif lease.kind is JobKind.VALIDATE_DATASET:
        validation.validate_dataset(lease, database, storage, settings)
    elif lease.kind is JobKind.RETRAIN:
        retraining.run(lease, database, storage, settings, must_stop)
    elif lease.kind is JobKind.SHADOW:
        shadows.run(lease, database, storage, settings, must_stop)
    elif lease.kind is JobKind.AUDIT:
        gathering.run(lease, database, storage, settings)
    elif lease.kind is JobKind.REPLAY:
        replays.run(lease, database, storage, settings, must_stop)
    elif lease.kind is JobKind.PURGE:
        purging.run(lease, database, storage, settings, must_stop)
    else:
        runner.run(_context(lease, database, storage, settings, must_stop))


def _context(
    lease: Lease, database: Database, storage: LocalStorage, settings: Settings, must_stop: Callable[[], bool]
) -> Context:
    def read() -> Job:
        with database.reading() as session:
            return session.execute(select(Job).where(Job.id == lease.job_id)).scalar_one()

    job = patiently(read, at_most=settings.lease_ttl)
    return Context(
        lease=lease,
        tenant=job.tenant,
        spec=UnlearnSpec.model_validate(job.spec),
        database=database,
        storage=storage,
        settings=settings,
        device=prepare(settings),
        progress=Progress(reporter(database, lease), must_stop),
    )


def _refused(lease: Lease, database: Database, settings: Settings, problem: Problem) -> int:
    """The input cannot be worked on, today or tomorrow: no further attempt."""
    _log.info("job.refused", problem=problem["slug"])

    def write() -> None:
        with database.writing() as session:
            claims.finish(session, lease, JobState.FAILED, problem=problem, data={"problem": problem["slug"]})

    return _written(settings, write)


def _broke(lease: Lease, database: Database, settings: Settings, error: Exception) -> int:
    problem = problems.unexpected(lease, error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        problem = problems.out_of_memory(lease)
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        problem = problems.disk_full(lease)

    def write() -> None:
        claims.attempt_failed(database, lease, problem, backoff=settings.retry_backoff)

    _written(settings, write)
    return BROKEN


def _written(settings: Settings, write: Callable[[], None]) -> int:
    try:
        patiently(write, at_most=settings.lease_ttl)
    except LeaseLost:
        return DONE
    except SQLAlchemyError:
        _log.exception("job.end_not_written")
        return BROKEN
    return DONE
