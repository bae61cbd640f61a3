"""A register in each of its forms, piece by piece: what it holds is read while it is sent."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from markupsafe import Markup
from pydantic import Field
from sqlalchemy.orm import Session

from app.audit.checkpoints_service import newest_note
from app.pages import rendered_in_pieces
from app.reports import family_tree
from app.reports.filters import Filters
from app.reports.kinds import Kind
from app.reports.register import RegisterRow, register, register_csv
from app.reports.schemas import LineageVersion
from app.reports.scope import Scope
from app.reports.statements import CONTROLLER, EMPTY, NO_CHECKPOINT, REGISTER
from app.reports.totals import Part, Totals, part_of, totals_of
from app.reports.typesetting import to_pdf
from app.reports.versions import versions_of
from app.schemas import Out
from core.clock import database_now
from core.db.session import Database
from models_store.registry import find_model, forgotten_classes

MOST_IN_PDF = 5000
"""Requests in one PDF: its layout is held in memory as a whole, unlike the other forms. The rest is the next part."""


class About(Out):
    """What the register is about, in the caller's words."""

    tenant: str
    since: str | None = Field(serialization_alias="from")
    until: str | None = Field(serialization_alias="to")
    model: str | None
    subject: str | None


class Head(Out):
    """Everything but the rows."""

    format: Literal["expunge-register/1"] = "expunge-register/1"
    about: About
    generated_at: datetime
    totals: Totals
    part: Part
    versions: list[LineageVersion] = Field(description="Of the model that the register is about; else empty.")
    checkpoint: str | None = Field(description="The newest signed checkpoint of the ledger; keep it.")
    statement: str


class RegisterOut(Head):
    """The register as one JSON document."""

    requests: list[RegisterRow]


class Register:
    """One register, ready to be sent.

    Args:
        session: any transaction; head and counts are read in it.
        database: where the rows are read from later, in transactions of their own.
        filters: which requests.
        scope: as the caller named it.
        kind: the form.
    """

    def __init__(self, session: Session, database: Database, filters: Filters, scope: Scope, kind: Kind) -> None:
        self.kind = kind
        most = min(scope.limit or MOST_IN_PDF, MOST_IN_PDF) if kind is Kind.PDF else scope.limit
        self.part, start = part_of(session, filters, scope.after, most)
        self.head = _head(session, filters, self.part)
        self._rows = register(database, filters, after=start, most=self.part.requests_here)

    def pieces(self) -> Iterator[str | bytes]:
        """The document, piece by piece; PDF comes in one.

        Returns:
            Text, or the bytes of a PDF.
        """
        if self.kind is Kind.CSV:
            return register_csv(self._rows, self.head.checkpoint)
        if self.kind is Kind.JSON:
            return self._json()
        html = rendered_in_pieces("register.html", **self._values())
        return html if self.kind is Kind.HTML else iter([to_pdf("".join(html))])

    def _json(self) -> Iterator[str]:
        head = self.head.model_dump(mode="json", by_alias=True)
        yield json.dumps(head, ensure_ascii=False)[:-1] + ', "requests": ['
        for place, row in enumerate(self._rows):
            yield (",\n" if place else "\n") + row.model_dump_json()
        yield "\n]}\n"

    def _values(self) -> dict[str, Any]:
        return {
            "head": self.head,
            "rows": self._rows,
            "tree": _tree(self.head.versions),
            "title": title_of(self.head.about),
            "empty": EMPTY,
            "controller": CONTROLLER,
            "no_checkpoint": NO_CHECKPOINT,
        }


def _tree(versions: list[LineageVersion]) -> Markup | None:
    return Markup(family_tree.draw(versions)) if versions else None  # noqa: S704 made by our own serialiser


def title_of(about: About) -> str:
    """What a reader sees first."""
    return f"Register of deletion requests: {', '.join(_words(about))}"


def _words(about: About) -> Iterator[str]:
    if about.since and about.until:
        yield f"received from {about.since} to {about.until}"
    elif about.since or about.until:
        yield f"received since {about.since}" if about.since else f"received until {about.until}"
    if about.model:
        yield f"model {about.model}"
    if about.subject:
        yield f"data subject {about.subject}"


def _versions(session: Session, filters: Filters) -> list[LineageVersion]:
    if filters.model is None:
        return []
    model = find_model(session, filters.tenant, filters.model)
    return versions_of(session, model.id, set(forgotten_classes(session, model)))


def _head(session: Session, filters: Filters, part: Part) -> Head:
    about = About(
        tenant=filters.tenant,
        since=filters.since.isoformat() if filters.since else None,
        until=filters.until.isoformat() if filters.until else None,
        model=filters.model,
        subject=filters.subject,
    )
    return Head(
        about=about,
        generated_at=database_now(session),
        totals=totals_of(session, filters),
        versions=_versions(session, filters),
        part=part,
        checkpoint=newest_note(session),
        statement=REGISTER,
    )
