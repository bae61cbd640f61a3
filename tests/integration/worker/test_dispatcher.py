"""The dispatcher on real databases: reaps what expired, rings once, and rings again only after a while."""

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from core.clock import database_now
from core.db.session import Database
from core.dispatch import QUEUE, CeleryDoorbell, Dispatcher
from core.requests import claims
from core.requests.tables import Job
from core.settings import Settings
from core.states import JobState
from tests.integration.app.api import Api, body
from tests.integration.worker.support import add_job, job_of, on_both, quick_settings
from tests.throwaway import ThrowawayRedis, wait_until


class Bell:
    """Remembers for whom it rang; broken, it reaches nobody."""

    def __init__(self) -> None:
        self.rung: list[UUID] = []
        self.is_broken = False

    def ring(self, job_id: UUID) -> bool:
        if not self.is_broken:
            self.rung.append(job_id)
        return not self.is_broken


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return quick_settings(database_url, tmp_path, ring_again_after=timedelta(minutes=5))


@pytest.fixture
def bell() -> Bell:
    return Bell()


@pytest.fixture
def dispatcher(database: Database, bell: Bell, settings: Settings) -> Dispatcher:
    return Dispatcher(database, bell, settings)


def set_last_ring(database: Database, job_id: UUID, *, ago: timedelta) -> None:
    with database.writing() as session:
        session.execute(update(Job).where(Job.id == job_id).values(last_ring_at=database_now(session) - ago))


@on_both
def test_it_rings_once_for_each_waiting_job_in_order(database: Database, dispatcher: Dispatcher, bell: Bell) -> None:
    ids = [add_job(database) for _ in range(3)]
    dispatcher.tick()
    dispatcher.tick()
    assert bell.rung == ids


def test_it_rings_again_for_a_job_that_nobody_took(database: Database, dispatcher: Dispatcher, bell: Bell) -> None:
    job_id = add_job(database)
    dispatcher.tick()
    set_last_ring(database, job_id, ago=timedelta(minutes=6))
    dispatcher.tick()
    dispatcher.tick()
    assert bell.rung == [job_id, job_id]


def test_a_ring_that_failed_is_tried_at_the_next_tick(database: Database, dispatcher: Dispatcher, bell: Bell) -> None:
    job_id = add_job(database)
    bell.is_broken = True
    assert dispatcher.tick().rung == ()
    assert job_of(database, job_id).last_ring_at is None
    bell.is_broken = False
    assert dispatcher.tick().rung == (job_id,)


@on_both
def test_it_does_not_ring_for_running_or_later_jobs(database: Database, dispatcher: Dispatcher, bell: Bell) -> None:
    add_job(database)
    claims.claim(database, owner="w", ttl=timedelta(minutes=1))
    later = add_job(database)
    with database.writing() as session:
        values = {"not_before": database_now(session) + timedelta(hours=1)}
        session.execute(update(Job).where(Job.id == later).values(**values))
    dispatcher.tick()
    assert bell.rung == []


@on_both
def test_an_expired_lease_is_reaped_and_rung_for_in_one_tick(
    database: Database, dispatcher: Dispatcher, bell: Bell
) -> None:
    job_id = add_job(database)
    claims.claim(database, owner="w", ttl=timedelta(seconds=-1))
    tick = dispatcher.tick()
    assert tick.reaped == tick.rung == (job_id,)
    job = job_of(database, job_id)
    assert (job.state, job.fence, job.attempt) == (JobState.QUEUED, 2, 1)


def test_the_loop_outlives_an_outage_of_the_database_and_ends_when_told(
    database: Database, dispatcher: Dispatcher, bell: Bell, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = dispatcher.tick, []

    def shaky() -> object:
        calls.append(1)
        if len(calls) == 1:
            raise OperationalError("SELECT", {}, ConnectionError("gone"))
        return real()

    monkeypatch.setattr(dispatcher, "tick", shaky)
    job_id = add_job(database)
    stop = threading.Event()
    thread = threading.Thread(target=dispatcher.run, args=(stop,))
    thread.start()
    wait_until(lambda: bell.rung == [job_id], seconds=10, what="the second tick to ring")
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_the_loop_keeps_up_with_the_calendar(sqlite_url: str, tmp_path: Path) -> None:
    api = Api(sqlite_url, tmp_path)
    api.register()
    late = (datetime.now(UTC).date() - timedelta(days=40)).isoformat()
    api.local.post("/unlearn", json=body("ant", received_on=late))
    stop = threading.Event()
    dispatcher = Dispatcher(api.database, Bell(), quick_settings(sqlite_url, tmp_path))
    thread = threading.Thread(target=dispatcher.run, args=(stop,))
    thread.start()
    wait_until(lambda: "request.overdue" in api.ledger_types(), seconds=20, what="the watch to see who is late")
    stop.set()
    thread.join(timeout=10)
    assert not thread.is_alive()
    api.resources.close()


def test_after_redis_forgot_everything_the_job_is_rung_for_again(
    sqlite_url: str, tmp_path: Path, throwaway_redis: ThrowawayRedis
) -> None:
    import redis

    settings = quick_settings(
        sqlite_url, tmp_path, redis_url=throwaway_redis.url, ring_again_after=timedelta(seconds=0)
    )
    database = Database(sqlite_url)
    add_job(database)
    dispatcher = Dispatcher(database, CeleryDoorbell(settings), settings)
    with redis.Redis.from_url(throwaway_redis.url) as client:
        assert len(dispatcher.tick().rung) == 1
        assert client.llen(f"expunge:{QUEUE}") == 1
        client.flushall()
        assert len(dispatcher.tick().rung) == 1
        assert client.llen(f"expunge:{QUEUE}") == 1


def test_a_bell_that_cannot_be_reached_says_so_quickly_and_raises_nothing(tmp_path: Path) -> None:
    nobody_there = "redis://127.0.0.1:1/0"
    bell = CeleryDoorbell(quick_settings("sqlite://", tmp_path, redis_url=nobody_there))
    began = time.monotonic()
    assert bell.ring(UUID(int=1)) is False
    assert time.monotonic() - began < 5


def test_rings_that_nobody_answers_do_not_fill_redis(
    sqlite_url: str, tmp_path: Path, throwaway_redis: ThrowawayRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    import redis

    from core import dispatch

    monkeypatch.setattr(dispatch, "MAX_WAITING_RINGS", 3)
    settings = quick_settings(sqlite_url, tmp_path, redis_url=throwaway_redis.url)
    bell = CeleryDoorbell(settings)
    assert all(bell.ring(UUID(int=number)) for number in range(10))
    with redis.Redis.from_url(throwaway_redis.url) as client:
        assert client.llen(f"expunge:{QUEUE}") == 3
