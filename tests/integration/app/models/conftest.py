"""An application on a database and a store of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from core.states import VersionState
from models_store.tables import ModelVersion
from tests.integration.app.api import Api, registration, safetensors


@pytest.fixture
def api(database_url: str, tmp_path: Path) -> Iterator[Api]:
    """On SQLite and on PostgreSQL."""
    api = Api(database_url, tmp_path / "data", max_weights_bytes=100_000)
    yield api
    api.app.state.resources.close()


@pytest.fixture
def weights() -> bytes:
    """A file of some thousand bytes."""
    return safetensors(*(float(value) for value in range(2_000)))


@pytest.fixture
def ready(api: Api, weights: bytes) -> Api:
    """The same with the model `digits`, whose version 1 a worker has found good."""
    assert api.call("POST", "/models", body=registration()).status == 201
    assert api.call("PUT", "/models/digits/weights", content=weights).status == 202
    with api.database.writing() as session:
        session.execute(update(ModelVersion).values(state=VersionState.READY))
    return api
