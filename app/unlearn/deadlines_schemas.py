"""How a deadline is moved and shown."""

from datetime import date, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from app.schemas import In, Out, Text
from core.deadlines.periods import MOST_MONTHS_FURTHER

FEWEST_LETTERS, MOST_LETTERS = 3, 2000


def _says_something(text: str) -> str:
    if not FEWEST_LETTERS <= len(text) <= MOST_LETTERS:
        msg = f"Expected a reason of {FEWEST_LETTERS} to {MOST_LETTERS:,} characters, got {len(text):,}."
        raise ValueError(msg)
    return text


Reason = Annotated[
    Text,
    StringConstraints(strip_whitespace=True),
    AfterValidator(_says_something),
    Field(
        description="Why. Kept with the request, and as a commitment in the ledger.",
        json_schema_extra={"minLength": FEWEST_LETTERS, "maxLength": MOST_LETTERS},
    ),
]


class ReasonIn(In):
    reason: Reason


class ExtendIn(In):
    reason: Reason
    months: int = Field(
        MOST_MONTHS_FURTHER, strict=True, ge=1, le=MOST_MONTHS_FURTHER, description="How many further months."
    )


class DeadlineStepOut(Out):
    kind: str = Field(description="`extended`, `paused`, `resumed`, `answered`, `approaching` or `overdue`.")
    at: datetime
    actor: str
    reason: str | None = Field(description="Null where none was asked for, and once it was erased.")
    due_on: date = Field(description="When it was due after this.")


class DeadlineOut(Out):
    """Until when the data subject must be answered; all days are days in UTC."""

    due_on: date = Field(description="Last day that is in time. While it is paused: as of the pause.")
    overdue: bool = Field(description="Whether the answer is owed and late.")
    in_time: bool | None = Field(description="Whether it was closed in time; null while it is open.")
    further_months: int
    paused_on: date | None
    days_paused: int = Field(description="By pauses that are over.")
    closed_on: date | None
    closed_by: str | None = Field(description="`published`, `cancelled`, `denied` or `answered`.")
    steps: list[DeadlineStepOut] = Field(description="What happened to it, oldest first.")
