"""The API on either database, or on SQLite alone where the database is not what the test is about."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.integration.app.api import Api
from tests.integration.app.audit.test_checkpoints import make_keys


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """An application with a model and a data set, once on each database."""
    yield from _registered(database_url, tmp_path)


@pytest.fixture
def small_api(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    """The same on SQLite only."""
    yield from _registered(sqlite_url, tmp_path)


@pytest.fixture
def signing(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """An application with signing keys that signs a checkpoint whenever it is asked for one, once on each database."""
    yield from _signing(database_url, tmp_path)


@pytest.fixture
def small_signing(sqlite_url: str, tmp_path: Path) -> Iterator[Api]:
    """The same on SQLite only."""
    yield from _signing(sqlite_url, tmp_path)


def _signing(database_url: str, data_dir: Path) -> Iterator[Api]:
    for made in _registered(database_url, data_dir, checkpoint_interval=timedelta(0)):
        make_keys(made)
        yield made


def _registered(database_url: str, data_dir: Path, **options: Any) -> Iterator[Api]:
    made = Api(database_url, data_dir, **options)
    made.register()
    yield made
    made.resources.close()
