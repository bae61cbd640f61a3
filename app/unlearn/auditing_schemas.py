"""What goes in and out of `/unlearn/{request_id}/audit`."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from app.schemas import In, Out
from core.states import JobState
from models_store.recipes import Seed
from models_store.shadows import MAX_PAIRS, MIN_PAIRS


class AuditIn(In):
    pairs: int = Field(
        strict=True,
        ge=MIN_PAIRS,
        le=MAX_PAIRS,
        description="Pairs of shadow models: one trained and unlearned, one trained without. 16 are usual.",
    )
    seed: Seed | None = Field(
        None, description="Seed of every random choice; default: that of the audit before, whose shadows are reused."
    )


class ShadowsOut(Out):
    unlearned: dict[JobState, int] = Field(description="Trained with the classes, then unlearned: models by state.")
    retrained: dict[JobState, int] = Field(description="Trained without the classes: models by state.")
    reused: int = Field(description="Models that an earlier audit of the request had made.")


class AuditOut(Out):
    id: UUID
    request: UUID
    state: JobState = Field(description="`queued` while its shadow models are made, then `running`.")
    step: str | None = Field(description="`shadows` while they are made, `gather` while the measures are taken.")
    percent: int
    attempt: int
    cancel_requested: bool
    pairs: int
    seed: int
    recipe_version: int
    shadows: ShadowsOut
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None = Field(
        description=(
            "`measures` with value, 95 % interval, n, seed and direction; `inconclusive`: what could not be measured, "
            "and why; `models` and `missing`: how many shadow models there were, and why others were not."
        )
    )
    problem: dict[str, Any] | None = Field(description="Why it failed, or why the last attempt did.")
    links: dict[str, str]
