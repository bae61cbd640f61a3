"""Engines and transactions.

Rules: a transaction is opened at the edge (one per HTTP request or per worker action) and committed there; nobody below
commits. A writer on SQLite begins with `BEGIN IMMEDIATE`, because a transaction that starts reading and then writes is
refused at once when another writer came first, busy timeout or not.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

WAL_IS_SAFE = sqlite3.sqlite_version_info >= (3, 51, 3)
"""Before 3.51.3 two connections that write and checkpoint at once can corrupt a WAL database (sqlite.org)."""

POSTGRESQL_OPTIONS = "-c statement_timeout=15000 -c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000"


def normalise_url(url: str) -> str:
    """The URL with the driver we ship: `postgresql://` means psycopg 3."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    return url


def make_engine(url: str, *, pooled: bool = True) -> Engine:
    """An engine with the settings this service relies on.

    Args:
        url: SQLAlchemy URL of a PostgreSQL database or a SQLite file.
        pooled: whether connections are kept; False in processes that only speak to the database now and then.
    """
    url = normalise_url(url)
    if make_url(url).get_backend_name() == "sqlite":
        return _sqlite_engine(url)
    arguments: dict[str, Any] = {"pool_pre_ping": True} if pooled else {"poolclass": NullPool}
    if pooled:
        arguments |= {
            "pool_size": 5,
            "max_overflow": 10,
            "pool_timeout": 5,
            "pool_recycle": 1800,
            "pool_use_lifo": True,
        }
    return create_engine(
        url,
        hide_parameters=True,  # error texts reach logs, and parameters hold class labels
        connect_args={
            "connect_timeout": 5,
            "application_name": "expunge",
            "options": POSTGRESQL_OPTIONS,
            "keepalives": 1,
            "keepalives_idle": 30,
            "tcp_user_timeout": 10_000,
        },
        **arguments,
    )


def _sqlite_engine(url: str) -> Engine:
    database = make_url(url).database
    if database:
        Path(database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver's own BEGIN is deferred; ours is emitted below
    for pragma in (
        "busy_timeout=10000",
        "foreign_keys=ON",
        "trusted_schema=OFF",
        "journal_mode=" + ("WAL" if WAL_IS_SAFE else "DELETE"),
        "synchronous=" + ("FULL" if WAL_IS_SAFE else "EXTRA"),
        "secure_delete=ON",  # keys and names that are erased are overwritten, not merely unlinked
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("outside", False):  # VACUUM runs in no transaction
        return
    writes = options.get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Database:
    """One database: opens sessions in either direction."""

    def __init__(self, url: str, *, pooled: bool = True) -> None:
        self.engine = make_engine(url, pooled=pooled)
        self._writer = self.engine.execution_options(write=True)

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction that may write: committed when the block ends well, rolled back when it raises."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that only reads; rolled back at its end."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def durability(self) -> dict[str, str]:
        """What the database says of its own durability, for `/readyz` and the start-up check."""
        with self.engine.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                names = ("fsync", "synchronous_commit", "full_page_writes")
                return {name: str(connection.execute(text(f"SHOW {name}")).scalar_one()) for name in names}
            journal = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
            level = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()
            return {
                "sqlite": sqlite3.sqlite_version,
                "journal_mode": str(journal),
                "synchronous": str(level),
            }

    def rebuild(self) -> None:
        """Write a SQLite file anew, without the bytes of rows that are gone; on PostgreSQL, nothing.

        Takes as long as copying the file, and nobody else can write meanwhile.

        Raises:
            OperationalError: others kept the file busy.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with self.engine.execution_options(outside=True).connect() as connection:
            for statement in ("VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"):
                connection.exec_driver_sql(statement)

    def dispose(self) -> None:
        """Close every idle connection."""
        self.engine.dispose()
