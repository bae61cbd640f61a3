"""How ledger entries and reports are shown."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.audit.measures import MeasureRow
from app.schemas import Out
from app.unlearn.schemas import ClassOut, StepOut
from core.states import JobState


class EntryOut(Out):
    seq: int
    leaf: str = Field(description="Base64 of the canonical bytes that were hashed.")
    hash: str = Field(description="SHA-256 of 0x00 and the leaf, hex (RFC 6962 section 2.1).")


class EntriesOut(Out):
    format: Literal["expunge-ledger/1"] = "expunge-ledger/1"
    tree_size: int = Field(description="Entries in the whole ledger, those of other tenants included.")
    root: str = Field(description="Root hash of the whole ledger, hex.")
    entries: list[EntryOut]
    next: str | None = Field(description="Path of the next page; null on the last one.")


class VersionOut(Out):
    number: int
    sha256: str
    size_bytes: int
    created_at: datetime


class ReportEntry(Out):
    seq: int
    at: str
    type: str
    actor: str
    origin: str | None = Field(description="State before.")
    to: str | None = Field(description="State after.")
    attempt: int | None
    hash: str


class TestOut(Out):
    __test__ = False  # pytest collects classes called Test*

    name: str
    title: str
    deciding: bool
    outcome: str | None
    margin: str
    value: float | None
    low: float | None
    high: float | None
    problem: str | None


class VerdictOut(Out):
    outcome: str
    policy: str
    decided_by: list[str]
    tests: list[TestOut]


class ReportOut(Out):
    """Everything that is known of one request, for a data protection officer to read and file."""

    request: UUID
    state: JobState
    tenant: str
    asked_by: str
    asked_at: datetime
    received_on: date
    legal_ground: str | None
    subject_reference: str | None
    external_reference: str | None
    note: str | None
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    fence: int
    model: str
    dataset: str
    classes: list[ClassOut]
    base_version: VersionOut | None
    new_version: VersionOut | None
    method: dict[str, Any]
    seed: int
    verdict: VerdictOut | None
    measures: list[MeasureRow]
    steps: list[StepOut]
    environment: dict[str, Any]
    problem: dict[str, Any] | None
    ledger: list[ReportEntry]
    statement: str
