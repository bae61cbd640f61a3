"""PostgreSQL and Redis for tests: a database and a Redis number of our own, on a server that is there or is started.

Looked for in this order: the server named in the environment (`EXPUNGE_TEST_DATABASE_URL`, `EXPUNGE_TEST_REDIS_URL`),
one on the standard local port, a throw-away one from installed binaries (`tests.throwaway`). On a server that was there
before us we touch only databases that we created and the one Redis number that was empty when we claimed it.
"""

import getpass
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg
import redis
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from tests.throwaway import ThrowawayPostgres, ThrowawayRedis

CLAIM_KEY = "expunge-test-claim"
CLAIM_SECONDS = 3 * 60 * 60
"""A claim whose test run was killed ends by itself."""


GUARDED = ("checkpoints", "cosignatures", "signing_keys", "attestations")
"""Tables whose rows never change, beside those named below."""

EMPTYING = (
    # Whoever is still connected could hold a lock, or write later.
    """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()
    """,
    # The guards hold against everybody else, so they are put back in the same transaction.
    "ALTER TABLE audit_log DISABLE TRIGGER USER",
    "ALTER TABLE policies DISABLE TRIGGER USER",
    "ALTER TABLE model_versions DISABLE TRIGGER USER",
    *(f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in GUARDED),
    # One statement: foreign keys are checked at its end, so the order of tables does not matter. Nothing but rows goes,
    # which is ten times faster than TRUNCATE.
    """
    DO $$ DECLARE emptied text; BEGIN
      SELECT 'WITH ' || string_agg(format('%1$I AS (DELETE FROM %1$I)', tablename), ', ') || ' SELECT 1' INTO emptied
        FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'audit_head');
      EXECUTE emptied;
    END $$
    """,
    "UPDATE audit_head SET tree_size = 0, last_leaf_hash = decode(repeat('00', 32), 'hex'), frontier = '[]'",
    """
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
      FROM pg_sequences WHERE schemaname = 'public'
    """,
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_change",
    "ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_no_truncate",
    "ALTER TABLE policies ENABLE ALWAYS TRIGGER policies_no_change",
    "ALTER TABLE policies ENABLE ALWAYS TRIGGER policies_no_truncate",
    "ALTER TABLE model_versions ENABLE TRIGGER USER",
    *(
        f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_{guard}"
        for table in GUARDED
        for guard in ("no_change", "no_truncate")
    ),
)
"""Leaves a migrated database as the migrations made it."""


def _nothing() -> None:
    """What is left to stop on a server that is not ours."""


@dataclass
class PostgresServer:
    """A server on which test databases are created and dropped."""

    admin: URL
    stop: Callable[[], None] = _nothing
    _created: set[str] = field(default_factory=set)
    _spare: list[URL] = field(default_factory=list)

    def create_database(self, *, template: URL | None = None) -> URL:
        """A new database, empty or a copy of `template` (to which nobody may be connected)."""
        name = f"expunge_test_{os.getpid()}_{secrets.token_hex(5)}"
        source = template.database if template is not None else "template0"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source or ""))
        self._run(statement)
        self._created.add(name)
        return self.admin.set(drivername="postgresql+psycopg", database=name)

    def drop_database(self, url: URL) -> None:
        """Drop a database made by `create_database`, with whoever is still connected to it."""
        name = url.database or ""
        if name not in self._created:
            msg = f"Expected a database created by this test run, got {name!r}."
            raise RuntimeError(msg)
        self._run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        self._created.discard(name)

    def borrow_database(self, template: URL) -> URL:
        """A copy of `template`, new or given back before."""
        return self._spare.pop() if self._spare else self.create_database(template=template)

    def give_back(self, url: URL) -> None:
        """Empty a borrowed database for the next test: dropping one makes the server flush everything to disk."""
        with psycopg.connect(_libpq(url)) as connection:
            for statement in EMPTYING:
                connection.execute(statement)
        self._spare.append(url)

    def close(self) -> None:
        """Drop what is left and stop the server if it is ours."""
        for name in sorted(self._created):
            self.drop_database(self.admin.set(database=name))
        self.stop()

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(_libpq(self.admin), autocommit=True) as connection:
            connection.execute(statement)


@dataclass
class RedisNumber:
    """A Redis number of our own, empty but for the claim."""

    url: str
    stop: Callable[[], None] = _nothing

    def clear(self) -> None:
        """Remove every key but the claim."""
        with redis.Redis.from_url(self.url) as client:
            keys = [key for key in client.scan_iter(count=1000) if key != CLAIM_KEY.encode()]
            if keys:
                client.delete(*keys)

    def close(self) -> None:
        """Leave the number as empty as it was, and stop the server if it is ours."""
        with redis.Redis.from_url(self.url) as client:
            client.flushdb()
        self.stop()


def find_postgres() -> PostgresServer:
    """The first server at hand; `tests.throwaway.Unavailable` says what was tried."""
    if given := os.environ.get("EXPUNGE_TEST_DATABASE_URL"):
        url = make_url(given)
        if problem := _problem_with(url):
            msg = f"EXPUNGE_TEST_DATABASE_URL is set, but {problem}"
            raise RuntimeError(msg)
        return PostgresServer(url)
    for role in dict.fromkeys((getpass.getuser(), "root", "postgres")):
        url = URL.create("postgresql", username=role, host="127.0.0.1", port=5432, database="postgres")
        if not _problem_with(url):
            return PostgresServer(url)
    server = ThrowawayPostgres.from_installed_binaries()
    server.start()
    return PostgresServer(make_url(server.url), stop=server.stop)


def find_redis() -> RedisNumber:
    """The first server with a free number; `tests.throwaway.Unavailable` says what was tried."""
    if given := os.environ.get("EXPUNGE_TEST_REDIS_URL"):
        number = _claim_number(given)
        if number is None:
            msg = "EXPUNGE_TEST_REDIS_URL is set, but no number on that server is empty."
            raise RuntimeError(msg)
        return RedisNumber(number)
    try:
        number = _claim_number("redis://127.0.0.1:6379")
    except redis.RedisError:
        number = None
    if number is not None:
        return RedisNumber(number)
    server = ThrowawayRedis.from_installed_binaries()
    server.start()
    return RedisNumber(_claim_number(server.url) or server.url, stop=server.stop)


def _libpq(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _problem_with(url: URL) -> str | None:
    query = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    try:
        with psycopg.connect(_libpq(url), connect_timeout=5) as connection:
            row = connection.execute(query).fetchone()
    except psycopg.Error as error:
        return f"it cannot be reached: {error}"
    return None if row and row[0] else "its role may not create databases (ALTER ROLE ... CREATEDB)."


def _claim_number(server_url: str) -> str | None:
    """The highest empty number on this server, claimed against other test runs; None if all are taken."""
    base = make_url(server_url)
    with redis.Redis.from_url(_numbered(base, 0)) as client:
        count = _count_of_numbers(client)
    for number in reversed(range(count)):
        url = _numbered(base, number)
        with redis.Redis.from_url(url) as client:
            if client.dbsize() or not client.set(CLAIM_KEY, os.getpid(), nx=True, ex=CLAIM_SECONDS):
                continue
            if client.dbsize() == 1:
                return url
            client.delete(CLAIM_KEY)  # somebody else began to use it in between
    return None


def _count_of_numbers(client: redis.Redis) -> int:
    try:
        return int(client.config_get("databases")["databases"] or 16)
    except (redis.RedisError, KeyError):
        return 16  # the default, for a server that does not answer CONFIG


def _numbered(base: URL, number: int) -> str:
    return base.set(database=str(number)).render_as_string(hide_password=False)
