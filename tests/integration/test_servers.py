"""The servers under the tests: ours alone, and truthful about what a crash leaves."""

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from core.db.session import Database
from core.requests.repository import enqueue
from core.states import JobKind
from tests.servers import CLAIM_KEY, PostgresServer, RedisNumber, find_redis
from tests.throwaway import ThrowawayPostgres, ThrowawayRedis


def test_a_test_database_has_the_schema_and_no_rows(database_url: str) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    tables = set(inspect(engine).get_table_names())

    assert {"alembic_version", "jobs"} <= tables
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


def test_a_database_without_the_schema_is_empty(postgres_url: str) -> None:
    assert inspect(create_engine(postgres_url, poolclass=NullPool)).get_table_names() == []


def test_a_database_of_somebody_else_is_not_dropped(postgres_server: PostgresServer) -> None:
    with pytest.raises(RuntimeError, match="created by this test run"):
        postgres_server.drop_database(postgres_server.admin)


def test_two_runs_never_share_a_redis_number(redis_number: RedisNumber) -> None:
    other = find_redis()
    try:
        assert other.url != redis_number.url
    finally:
        other.close()


def test_clearing_the_redis_number_keeps_the_claim(redis_number: RedisNumber) -> None:
    with redis.Redis.from_url(redis_number.url, decode_responses=True) as client:
        client.set("left", "behind")

        redis_number.clear()

        assert client.keys() == [CLAIM_KEY]


def test_a_killed_redis_comes_back_empty_on_the_same_port(throwaway_redis: ThrowawayRedis) -> None:
    with redis.Redis.from_url(throwaway_redis.url) as client:
        client.set("key", "value")

        throwaway_redis.restart()

        assert client.dbsize() == 0


def test_a_killed_postgresql_comes_back_with_what_was_committed(throwaway_postgres: ThrowawayPostgres) -> None:
    with psycopg.connect(throwaway_postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS number")

    throwaway_postgres.restart()

    with psycopg.connect(throwaway_postgres.url) as connection:
        assert connection.execute("SELECT number FROM kept").fetchone() == (7,)


def test_a_database_that_was_given_back_is_as_new(migrated_postgres: URL, postgres_server: PostgresServer) -> None:
    url = postgres_server.borrow_database(migrated_postgres)
    fresh = rows(url)
    assert add_job(url) == 1
    postgres_server.give_back(url)
    url = postgres_server.borrow_database(migrated_postgres)
    assert rows(url) == fresh
    assert add_job(url) == 1
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"), connection_to(url) as connection:
        connection.execute("DELETE FROM audit_log")
    postgres_server.give_back(url)


def add_job(url: URL) -> int:
    """Write a job and its ledger entry; the number that the job got."""
    database = Database(url.render_as_string(hide_password=False), pooled=False)
    with database.writing() as session:
        return enqueue(session, JobKind.VALIDATE_VERSION, tenant="t", actor="a", spec={}, max_attempts=1).seq


def rows(url: URL) -> tuple[object, ...] | None:
    """Jobs and ledger entries there are, and the size and root that the ledger says it has."""
    query = "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM audit_log), tree_size, last_leaf_hash, frontier"
    with connection_to(url) as connection:
        return connection.execute(f"{query} FROM audit_head").fetchone()


def connection_to(url: URL) -> psycopg.Connection:
    return psycopg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
