"""The servers under the tests: ours alone, and truthful about what a crash leaves."""

import psycopg
import pytest
import redis
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.pool import NullPool

from tests.servers import CLAIM_KEY, PostgresServer, RedisNumber, find_redis
from tests.throwaway import ThrowawayPostgres, ThrowawayRedis


def test_a_test_database_has_the_schema_and_no_rows(database_url: str) -> None:
    engine = create_engine(database_url, poolclass=NullPool)
    tables = set(inspect(engine).get_table_names())

    assert {"alembic_version", "jobs"} <= tables
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 0


def test_the_session_database_is_empty(postgres_url: str) -> None:
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
