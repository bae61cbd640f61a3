"""How ledger entries and reports are shown."""

from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from app.audit.curves import Curves
from app.audit.measures import MeasureRow
from app.reports.schemas import Accounted
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
    meaning: str = Field(description="What it measures, in one sentence.")
    direction: str = Field(description="Which way is better.")
    retrained: str = Field(description="What a model scores that was trained anew without the classes.")
    deciding: bool = Field(description="Whether the policy decides by it; other tests only inform.")
    outcome: str | None
    margin: str = Field(description="Where the whole interval must lie.")
    at_least: float | None
    at_most: float | None
    position: str = Field(description="Where the interval lies; empty for a test that only informs.")
    value: float | None
    low: float | None
    high: float | None
    n: int | None = Field(description="Samples behind the value.")
    seed: int | None
    problem: str | None


class VerdictOut(Out):
    outcome: str
    policy: str
    decided_by: list[str]
    tests: list[TestOut] = Field(description="Deciding ones first.")


class CoverageRow(Out):
    """One test that the service knows."""

    name: str
    title: str
    tier: str = Field(description="When it is made: for every request, with a reference, or in an audit.")
    measured: bool
    reason: str | None = Field(description="Why it was not measured.")


class ReferenceUsed(Out):
    """The model that was trained without the classes and compared with; null where the result does not tell."""

    number: int | None
    sha256: str | None
    seed: int | None


class AuditUsed(Out):
    """An audit of the request with shadow models; it informs, and changes no verdict."""

    id: UUID
    state: JobState
    pairs: int
    seed: int
    models: dict[str, int] = Field(description="How many shadow models there were, by kind.")
    finished_at: datetime | None


class CoverageOut(Out):
    """What was measured and what was not."""

    tests: list[CoverageRow]
    attacks: list[str] = Field(description="What attackers did, as far as it was tried.")
    attacks_not_made: list[str]
    reference: ReferenceUsed | None
    reference_sentence: str
    audit: AuditUsed | None
    audit_sentence: str


class CostLine(Out):
    """One figure of what the deletion cost."""

    name: str
    value: str


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
    erased_at: datetime | None = Field(None, description="When its key and personal data were destroyed.")
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
    overridden_by: str | None = Field(description="Who published the new version although the verdict did not pass.")
    override_reason: str | None
    measures: list[MeasureRow]
    coverage: CoverageOut | None = Field(description="Null as long as nothing has been measured.")
    curves: Curves = Field(description="What the plots are drawn from.")
    class_labels: list[str] = Field(description="Names of all classes in output order, for the curves.")
    erased_before: list[int] = Field(description="Indices of the classes deleted by earlier requests.")
    cost: list[CostLine]
    steps: list[StepOut]
    environment: dict[str, Any]
    problem: dict[str, Any] | None
    ledger: list[ReportEntry]
    accounted: Accounted | None = None
    statement: str
