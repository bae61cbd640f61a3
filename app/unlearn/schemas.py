"""What a deletion request is made of, and how it is shown."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StrictInt, StrictStr, StringConstraints, model_validator

from app.schemas import MAX_INTEGER, In, Out, Text
from app.unlearn.deadlines_schemas import DeadlineOut
from core.policy.override import FEWEST_LETTERS, MOST_LETTERS
from core.policy.policies import Margin, TestName
from core.requests.spec import Method
from core.states import JobState

MAX_CLASSES = 10_000
MAX_SEED = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exact."""

LegalGround = Literal["art17_1_a", "art17_1_b", "art17_1_c", "art17_1_d", "art17_1_e", "art17_1_f", "ccpa", "other"]
"""GDPR Article 17(1), points (a) to (f); the California Consumer Privacy Act; or another ground."""

ClassReference = Annotated[StrictInt, Field(ge=0, le=MAX_INTEGER)] | Annotated[StrictStr, Field(max_length=256)]


class UnlearnIn(In):
    model: Text = Field(max_length=128, description="Name of a registered model.")
    version: Annotated[int, Field(strict=True, ge=1, le=MAX_INTEGER)] | None = Field(
        None, description="Version to erase from; default: the newest that is ready when the work begins."
    )
    alias: Text | None = Field(None, max_length=64, description="Alias of the version to erase from.")
    classes: list[ClassReference] = Field(
        min_length=1, max_length=MAX_CLASSES, description="Classes to delete, by label (text) or by index (number)."
    )
    dataset: Text = Field(max_length=128, description="Name of a data set that is ready.")
    method: Method = Field(Method.model_validate({}), description="How to unlearn.")
    seed: int = Field(0, strict=True, ge=0, le=MAX_SEED, description="Seed of every random choice.")
    policy: Text = Field(
        "standard",
        max_length=80,
        description="What decides: `NAME` of a policy in its newest version, or `NAME/VERSION`.",
        examples=["standard", "standard/3"],
    )
    thresholds: dict[TestName, Margin] = Field({}, description="Narrower margins than the policy's, by test.")
    subject_reference: Text | None = Field(
        None, max_length=256, description="Your reference of the data subject. Kept out of the ledger and of answers."
    )
    legal_ground: LegalGround | None = Field(None, description="Why the deletion is asked for.")
    received_on: date | None = Field(
        None,
        description="When the data subject asked, at most a year ago; default: today. The deadline counts from it.",
    )
    external_reference: Text | None = Field(None, max_length=256, description="Your ticket or case number.")
    note: Text | None = Field(None, max_length=2000, description="For whoever reads the report.")

    @model_validator(mode="after")
    def _version_or_alias(self) -> Self:
        if self.version is not None and self.alias is not None:
            msg = "Expected version, alias or neither, got both."
            raise ValueError(msg)
        return self


class Sort(StrEnum):
    """How a list of requests is sorted."""

    NEWEST = "newest"
    DUE = "due"


class OverrideIn(In):
    # Stripped, because a row of spaces is no reason; its length is judged by `Override`.
    reason: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(
        description="Why it is published although its verification did not pass. Kept with the version.",
        json_schema_extra={"minLength": FEWEST_LETTERS, "maxLength": MOST_LETTERS},
    )


class ClassOut(Out):
    index: int
    label: str | None = Field(description="Null once the request's personal data were destroyed.")


class StepOut(Out):
    name: str
    seconds: float


class LinksOut(Out):
    """Paths on this service; `cancel` is for DELETE, `retry`, `override` and `replay` for POST, the others for GET.

    `audit` and `purge` are for POST, and for GET once one was asked for.
    """

    self: str
    events: str
    model: str
    report: str
    evidence: str
    proof: str
    model_version: str | None = None
    artifact: str | None = None
    cancel: str | None = None
    retry: str | None = None
    override: str | None = None
    replay: str | None = None
    replays: str
    audit: str | None = None
    purge: str | None = None


class UnlearnOut(Out):
    id: UUID
    state: JobState
    step: str | None = Field(description="`load`, `unlearn`, `verify`, `package` or `publish`, once it runs.")
    percent: int
    revision: int = Field(description="Grows with every change; also the ETag.")
    attempt: int
    fence: int = Field(description="Grows with every claim and takeover; only the holder of the newest may publish.")
    cancel_requested: bool
    model: str
    classes: list[ClassOut]
    dataset: str
    requested_version: int | None
    requested_alias: str | None
    base_version: int | None = Field(description="Number of the version erased from; known when the work begins.")
    new_version: int | None = Field(description="Number of the published version.")
    method: dict[str, Any]
    seed: int
    policy: str = Field(description="Name of the policy that decides.")
    policy_version: int
    legal_ground: str | None
    received_on: date
    deadline: DeadlineOut | None
    external_reference: str | None
    note: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    steps: list[StepOut] = Field(description="Finished steps of the newest attempt that did them.")
    result: dict[str, Any] | None = Field(description="Measures, verdict, alphas, environment; once it is final.")
    problem: dict[str, Any] | None = Field(description="Why it failed, or why the last attempt did.")
    overridden_by: str | None = Field(description="Who published it although the verdict in `result` did not pass.")
    override_reason: str | None
    erased_at: datetime | None = Field(
        None, description="When its key and personal data were destroyed; labels, note and the like are null since."
    )
    receipt: dict[str, Any] | None = Field(None, description="Signed proof of acceptance; in the answer to POST only.")
    links: LinksOut


class UnlearnItem(Out):
    id: UUID
    state: JobState
    step: str | None
    percent: int
    model: str
    classes: list[ClassOut]
    dataset: str
    external_reference: str | None
    created_at: datetime
    finished_at: datetime | None
    due_on: date | None
    overdue: bool
    erased_at: datetime | None = None
    links: LinksOut


class UnlearnList(Out):
    items: list[UnlearnItem] = Field(description="In the order asked for.")
    next: str | None = Field(description="Path of the next page; null on the last one.")


class Progress(Out):
    """The data of one server-sent event."""

    id: UUID
    state: JobState
    step: str | None
    percent: int
    revision: int
