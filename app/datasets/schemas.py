"""What goes in and out of `/datasets`."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Path
from pydantic import Field

from app.models.schemas import Labels, Name
from app.schemas import In, Out
from core.states import DatasetState

NamePath = Annotated[str, Path(max_length=128, description="Name of the data set.")]
Split = Literal["train", "test", "validation"]
SourcePath = Annotated[str, Field(min_length=1, max_length=1024, examples=["digits/train.zip"])]


class Paths(In):
    """Files below the operator's folder: `all`, whose content says which split is which, or one file per split."""

    # `all` is a builtin's name, but it is what the wire says.
    all: SourcePath | None = None
    train: SourcePath | None = None
    test: SourcePath | None = None
    validation: SourcePath | None = None

    def by_split(self) -> dict[str, str]:
        """The paths that were given."""
        return self.model_dump(exclude_none=True)


class RegisterDataset(In):
    name: Name
    labels: Annotated[Labels | None, Field(description="Names of the classes 0, 1, ... of an npz.")] = None
    paths: Annotated[Paths | None, Field(description="Files to read in place; the set then seals itself.")] = None


class SourceOut(Out):
    split: str
    sha256: Annotated[str | None, Field(description="Of the file; of a path it is known once a worker has read it.")]
    size_bytes: int | None
    path: str | None


class DatasetItem(Out):
    name: str
    state: DatasetState
    num_images: int | None
    created_at: datetime
    links: dict[str, str]


class DatasetOut(DatasetItem):
    labels: Annotated[list[str] | None, Field(description="Names found, or those given for an npz.")]
    counts: Annotated[dict[str, dict[str, int]] | None, Field(description="Images per split and label.")]
    summary: Annotated[dict[str, Any] | None, Field(description="What a worker found when it read the set.")]
    problem: Annotated[dict[str, Any] | None, Field(description="Why it was refused.")]
    sources: list[SourceOut]


class DatasetPage(Out):
    items: list[DatasetItem]
    next: Annotated[str | None, Field(description="The next page; null on the last.")]
