"""Databases with a ledger: empty ones of both kinds, and a signed one without its guards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db.session import Database
from core.signing.keyring import KeyFile
from tests.integration.core.support import drop_guards, fill, make_keys, make_sealer


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.dispose()


@pytest.fixture
def small(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[Database, KeyFile]]:
    """A signed ledger on SQLite whose guards were removed, as by somebody who owns the database."""
    database = Database(sqlite_url, pooled=False)
    keys = make_keys(database, tmp_path / "signing.json")
    fill(database, 21)
    make_sealer(database, keys).current()
    with database.writing() as session:
        drop_guards(session)
    yield database, keys
    database.dispose()
