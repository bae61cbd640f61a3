"""The application called as a server would call it, and small valid files to send to it."""

import asyncio
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from sqlalchemy import select
from starlette.types import Message

from app.main import create_app
from app.resources import Resources
from core.db.session import Database
from core.ledger.export import check_export, export_document
from core.ledger.tables import LedgerEntry, LedgerHead
from core.ledger.tree import root_of
from core.settings import Settings

DISCONNECT: Message = {"type": "http.disconnect"}


@dataclass
class Answer:
    """What came back, and how many pieces of the body the application asked for."""

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


@dataclass
class Api:
    """Speaks ASGI to an application of its own, from the loopback address, one event loop per call."""

    url: str
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.settings = Settings(
            database_url=self.url, data_dir=self.folder, allow_anonymous_loopback=True, **self.options
        )
        self.app = create_app(self.settings)

    @property
    def database(self) -> Database:
        held: Resources = self.app.state.resources
        return held.database

    def call(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        content: bytes | Iterable[bytes] | None = None,
        cut: bool = False,
        **headers: str,
    ) -> Answer:
        """One request: `body` goes as JSON, `content` in pieces as given; `cut` hangs up after the last piece."""
        pieces = [json.dumps(body).encode()] if body is not None else content
        if isinstance(pieces, bytes):
            pieces = [pieces[start : start + 1000] for start in range(0, len(pieces), 1000)]
            headers.setdefault("content_length", str(sum(map(len, pieces))))
        if body is not None:
            headers.setdefault("content_type", "application/json")
        return asyncio.run(self._call(method, target, list(pieces or []), cut, headers))

    async def _call(self, method: str, target: str, pieces: list[bytes], cut: bool, headers: dict[str, str]) -> Answer:
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
        incoming: list[Message] = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
        incoming.append(DISCONNECT if cut else {"type": "http.request", "body": b"", "more_body": False})
        answer = Answer(0, {}, b"")

        async def receive() -> Message:
            if not incoming:
                await asyncio.Event().wait()
            answer.num_read += 1
            return incoming.pop(0)

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
        return sorted(path for path in self.settings.artifacts_dir.rglob("*") if path.is_file())


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
