"""What goes in and out of `/models`."""

import unicodedata
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path
from pydantic import AfterValidator, Field, StrictBool, StrictInt, StringConstraints

from app.schemas import MAX_INTEGER, In, Out, Text
from core.policy.override import FEWEST_LETTERS, MOST_LETTERS
from core.states import VersionState
from models_store.input_spec import InputSpec
from models_store.lineage.tables import Relation

MAX_LABELS = 100_000

# Narrower than what a path may name: lower case only, so that two names never differ by case alone.
Name = Annotated[
    str,
    Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,127}$", description="Lower-case letters, digits, dot, dash, underscore."),
]
# What could never be registered is simply not found; a length keeps it off the database.
NamePath = Annotated[str, Path(max_length=128, description="Name of the model.")]
AliasPath = Annotated[str, Path(max_length=64, description="Name of the alias.")]
# Starts with a letter: a number would read as a version.
NewAliasPath = Annotated[str, Path(pattern=r"^[a-z][a-z0-9._-]{0,63}$", description="Name of the alias.")]
NumberPath = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="Number of the version.")]


def _check_labels(labels: list[str]) -> list[str]:
    # Composed Unicode, as the labels of data sets are: the same name typed on two systems is one label.
    labels = [unicodedata.normalize("NFC", label) for label in labels]
    seen: set[str] = set()
    for position, label in enumerate(labels):
        # Control characters and lone surrogates cannot be stored or shown faithfully.
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in label):
            msg = f"Expected labels without control characters, got one at index {position}."
            raise ValueError(msg)
        if label in seen:
            msg = f"Expected every label once, got the one at index {position} again."
            raise ValueError(msg)
        seen.add(label)
    return labels


Label = Annotated[str, Field(min_length=1, max_length=256)]
Labels = Annotated[list[Label], Field(min_length=2, max_length=MAX_LABELS), AfterValidator(_check_labels)]
OptionName = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
OptionValue = (
    StrictBool
    | Annotated[StrictInt, Field(ge=-(10**9), le=10**9)]
    | Annotated[float, Field(strict=True, ge=-1e9, le=1e9, allow_inf_nan=False)]
    | Annotated[Text, Field(strict=True, max_length=64)]
)


class OriginIn(In):
    model: Annotated[Text, Field(max_length=128, description="Name of a registered model.")]
    version: Annotated[StrictInt, Field(ge=1, le=MAX_INTEGER)]


class OriginOut(Out):
    model: str
    version: int


class RegisterModel(In):
    name: Name
    architecture: Annotated[Text, Field(min_length=1, max_length=128, examples=["cifar/resnet18"])]
    architecture_options: Annotated[dict[OptionName, OptionValue], Field(max_length=16, default_factory=dict)]
    labels: Annotated[Labels, Field(description="Names of the classes in the order of the outputs.")]
    input: InputSpec
    derived_from: Annotated[
        OriginIn | None,
        Field(description="The version it was made from, as by fine-tuning: classes deleted there are watched here."),
    ] = None


class SetAlias(In):
    version: Annotated[StrictInt, Field(ge=1, le=MAX_INTEGER, description="Number of the version it shall name.")]


class ForgottenOut(Out):
    index: int
    label: Annotated[str | None, Field(description="Null once the request's personal data are destroyed.")]
    request: UUID
    links: dict[str, str]


class AliasOut(Out):
    name: str
    version: int
    state: Annotated[VersionState, Field(description="Of the version: in quarantine, the alias resolves no more.")]
    revision: Annotated[int, Field(description="Changes with every move; its ETag.")]
    updated_at: datetime
    links: dict[str, str]


class AliasList(Out):
    items: list[AliasOut]


class ModelItem(Out):
    name: str
    architecture: str
    num_labels: int
    last_version: Annotated[int, Field(description="Highest version number so far; 0 before the first upload.")]
    created_at: datetime
    links: dict[str, str]


class ModelOut(ModelItem):
    architecture_options: dict[str, Any]
    labels: Annotated[
        list[str | None],
        Field(description="In the order of the outputs; null where a deleted class was: its label is retired."),
    ]
    input: dict[str, Any]
    derived_from: OriginOut | None
    forgotten: Annotated[list[ForgottenOut], Field(description="Classes deleted for good.")]
    aliases: list[AliasOut]


class ModelPage(Out):
    items: list[ModelItem]
    next: Annotated[str | None, Field(description="The next page; null on the last.")]


class VerdictSummary(Out):
    outcome: str
    policy: str | None
    policy_version: int | None
    decided_by: list[str]


class SuccessorOut(Out):
    model: str
    version: int
    sha256: str
    links: dict[str, str]


class QuarantineOut(Out):
    """Why a version may no longer be downloaded. The first reason; later requests may have added to it."""

    at: datetime
    request: Annotated[UUID, Field(description="The request that deleted a class it holds.")]
    relation: Annotated[Relation, Field(description="How it is akin to the version that request published.")]
    class_indices: Annotated[list[int], Field(description="Deleted classes it holds, of every such request.")]
    requests: Annotated[list[UUID], Field(description="Every such request, the first one first.")]
    why: str
    successor: Annotated[SuccessorOut | None, Field(description="What takes its place now.")]


class AccuracyOut(Out):
    value: float
    low: float | None
    high: float | None
    n: int


class GuardedClassOut(Out):
    index: int
    request: Annotated[UUID, Field(description="The request that deleted the class.")]
    basis: Annotated[
        Literal["digest", "test-samples", "prototypes", "label-map"],
        Field(description="By what it was judged; `label-map` measures nothing."),
    ]
    outcome: Literal["clear", "above", "unmeasured"]
    limit: Annotated[float, Field(description="The largest accuracy that the policy of the deletion lets pass.")]
    accuracy: AccuracyOut | None


class GuardOut(Out):
    outcome: Literal["clear", "flagged", "refused", "unmeasured"]
    classes: list[GuardedClassOut]


class BreakGlassIn(In):
    # Stripped, because a row of spaces is no reason; its length is judged by `Reason`.
    reason: Annotated[Text, StringConstraints(strip_whitespace=True)] = Field(
        description="Why quarantined weights are needed. Kept beside the version.",
        json_schema_extra={"minLength": FEWEST_LETTERS, "maxLength": MOST_LETTERS},
    )


class VersionOut(Out):
    model: str
    version: int
    state: VersionState
    sha256: str
    size_bytes: int
    parent: Annotated[int | None, Field(description="The version it was made from.")]
    request: Annotated[UUID | None, Field(description="The request that made it; null for an upload.")]
    forgotten: Annotated[list[int], Field(description="Indices of the classes erased on the way to it.")]
    verdict: VerdictSummary | None
    overridden_by: Annotated[str | None, Field(description="Who published it although its verdict did not pass.")]
    override_reason: str | None
    problem: Annotated[dict[str, Any] | None, Field(description="Why it was refused.")]
    guard: Annotated[
        GuardOut | None, Field(description="What the re-learning guard found; null for what was published here.")
    ]
    quarantine: Annotated[QuarantineOut | None, Field(description="Why it may no longer be downloaded.")]
    created_at: datetime
    links: dict[str, str]


class LabelOut(Out):
    index: int
    label: Annotated[str | None, Field(description="Null once it is retired.")]
    state: Literal["in-use", "retired"]
    request: Annotated[UUID | None, Field(description="The request that deleted the class.")]


class LabelList(Out):
    items: Annotated[list[LabelOut], Field(description="One for each output, in their order.")]


class VersionPage(Out):
    items: list[VersionOut]
    next: Annotated[str | None, Field(description="The next page; null on the last.")]
