"""The API in this process, the rows that models and data sets would leave behind, and small valid files to send."""

import asyncio
import json
import struct
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.types import Message

from app.keys import service as keys
from app.main import create_app
from app.resources import Resources
from core.clock import database_now
from core.ledger.export import check_export, export_document
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import root_of
from core.requests.repository import enqueue
from core.settings import Settings
from core.states import DatasetState, JobKind, JobState, VersionState
from models_store.registry import add_version, find_model
from models_store.tables import Dataset, ForgottenClass, Model, ModelVersion

with warnings.catch_warnings():
    # Starlette would rather have another client library; this one is among our dependencies.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

__all__ = [
    "LABELS",
    "LOOPBACK",
    "Api",
    "TestClient",
    "add_dataset",
    "add_model",
    "add_ready_version",
    "body",
    "enough",
    "forget",
    "registration",
    "safetensors",
]

LABELS = ["ant", "bee", "cat", "dog"]
LOOPBACK = ("127.0.0.1", 50000)
DISCONNECT: Message = {"type": "http.disconnect"}
LAST: Message = {"type": "http.request", "body": b"", "more_body": False}


@dataclass
class Answer:
    """What came back, and how many pieces of the body the application asked for before it answered."""

    status: int
    headers: dict[str, str]
    body: bytes
    num_read: int = 0

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def slug(self) -> str:
        return str(self.json()["type"]).removeprefix("urn:expunge:problem:")

    @property
    def pointers(self) -> list[str]:
        return [item["pointer"] for item in self.json()["errors"]]


class Api:
    """One application on one database.

    `local`, `with_key` and `from_afar` are clients of it as this or that caller; `call` speaks ASGI itself, for bodies
    that come in pieces or break off.
    """

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

    def call(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        content: bytes | Iterable[bytes] | None = None,
        cut: bool = False,
        silent: bool = False,
        **headers: str,
    ) -> Answer:
        """One request: `body` goes as JSON, `content` in pieces as given; `cut` hangs up after the last piece.

        With `silent` nothing more comes after the last piece, not even the end.
        """
        pieces = [json.dumps(body).encode()] if body is not None else content
        if isinstance(pieces, bytes):
            pieces = [pieces[start : start + 1000] for start in range(0, len(pieces), 1000)]
            headers.setdefault("content_length", str(sum(map(len, pieces))))
        if body is not None:
            headers.setdefault("content_type", "application/json")
        ending = None if silent else DISCONNECT if cut else LAST
        if pieces is not None and "content_length" not in headers:
            headers["transfer_encoding"] = "chunked"
        return asyncio.run(self._call(method, target, iter(pieces or ()), ending, headers))

    async def _call(
        self, method: str, target: str, pieces: Iterator[bytes], ending: Message | None, headers: dict[str, str]
    ) -> Answer:
        parts = urlsplit(target)
        named = {"host": "127.0.0.1", **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": parts.path,
            "raw_path": quote(parts.path).encode(),
            "query_string": parts.query.encode(),
            "root_path": "",
            "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        answer = Answer(0, {}, b"")
        endings = iter([ending] if ending else [])

        async def receive() -> Message:
            answer.num_read += not answer.status
            if (piece := next(pieces, None)) is not None:
                return {"type": "http.request", "body": piece, "more_body": True}
            if (last := next(endings, None)) is not None:
                return last
            await asyncio.Event().wait()
            raise RuntimeError("Expected the caller to stay silent.")

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        await self.app(scope, receive, send)
        return answer

    def ledger(self) -> list[dict[str, Any]]:
        """Every leaf, after the whole chain was checked."""
        with self.database.reading() as session:
            leaves = list(session.execute(select(LedgerEntry.leaf).order_by(LedgerEntry.seq)).scalars())
            head = session.execute(select(LedgerHead)).scalar_one()
        root = root_of([bytes.fromhex(node) for node in head.frontier])
        document = export_document(leaves, tree_size=head.tree_size, root=root)
        assert all(finding.holds for finding in check_export(document))
        return [json.loads(leaf) for leaf in leaves]

    def ledger_types(self) -> list[str]:
        return [leaf["type"] for leaf in self.ledger()]

    def stored(self) -> list[Path]:
        """Every file in the store, partial ones too."""
        return sorted(path for path in self.resources.settings.artifacts_dir.rglob("*") if path.is_file())


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


def forget(api: Api, index: int, *, model_name: str = "m") -> UUID:
    """A class that left the model earlier, in a version of its own; the job that removed it."""
    with api.database.writing() as session:
        model = find_model(session, "default", model_name)
        job = enqueue(session, JobKind.VALIDATE_VERSION, tenant="default", actor="test", spec={}, max_attempts=1)
        job.state = JobState.COMPLETED
        version = add_ready_version(session, model, forgotten=[index])
        session.add(
            ForgottenClass(
                model_id=model.id,
                class_index=index,
                tenant="default",
                actor="test",
                job_id=job.id,
                version_id=version.id,
                forgotten_at=version.created_at,
            )
        )
        return job.id


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


def safetensors(*values: float, name: str = "w") -> bytes:
    """A well-formed file with one vector."""
    data = struct.pack(f"<{len(values)}f", *values)
    entry = {name: {"dtype": "F32", "shape": [len(values)], "data_offsets": [0, len(data)]}}
    header = json.dumps(entry).encode()
    return struct.pack("<Q", len(header)) + header + data


def registration(**changes: Any) -> dict[str, Any]:
    """A body that `POST /models` takes."""
    return {
        "name": "digits",
        "architecture": "expunge/small_convnet",
        "labels": ["zero", "one", "two"],
        "input": {"height": 8, "width": 8, "channels": 1, "mean": [0.5], "std": [0.5], "resize": "none"},
    } | changes
