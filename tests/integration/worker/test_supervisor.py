"""The supervisor with processes that crash, hang, resist and are orphaned: every job still ends in one state."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from core.clock import database_now
from core.db.session import Database
from core.requests import claims
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState
from tests.integration.worker.support import (
    add_job,
    fake,
    is_running,
    job_of,
    noted_pid,
    num_entries,
    on_both,
    quick_settings,
    wait_gone,
)
from tests.processes import Processes, expunge_env
from tests.throwaway import wait_until
from worker import supervisor as supervisor_module
from worker.supervisor import Supervisor


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return quick_settings(database_url, tmp_path)


@pytest.fixture
def meanwhile() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Run something beside the supervisor, which keeps the main thread; its failure fails the test."""
    threads: list[threading.Thread] = []
    failures: list[BaseException] = []

    def start(action: Callable[[], object]) -> None:
        def guarded() -> None:
            try:
                action()
            except BaseException as error:  # noqa: BLE001 handed to the test below
                failures.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        threads.append(thread)

    yield start
    for thread in threads:
        thread.join(timeout=30)
    assert failures == []


def run(database: Database, settings: Settings, behaviour: str) -> bool:
    return Supervisor(database, settings, command=fake(behaviour, settings.data_dir)).run_next()


def test_nothing_to_do_starts_no_process(database: Database, settings: Settings) -> None:
    assert run(database, settings, "crash") is False
    assert not list(settings.data_dir.glob("pid-*"))


@on_both
def test_a_job_that_finishes_keeps_what_it_wrote(database: Database, settings: Settings) -> None:
    job_id = add_job(database)
    assert run(database, settings, "finish") is True
    job = job_of(database, job_id)
    assert (job.state, job.attempt, job.result) == (JobState.COMPLETED, 1, {"fence": 1})


def test_a_killed_process_fails_its_attempt_and_the_job_is_queued_again(database: Database, settings: Settings) -> None:
    job_id = add_job(database)
    run(database, settings, "crash")
    job = job_of(database, job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    assert job.problem is not None
    assert (job.problem["slug"], job.problem["signal"]) == ("runner-died", "SIGKILL")
    assert "memory" in job.problem["detail"]


@pytest.mark.parametrize(("behaviour", "code"), [("exit", 7), ("silent", 0)])
def test_a_process_that_ends_without_a_result_fails_its_attempt(
    database: Database, settings: Settings, behaviour: str, code: int
) -> None:
    job_id = add_job(database)
    run(database, settings, behaviour)
    problem = job_of(database, job_id).problem
    assert problem is not None
    assert problem["exit_code"] == code


def test_a_machine_that_cannot_start_a_process_fails_the_attempt_and_not_the_worker(
    database: Database, settings: Settings
) -> None:
    job_id = add_job(database)
    warm = settings.model_copy(update={"keep_runner_warm": True})
    supervisor = Supervisor(database, warm, command=["/nowhere/to/be/found"])
    supervisor.warm_up()
    assert supervisor.run_next() is True
    job = job_of(database, job_id)
    assert (job.state, job.attempt) == (JobState.QUEUED, 1)
    assert job.problem is not None
    assert job.problem["slug"] == "runner-not-started"


@on_both
def test_a_poisonous_job_is_failed_after_its_last_attempt_and_the_worker_goes_on(
    database: Database, settings: Settings
) -> None:
    poison = add_job(database, max_attempts=3)
    supervisor = Supervisor(database, settings, command=fake("crash", settings.data_dir))
    assert [supervisor.run_next() for _ in range(4)] == [True, True, True, False]
    job = job_of(database, poison)
    assert (job.state, job.attempt) == (JobState.FAILED, 3)
    healthy = add_job(database)
    assert run(database, settings, "finish")
    assert job_of(database, healthy).state == JobState.COMPLETED


def test_a_job_past_its_deadline_is_killed_with_all_its_children(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = quick_settings(database_url, tmp_path, job_deadline=timedelta(seconds=3), max_attempts=1)
    job_id = add_job(database, max_attempts=1)
    run(database, settings, "family")
    job = job_of(database, job_id)
    assert job.state == JobState.FAILED
    assert job.problem is not None
    assert job.problem["slug"] == "deadline-exceeded"
    wait_gone(noted_pid(tmp_path / "pid-1"), seconds=1)
    wait_gone(noted_pid(tmp_path / "child"), seconds=1)


@pytest.mark.parametrize("behaviour", ["hang", "stubborn"])
def test_a_cancelled_job_is_stopped_and_ends_cancelled(
    database: Database,
    settings: Settings,
    meanwhile: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: str,
) -> None:
    monkeypatch.setattr(supervisor_module, "GRACE_SECONDS", 0.5)
    job_id = add_job(database)

    def cancel() -> None:
        noted_pid(settings.data_dir / "pid-1")
        with database.writing() as session:
            claims.cancel(session, session.get_one(Job, job_of(database, job_id).seq), actor="key:test")

    meanwhile(cancel)
    began = time.monotonic()
    run(database, settings, behaviour)
    assert time.monotonic() - began < 10
    job = job_of(database, job_id)
    assert (job.state, job.problem, job.result) == (JobState.CANCELLED, None, None)
    assert not is_running(noted_pid(settings.data_dir / "pid-1"))


@on_both
def test_a_stolen_lease_kills_the_group_and_nothing_more_is_written(
    database: Database, settings: Settings, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    job_id = add_job(database)
    entries: list[int] = []

    def steal() -> None:
        noted_pid(settings.data_dir / "pid-1")
        with database.writing() as session:
            past = database_now(session) - timedelta(seconds=1)
            session.execute(update(Job).where(Job.id == job_id).values(lease_until=past))
        # A heartbeat may come between the two and save the lease, as it should; then try again.
        while not claims.reap(database, backoff=timedelta(hours=1)):
            with database.writing() as session:
                session.execute(update(Job).where(Job.id == job_id).values(lease_until=past))
        entries.append(num_entries(database, job_id))

    meanwhile(steal)
    run(database, settings, "family")
    wait_gone(noted_pid(settings.data_dir / "pid-1"), seconds=1)
    wait_gone(noted_pid(settings.data_dir / "child"), seconds=1)
    job = job_of(database, job_id)
    assert (job.state, job.fence, job.problem and job.problem["slug"]) == (JobState.QUEUED, 2, "worker-lost")
    assert [num_entries(database, job_id)] == entries


@on_both
def test_a_process_that_went_on_under_an_old_fence_writes_nothing(
    database: Database, settings: Settings, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    job_id = add_job(database)

    def replace_holder() -> None:
        noted_pid(settings.data_dir / "pid-1")
        with database.writing() as session:
            session.execute(update(Job).where(Job.id == job_id).values(fence=Job.fence + 1))
        (settings.data_dir / "go").touch()

    # Without heartbeats the supervisor cannot notice; only the fence stands between the process and the row.
    deaf = settings.model_copy(
        update={"heartbeat_interval": timedelta(seconds=60), "lease_ttl": timedelta(seconds=120)}
    )
    meanwhile(replace_holder)
    run(database, deaf, "when-told")
    job = job_of(database, job_id)
    assert (job.state, job.result, job.fence) == (JobState.RUNNING, None, 2)


def test_a_supervisor_that_cannot_renew_its_lease_kills_the_job_before_the_lease_ends(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ttl = timedelta(seconds=9)  # long enough for the process to have started, on a busy machine too
    settings = quick_settings(database_url, tmp_path, lease_ttl=ttl)
    job_id = add_job(database)

    def no_database(*_args: object, **_more: object) -> bool:
        raise OperationalError("UPDATE jobs", {}, ConnectionError("gone"))

    monkeypatch.setattr(claims, "heartbeat", no_database)
    began = time.monotonic()
    run(database, settings, "hang")
    assert ttl.total_seconds() / 2 < time.monotonic() - began < ttl.total_seconds()
    assert not is_running(noted_pid(tmp_path / "pid-1", seconds=0))
    job = job_of(database, job_id)
    # Left to the reaper: whoever cannot write may not decide either.
    assert (job.state, job.fence) == (JobState.RUNNING, 1)


def test_a_short_outage_of_the_database_does_not_disturb_a_job(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = claims.heartbeat, []

    def shaky(*args: object, **more: object) -> bool:
        calls.append(1)
        if len(calls) <= 2:
            raise OperationalError("UPDATE jobs", {}, ConnectionError("gone"))
        (settings.data_dir / "go").touch()
        return real(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "heartbeat", shaky)
    job_id = add_job(database)
    run(database, settings, "when-told")
    assert job_of(database, job_id).state == JobState.COMPLETED


def test_a_stopping_supervisor_gives_the_job_back_and_the_attempt_does_not_count(
    database: Database, settings: Settings, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    job_id = add_job(database)
    supervisor = Supervisor(database, settings, command=fake("hang", settings.data_dir))

    def stop() -> None:
        noted_pid(settings.data_dir / "pid-1")
        supervisor.stop()

    meanwhile(stop)
    assert supervisor.run_next()
    job = job_of(database, job_id)
    assert (job.state, job.attempt, job.fence) == (JobState.QUEUED, 0, 2)
    assert supervisor.run_next() is False


def test_a_process_kept_warm_serves_exactly_one_job(database: Database, database_url: str, tmp_path: Path) -> None:
    settings = quick_settings(database_url, tmp_path, keep_runner_warm=True)
    supervisor = Supervisor(database, settings, command=fake("finish", tmp_path))
    served = []
    for number in range(2):
        supervisor.warm_up()
        add_job(database)
        supervisor.run_next()
        served.append(noted_pid(tmp_path / "pid-1"))
        (tmp_path / "pid-1").rename(tmp_path / f"served-{number}")
    assert served[0] != served[1]
    supervisor.warm_up()
    supervisor.close()


def test_a_warm_process_that_died_is_replaced_without_the_job_noticing(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = quick_settings(database_url, tmp_path, keep_runner_warm=True)
    supervisor = Supervisor(database, settings, command=fake("finish", tmp_path))
    supervisor.warm_up()
    assert supervisor._warm is not None
    os.kill(supervisor._warm.pid, signal.SIGKILL)
    supervisor._warm.wait(5)
    job_id = add_job(database)
    supervisor.run_next()
    job = job_of(database, job_id)
    assert (job.state, job.attempt) == (JobState.COMPLETED, 1)


def start_worker(processes: Processes, settings: Settings, behaviour: str) -> int:
    env = expunge_env(database_url=settings.database_url, data_dir=settings.data_dir)
    command = [sys.executable, "-m", "tests.integration.worker.fake_worker"]
    started = processes.start(
        "worker", [*command, settings.model_dump_json(exclude={"redis_url"}), behaviour, str(settings.data_dir)], env
    )
    return started.process.pid


def test_an_orphaned_process_dies_with_its_supervisor(
    database: Database, settings: Settings, processes: Processes
) -> None:
    add_job(database)
    worker = start_worker(processes, settings, "hang")
    runner = noted_pid(settings.data_dir / "pid-1")
    os.kill(worker, signal.SIGKILL)
    wait_gone(runner, seconds=2)


def test_a_worker_killed_in_the_middle_is_taken_over_by_another(
    database: Database, settings: Settings, processes: Processes
) -> None:
    job_id = add_job(database)
    first = start_worker(processes, settings, "hang")
    noted_pid(settings.data_dir / "pid-1")
    os.killpg(first, signal.SIGKILL)
    start_worker(processes, settings, "finish")
    limit = (settings.lease_ttl + settings.reap_interval + settings.poll_interval).total_seconds() + 5
    wait_until(lambda: job_of(database, job_id).finished_at is not None, seconds=limit, what="the job to be taken over")
    job = job_of(database, job_id)
    assert (job.state, job.attempt, job.fence) == (JobState.COMPLETED, 2, 3)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_worker_told_to_end_gives_its_job_back_at_once(
    database: Database, settings: Settings, processes: Processes, number: signal.Signals
) -> None:
    job_id = add_job(database)
    worker = start_worker(processes, settings, "hang")
    runner = noted_pid(settings.data_dir / "pid-1")
    os.kill(worker, number)
    wait_until(lambda: job_of(database, job_id).state == JobState.QUEUED, seconds=5, what="the job to be given back")
    job = job_of(database, job_id)
    assert (job.attempt, job.fence) == (0, 2)
    wait_gone(runner, seconds=1)
    wait_gone(worker, seconds=5)
