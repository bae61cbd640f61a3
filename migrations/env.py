"""Alembic's environment: one migrator at a time, on either database."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import context
from sqlalchemy import Connection, text

import app.keys.tables
import app.policies.tables
import core.ledger.tables
import core.requests.tables
import core.signing.tables
import models_store.lineage.tables
import models_store.tables  # each import registers its tables
from core.db.base import Base
from core.db.session import make_engine

ADVISORY_LOCK = 0x6578_7075
"""Key of the session lock that serialises migrators on PostgreSQL."""


@contextmanager
def only_migrator(connection: Connection) -> Iterator[None]:
    """Wait for other migrators. SQLite's own write lock serialises them: its transaction begins IMMEDIATE."""
    if connection.dialect.name != "postgresql":
        yield
        return
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text("SET lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
    connection.commit()
    connection.execute(text("SET lock_timeout = '5s'"))
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()


def run() -> None:
    """Migrate the database that the configuration names."""
    engine = make_engine(context.config.attributes["url"], pooled=False)
    with (
        engine.connect().execution_options(write=True) as connection,
        only_migrator(connection),
    ):
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_type=True,
            transaction_per_migration=False,
        )
        with context.begin_transaction():
            context.run_migrations()
        if connection.in_transaction():
            connection.commit()
    engine.dispose()


run()
