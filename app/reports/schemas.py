"""What a request's report holds beside its measurements."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from app.schemas import Out
from app.unlearn.deadlines_schemas import DeadlineOut


class LineageVersion(Out):
    """One version of the model, and what it still holds of what was to be deleted."""

    number: int
    parent: int | None
    sha256: str
    state: str
    created_at: datetime
    request: UUID | None = Field(description="The request that made it; null for an upload.")
    forgotten: list[int] = Field(description="Classes that it has forgotten, by index.")
    still_holds: list[int] = Field(description="Classes of this request that it has not forgotten.")


class Indication(Out):
    """One measured number that bears on a question."""

    title: str
    value: float
    low: float | None
    high: float | None
    reads: str = Field(description="Which way is better, and what a model retrained without the classes scores.")


class AnonymityPart(Out):
    """One of the two questions of EDPB Opinion 28/2024 on whether a model is anonymous."""

    question: str
    measured: list[Indication]
    not_measured: list[str]
    sentence: str


class RecordLine(Out):
    """One line of the record of processing activities."""

    point: str = Field(description="Of Article 30(1).")
    what: str
    value: str


class Accounted(Out):
    """What a regulator asks for beyond the measurements."""

    generated_at: datetime
    legal_ground_in_words: str
    outcome: str
    deadline: DeadlineOut | None = Field(description="Until when the data subject must be answered, and what moved it.")
    versions: list[LineageVersion] = Field(description="Every version of the model, by number.")
    consequences: dict[str, Any] = Field(description="What was quarantined, marked, recalled, acknowledged, purged.")
    anonymity: list[AnonymityPart]
    record: list[RecordLine]
    uncertain: list[str] = Field(description="What remains uncertain, each in a sentence.")
    checkpoint: str | None = Field(description="The newest signed checkpoint of the ledger; keep it.")
