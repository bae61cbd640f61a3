"""Lease and fence on real databases: one holder at a time, and a former holder can write nothing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update

from core.clock import database_now
from core.db.session import Database
from core.errors import LeaseLost
from core.ledger.tables import LedgerEntry
from core.requests import claims
from core.requests.claims import Lease
from core.requests.moves import InvalidMove
from core.requests.repository import enqueue
from core.requests.tables import Job
from core.states import JobKind, JobState

TTL = timedelta(seconds=30)
NO_WAIT = timedelta(0)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.dispose()


def add_job(
    database: Database, *, kind: JobKind = JobKind.VALIDATE_VERSION, model_id: int | None = None, attempts: int = 3
) -> UUID:
    with database.writing() as session:
        return enqueue(
            session, kind, tenant="t", actor="key:test", spec={}, max_attempts=attempts, model_id=model_id
        ).id


def claimed(database: Database, owner: str = "w") -> Lease:
    lease = claims.claim(database, owner=owner, ttl=TTL)
    assert lease is not None
    return lease


def state_of(database: Database, job_id: UUID) -> JobState:
    with database.reading() as session:
        return JobState(session.execute(select(Job.state).where(Job.id == job_id)).scalar_one())


def expire(database: Database, job_id: UUID) -> None:
    with database.writing() as session:
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == job_id).values(lease_until=past))


def test_jobs_are_claimed_in_order_of_arrival(database: Database) -> None:
    jobs = [add_job(database) for _ in range(3)]
    assert [claimed(database).job_id for _ in jobs] == jobs
    assert claims.claim(database, owner="w", ttl=TTL) is None


def test_many_workers_never_hold_one_job_twice(database: Database) -> None:
    jobs = {add_job(database) for _ in range(12)}

    def drain(worker: int) -> list[UUID]:
        held = []
        while (lease := claims.claim(database, owner=f"w{worker}", ttl=TTL)) is not None:
            held.append(lease.job_id)
        return held

    with ThreadPoolExecutor(6) as pool:
        held = [job for jobs_of_one in pool.map(drain, range(6)) for job in jobs_of_one]
    while (lease := claims.claim(database, owner="last", ttl=TTL)) is not None:  # those whose racers all gave way
        held.append(lease.job_id)
    assert len(held) == len(set(held)) == len(jobs)


def test_one_model_has_one_running_unlearning_job(database: Database) -> None:
    first = add_job(database, kind=JobKind.UNLEARN, model_id=7)
    second = add_job(database, kind=JobKind.UNLEARN, model_id=7)
    other = add_job(database, kind=JobKind.UNLEARN, model_id=8)
    lease = claimed(database)
    assert lease.job_id == first
    assert claimed(database).job_id == other
    assert claims.claim(database, owner="w", ttl=TTL) is None
    with database.writing() as session:
        claims.finish(session, lease, JobState.REJECTED)
    assert claimed(database).job_id == second


def test_the_database_itself_refuses_a_second_running_job_of_a_model(database: Database) -> None:
    add_job(database, kind=JobKind.UNLEARN, model_id=7)
    add_job(database, kind=JobKind.UNLEARN, model_id=7)
    claimed(database)
    with pytest.raises(Exception, match=r"one_running_per_model|UNIQUE constraint"), database.writing() as session:
        session.execute(update(Job).values(state=JobState.RUNNING, lease_until=database_now(session)))


def test_a_heartbeat_keeps_the_reaper_away(database: Database) -> None:
    add_job(database)
    lease = claimed(database)
    expire(database, lease.job_id)
    assert claims.heartbeat(database, lease, ttl=TTL) is False
    assert claims.reap(database, backoff=NO_WAIT) == []


def test_a_reaped_holder_can_do_nothing_any_more(database: Database) -> None:
    add_job(database)
    stale = claimed(database, "paused")
    expire(database, stale.job_id)
    assert claims.reap(database, backoff=NO_WAIT) == [stale.job_id]
    successor = claimed(database, "successor")
    assert successor.fence > stale.fence
    with pytest.raises(LeaseLost):
        claims.heartbeat(database, stale, ttl=TTL)
    with pytest.raises(LeaseLost):
        claims.report_progress(database, stale, step="load", percent=1)
    with pytest.raises(LeaseLost), database.writing() as session:
        claims.finish(session, stale, JobState.COMPLETED)
    with pytest.raises(LeaseLost):
        claims.attempt_failed(database, stale, {"slug": "x"}, backoff=NO_WAIT)
    claims.release(database, stale, reason="shutdown")
    assert state_of(database, stale.job_id) is JobState.RUNNING
    with database.writing() as session:
        claims.finish(session, successor, JobState.COMPLETED)


def test_an_expired_holder_that_nobody_replaced_may_still_finish(database: Database) -> None:
    add_job(database)
    lease = claimed(database)
    expire(database, lease.job_id)
    with database.writing() as session:
        claims.finish(session, lease, JobState.COMPLETED)
    assert claims.reap(database, backoff=NO_WAIT) == []


def test_finisher_and_reaper_racing_have_one_winner(database: Database) -> None:
    for _ in range(10):
        add_job(database)
        lease = claimed(database)
        expire(database, lease.job_id)

        def finish(held: Lease = lease) -> bool:
            try:
                with database.writing() as session:
                    claims.finish(session, held, JobState.COMPLETED)
            except LeaseLost:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            finished, reaped = pool.submit(finish), pool.submit(claims.reap, database, backoff=NO_WAIT)
        assert finished.result() is not bool(reaped.result())
        if reaped.result():
            with database.writing() as session:
                claims.finish(session, claimed(database), JobState.COMPLETED)


def test_a_job_that_keeps_dying_fails_after_its_attempts(database: Database) -> None:
    job = add_job(database, attempts=3)
    for _ in range(3):
        assert state_of(database, job) is JobState.QUEUED
        claims.attempt_failed(database, claimed(database), {"slug": "runner-crashed"}, backoff=NO_WAIT)
    assert state_of(database, job) is JobState.FAILED
    assert claims.claim(database, owner="w", ttl=TTL) is None


def test_a_released_job_does_not_lose_an_attempt(database: Database) -> None:
    add_job(database)
    for _ in range(5):
        lease = claimed(database)
        assert lease.attempt == 1
        claims.release(database, lease, reason="shutdown")


def test_a_failed_job_can_be_retried_and_a_finished_one_cannot(database: Database) -> None:
    job = add_job(database, attempts=1)
    claims.attempt_failed(database, claimed(database), {"slug": "runner-crashed"}, backoff=NO_WAIT)
    with database.writing() as session:
        claims.retry(session, session.execute(select(Job).where(Job.id == job)).scalar_one(), actor="key:test")
    with database.writing() as session:
        claims.finish(session, claimed(database), JobState.COMPLETED)
    with pytest.raises(InvalidMove, match="completed"), database.writing() as session:
        claims.retry(session, session.execute(select(Job).where(Job.id == job)).scalar_one(), actor="key:test")


def test_cancelling_a_running_job_is_seen_at_the_next_heartbeat(database: Database) -> None:
    job = add_job(database)
    lease = claimed(database)
    with database.writing() as session:
        claims.cancel(session, session.execute(select(Job).where(Job.id == job)).scalar_one(), actor="key:test")
    assert claims.heartbeat(database, lease, ttl=TTL) is True
    assert claims.attempt_failed(database, lease, {"slug": "killed"}, backoff=NO_WAIT) is JobState.CANCELLED


def test_every_move_has_exactly_one_ledger_entry(database: Database) -> None:
    job = add_job(database)
    lease = claimed(database)
    with database.writing() as session:
        claims.finish(session, lease, JobState.COMPLETED)
    with database.reading() as session:
        types = session.execute(
            select(LedgerEntry.type).where(LedgerEntry.request_id == job).order_by(LedgerEntry.seq)
        ).scalars()
        assert list(types) == ["request.accepted", "request.transition", "request.transition"]


def test_a_move_that_rolls_back_leaves_no_entry(database: Database) -> None:
    add_job(database)
    lease = claimed(database)

    def finish_and_break() -> None:
        with database.writing() as session:
            claims.finish(session, lease, JobState.COMPLETED)
            claims.hold(session, lease)

    with pytest.raises(LeaseLost):
        finish_and_break()
    assert state_of(database, lease.job_id) is JobState.RUNNING
    with database.reading() as session:
        assert len(session.execute(select(LedgerEntry)).scalars().all()) == 2
