"""A real Celery worker behind a Redis that comes and goes: jobs neither notice nor are lost."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from core.db.session import Database
from core.dispatch import CeleryDoorbell, Dispatcher
from core.settings import Settings
from core.states import JobState
from tests.integration.worker.support import add_job, is_running, job_of, noted_pid, quick_settings, wait_gone
from tests.processes import Processes, Started, expunge_env
from tests.throwaway import ThrowawayRedis, wait_until

ARGUMENTS = ["-P", "prefork", "-c", "1", "-Q", "gpu", "--without-gossip", "--without-mingle", "--without-heartbeat"]


@pytest.fixture
def settings(sqlite_url: str, tmp_path: Path, throwaway_redis: ThrowawayRedis) -> Settings:
    return quick_settings(sqlite_url, tmp_path, redis_url=throwaway_redis.url, ring_again_after=timedelta(seconds=1))


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = Database(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture
def _ringing(database: Database, settings: Settings) -> Iterator[None]:
    stop = threading.Event()
    dispatcher = Dispatcher(database, CeleryDoorbell(settings), settings)
    thread = threading.Thread(target=dispatcher.run, args=(stop,))
    thread.start()
    yield
    stop.set()
    thread.join(timeout=15)


@pytest.fixture
def worker(settings: Settings, throwaway_redis: ThrowawayRedis, processes: Processes) -> Started:
    env = expunge_env(
        database_url=settings.database_url,
        data_dir=settings.data_dir,
        redis_url=throwaway_redis.url,
        EXPUNGE_LEASE_TTL="6",
        EXPUNGE_HEARTBEAT_INTERVAL="0.3",
        EXPUNGE_KEEP_RUNNER_WARM="true",
    )
    command = [sys.executable, "-m", "celery", "-A", "tests.integration.worker.fake_celery", "worker", *ARGUMENTS]
    return processes.start("celery", command, env)


@pytest.mark.usefixtures("_ringing")
def test_a_redis_that_restarts_neither_ends_a_running_job_nor_loses_the_next_one(
    database: Database, settings: Settings, worker: Started, throwaway_redis: ThrowawayRedis
) -> None:
    first = add_job(database)
    runner = noted_pid(settings.data_dir / "pid-1", seconds=40)
    for _ in range(2):
        throwaway_redis.kill()
        throwaway_redis.start()
    assert is_running(runner)
    (settings.data_dir / "go").touch()
    wait_until(lambda: job_of(database, first).finished_at is not None, seconds=20, what="the job to end")
    job = job_of(database, first)
    assert (job.state, job.attempt) == (JobState.COMPLETED, 1)
    second = add_job(database)
    wait_until(lambda: job_of(database, second).finished_at is not None, seconds=40, what="the next job to end")
    assert job_of(database, second).state == JobState.COMPLETED
    assert worker.running


@pytest.mark.usefixtures("_ringing")
def test_a_worker_that_shuts_down_gives_its_job_back_and_ends(
    database: Database, settings: Settings, worker: Started
) -> None:
    job_id = add_job(database)
    runner = noted_pid(settings.data_dir / "pid-1", seconds=40)
    os.kill(worker.process.pid, signal.SIGTERM)
    wait_until(lambda: job_of(database, job_id).state == JobState.QUEUED, seconds=8, what="the job to be given back")
    job = job_of(database, job_id)
    assert (job.attempt, job.fence) == (0, 2)
    wait_gone(runner, seconds=2)
    assert worker.wait(seconds=30) == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="asks /proc for the parent of a process")
@pytest.mark.usefixtures("_ringing")
def test_a_worker_whose_pool_is_killed_comes_back_and_the_job_is_taken_over(
    database: Database, settings: Settings, worker: Started
) -> None:
    job_id = add_job(database)
    runner = noted_pid(settings.data_dir / "pid-1", seconds=40)
    supervisor = int(Path(f"/proc/{runner}/stat").read_text().rpartition(")")[2].split()[1])
    (settings.data_dir / "go").touch()
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: job_of(database, job_id).finished_at is not None, seconds=40, what="the job to be taken over")
    assert job_of(database, job_id).state == JobState.COMPLETED
    assert worker.running
