"""What routes ask for: sessions, the store, the caller, a page.

One transaction per request, committed at this edge. `scope="function"` ends it when the route's function has returned
and before the first byte of the answer is sent: a commit that fails is answered with 5xx, and a 202 is sent only after
the commit.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.auth import Caller, caller
from app.resources import Resources, resources
from core.settings import Settings
from models_store.storage import LocalStorage

__all__ = [
    "Caller",
    "CurrentSettings",
    "Held",
    "Paging",
    "ReadingSession",
    "Storage",
    "WritingSession",
    "caller",
]

Held = Annotated[Resources, Depends(resources)]
"""The application's resources, for a route that opens transactions itself (uploads, streams)."""


def _writing(held: Held) -> Iterator[Session]:
    with held.database.writing() as session:
        yield session


def _reading(held: Held) -> Iterator[Session]:
    with held.database.reading() as session:
        yield session


def _storage(held: Held) -> LocalStorage:
    return held.storage


def _settings(held: Held) -> Settings:
    return held.settings


WritingSession = Annotated[Session, Depends(_writing, scope="function")]
"""A transaction that may write; on SQLite it holds the one write lock from its first statement on."""

ReadingSession = Annotated[Session, Depends(_reading, scope="function")]
"""A transaction that only reads."""

Storage = Annotated[LocalStorage, Depends(_storage)]
"""The artifact store."""

CurrentSettings = Annotated[Settings, Depends(_settings)]
"""What the operator chose."""


class _Page(BaseModel):
    """Which part of a list is asked for."""

    model_config = ConfigDict(frozen=True)

    limit: int = Field(50, ge=1, le=200, description="How many at most.")
    after: str | None = Field(None, max_length=128, description="The last one already seen; see `next` of the answer.")


def _page(
    limit: Annotated[int, Query(ge=1, le=200, description="How many at most.")] = 50,
    after: Annotated[
        str | None,
        Query(max_length=128, description="Key of the last item already seen; follow `next` of the answer instead."),
    ] = None,
) -> _Page:
    return _Page(limit=limit, after=after)


Paging = Annotated[_Page, Depends(_page)]
"""`limit` and `after` of a list; keyset paging, so that a page does not shift when rows are added."""
