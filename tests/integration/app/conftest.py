"""The API on either database, or on SQLite alone where the database is not what the test is about."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.app.api import Api


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """An application with a model and a data set, once on each database."""
    yield from _registered(database_url, tmp_path)


@pytest.fixture
def small_api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    """The same on SQLite only."""
    yield from _registered(sqlite_url, tmp_path)


def _registered(database_url: str, data_dir: Path) -> Iterator[Api]:
    made = Api(database_url, data_dir)
    made.register()
    yield made
    made.resources.close()
