"""A client of the API in this process, and the rows that models and data sets would leave behind."""

import warnings
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from sqlalchemy.orm import Session

from app.keys import service as keys
from app.main import create_app
from app.resources import Resources
from core.clock import database_now
from core.settings import Settings
from core.states import DatasetState, VersionState
from models_store.registry import add_version
from models_store.tables import Dataset, Model, ModelVersion

with warnings.catch_warnings():
    # Starlette would rather have another client library; this one is among our dependencies.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

__all__ = ["LABELS", "LOOPBACK", "Api", "TestClient", "add_dataset", "add_model", "add_ready_version", "body", "enough"]

LABELS = ["ant", "bee", "cat", "dog"]
LOOPBACK = ("127.0.0.1", 50000)


class Api:
    """One application on one database; clients of it as this or that caller."""

    def __init__(self, database_url: str, data_dir: Path, **options: Any) -> None:
        settings = Settings(**{
            "data_dir": data_dir,
            "database_url": database_url,
            "allow_anonymous_loopback": True,
            **options,
        })
        self.app: FastAPI = create_app(settings)
        self.resources: Resources = self.app.state.resources
        self.database = self.resources.database
        self.local = TestClient(self.app, base_url="http://127.0.0.1:8080", client=LOOPBACK)

    def with_key(self, *scopes: str, tenant: str = "default") -> TestClient:
        """A client with a new key."""
        with self.database.writing() as session:
            _, text = keys.create(
                session, tenant=tenant, actor="cli", name="test", scopes=list(scopes), environment="test"
            )
        return self.from_afar(Authorization=f"Bearer {text}")

    def from_afar(self, **headers: str) -> TestClient:
        """A client on another machine."""
        return TestClient(self.app, base_url="http://api.example", client=("203.0.113.9", 50000), headers=headers)

    def register(self, tenant: str = "default", *, labels: list[str] | None = None) -> None:
        """A model `m` with one ready version and a data set `d` with enough of everything."""
        with self.database.writing() as session:
            model = add_model(session, tenant, labels or LABELS)
            add_ready_version(session, model)
            add_dataset(session, tenant, enough(labels or LABELS), labels=labels or LABELS)


def add_model(session: Session, tenant: str, labels: list[str], name: str = "m") -> Model:
    """A registered model."""
    model = Model(
        tenant=tenant,
        actor="test",
        name=name,
        architecture="expunge/small_convnet",
        architecture_options={},
        labels=labels,
        input_spec={},
        created_at=database_now(session),
        last_version=0,
    )
    session.add(model)
    session.flush()
    return model


def add_ready_version(session: Session, model: Model, **columns: Any) -> ModelVersion:
    """The model's next version, ready unless the columns say otherwise."""
    given = {"state": VersionState.READY, "artifact_sha256": "ab" * 32, "size_bytes": 10, **columns}
    return add_version(session, model, actor="test", **given)


def add_dataset(
    session: Session,
    tenant: str,
    counts: dict[str, dict[str, int]],
    *,
    labels: list[str] | None,
    name: str = "d",
    state: DatasetState = DatasetState.READY,
) -> Dataset:
    """A data set with these images per split and label."""
    dataset = Dataset(
        tenant=tenant,
        actor="test",
        name=name,
        state=state,
        labels=labels,
        summary={"splits": counts},
        created_at=database_now(session),
    )
    session.add(dataset)
    session.flush()
    return dataset


def enough(labels: list[str]) -> dict[str, dict[str, int]]:
    """Images enough to erase and verify any class."""
    return {"train": dict.fromkeys(labels, 100), "test": dict.fromkeys(labels, 50)}


def body(*classes: str | int, **members: Any) -> dict[str, Any]:
    """A request for deletion that is accepted."""
    return {"model": "m", "dataset": "d", "classes": list(classes), **members}
