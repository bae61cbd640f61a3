"""A model whose class was deleted by a real publication, its bytes in the store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import update

from core.states import VersionState
from models_store.tables import ModelVersion
from tests.integration.app.api import (
    LABELS,
    Api,
    TestClient,
    add_dataset,
    add_model,
    add_ready_version,
    enough,
    safetensors,
)
from tests.integration.app.unlearn.test_override import REASON, reject

OTHER_LABELS = ["Ameise", "Biene", "Katze", "Hund"]
"""The same classes in another language: the label does not tell that a copy holds the class."""


@dataclass
class Lineage:
    """The API, and somebody who may do everything that is asked for by name."""

    api: Api
    chief: TestClient

    def register(self, name: str = "m", *, labels: list[str] | None = None, **more: Any) -> None:
        """A model without versions."""
        body = {
            "name": name,
            "architecture": "expunge/small_convnet",
            "labels": labels or LABELS,
            "input": {"height": 8, "width": 8, "channels": 1, "mean": [0.5], "std": [0.5], "resize": "none"},
        }
        answer = self.api.local.post("/models", json={**body, **more})
        assert answer.status_code == 201, answer.text

    def upload(self, name: str = "m", *, value: float = 1.0) -> int:
        """The number of a version with these weights, found good."""
        answer = self.api.call("PUT", f"/models/{name}/weights", content=safetensors(value))
        assert answer.status == 202, answer.body
        with self.api.database.writing() as session:
            checked = update(ModelVersion).where(ModelVersion.state == VersionState.VALIDATING)
            session.execute(checked.values(state=VersionState.READY))
            # What was queued to check them would be claimed before any deletion.
            session.connection().exec_driver_sql("UPDATE jobs SET state = 'cancelled' WHERE kind = 'validate_version'")
        return int(answer.json()["version"])

    def publish(self, label: str, *, forgotten: list[int], value: float) -> UUID:
        """The request that deleted a class of `m`: rejected by its verdict, and published on somebody's word."""
        job_id, _ = reject(self.api, label, forgotten=forgotten, value=value)
        answer = self.chief.post(f"/unlearn/{job_id}/override", json={"reason": REASON})
        assert answer.status_code == 200, answer.text
        return job_id

    def version(self, number: int, name: str = "m") -> dict[str, Any]:
        """As the API shows it."""
        shown: dict[str, Any] = self.api.local.get(f"/models/{name}/versions/{number}").json()
        return shown


SCOPES = ("override", "break-glass", "artifacts:read", "models:read", "models:write", "audit:read", "requests:submit")


def made(database_url: str, data_dir: Path, **options: Any) -> Iterator[Lineage]:
    api = Api(database_url, data_dir, **options)
    lineage = Lineage(api, api.with_key(*SCOPES))
    lineage.register()
    lineage.upload(value=1.0)
    with api.database.writing() as session:
        add_dataset(session, "default", enough(LABELS), labels=LABELS)
    yield lineage
    api.resources.close()


@pytest.fixture
def lineage(database_url: str, tmp_path: Path) -> Iterator[Lineage]:
    """Model `m` with version 1, on either database; nothing is deleted yet."""
    yield from made(database_url, tmp_path)


@pytest.fixture
def small_lineage(sqlite_url: str, tmp_path: Path) -> Iterator[Lineage]:
    """The same on SQLite only."""
    yield from made(sqlite_url, tmp_path)


def add_foreign_copy(api: Api, sha256: str) -> None:
    """The same bytes as version 1 of another tenant's model."""
    with api.database.writing() as session:
        model = add_model(session, "other", LABELS)
        add_ready_version(session, model, artifact_sha256=sha256)
