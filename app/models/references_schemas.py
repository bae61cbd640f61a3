"""What goes in and out of `/models/{name}/references`, `/recipe` and `/retrain`."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path, Query
from pydantic import Field, StrictInt, StrictStr

from app.schemas import MAX_INTEGER, In, Out, Text
from core.states import JobState
from models_store.recipes import Recipe, Seed
from models_store.tables import ReferenceState

MAX_CLASSES = 10_000

ReferencePath = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="Number of the reference.")]
RecipeQuery = Annotated[int | None, Query(ge=1, le=MAX_INTEGER, description="Version of the recipe; default: newest.")]

ClassReference = Annotated[StrictInt, Field(ge=0, le=MAX_INTEGER)] | Annotated[StrictStr, Field(max_length=256)]
AbsentClasses = Annotated[
    list[ClassReference],
    Field(min_length=1, max_length=MAX_CLASSES, description="Classes by label (text) or by index (number)."),
]
DatasetName = Annotated[Text, Field(max_length=128, description="Name of a data set that is ready.")]
Note = Annotated[Text | None, Field(max_length=2000, description="For whoever reads it. Kept out of the ledger.")]


class RegisterReference(In):
    absent_classes: AbsentClasses
    dataset: DatasetName
    note: Note = None


class RetrainIn(In):
    absent_classes: AbsentClasses
    dataset: DatasetName
    seed: Seed | None = Field(None, description="Of first weights, order and variation; default: as the recipe says.")
    recipe: Recipe | None = Field(None, description="Used this once instead of the model's newest recipe.")
    note: Note = None


class AbsentClass(Out):
    index: int
    label: Annotated[str | None, Field(description="Null once the personal data of its deletion are destroyed.")]


class ReferenceOut(Out):
    model: str
    reference: int
    state: ReferenceState
    origin: Literal["uploaded", "retrained"]
    absent_classes: list[AbsentClass]
    dataset: Annotated[str, Field(description="Whose test split it is checked on.")]
    sha256: Annotated[str | None, Field(description="Digest of the weights; null before their upload.")]
    size_bytes: int | None
    recipe: Annotated[dict[str, Any] | None, Field(description="How it was trained here; null for an upload.")]
    recipe_version: Annotated[int | None, Field(description="Null if the recipe came with the request.")]
    seed: int | None
    measures: Annotated[dict[str, Any] | None, Field(description="Accuracies that the check found.")]
    note: str | None
    problem: Annotated[dict[str, Any] | None, Field(description="Why it was refused.")]
    created_at: datetime
    links: dict[str, str]


class ReferencePage(Out):
    items: list[ReferenceOut]
    next: Annotated[str | None, Field(description="The next page; null on the last.")]


class RecipeOut(Out):
    model: str
    version: int
    sha256: Annotated[str, Field(description="Digest of the recipe's canonical JSON (RFC 8785).")]
    recipe: Recipe
    created_at: datetime
    links: dict[str, str]


class RetrainingOut(Out):
    id: UUID
    state: JobState
    step: str | None = Field(description="`load`, `train <epoch>/<epochs>`, `check` or `register`, once it runs.")
    percent: int
    revision: int = Field(description="Grows with every change; also the ETag.")
    attempt: int
    fence: int
    cancel_requested: bool
    model: str
    absent_classes: list[AbsentClass]
    dataset: str
    seed: int
    recipe: dict[str, Any]
    recipe_version: int | None
    note: str | None
    reference: int | None = Field(description="Number of the reference that it made.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    result: dict[str, Any] | None = Field(description="Measures, mean loss of every epoch, environment.")
    problem: dict[str, Any] | None = Field(description="Why it was rejected or failed, or why the last attempt did.")
    links: dict[str, str]


class RetrainingPage(Out):
    items: list[RetrainingOut] = Field(description="Newest first.")
    next: str | None = Field(description="Path of the next page; null on the last one.")
