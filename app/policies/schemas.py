"""What goes in and out of `/policies`."""

from datetime import datetime
from typing import Annotated

from fastapi import Path
from pydantic import Field

from app.schemas import MAX_INTEGER, In, Out, Text
from core.policy.policies import NAME, Margin, TestName

# What could never be stored is simply not found; a length keeps it off the database.
NamePath = Annotated[str, Path(max_length=64, description="Name of the policy.")]
NewNamePath = Annotated[str, Path(pattern=rf"^{NAME}$", description="Name of the policy.")]
NumberPath = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="Number of the version.")]


class PutPolicy(In):
    description: Text = Field("", max_length=2000, description="What it is for. Not part of what decides.")
    deciding: dict[TestName, Margin] = Field(
        min_length=1, description="The tests that decide, and where the whole 95 % interval of each must lie."
    )


class PolicyOut(Out):
    name: str
    version: int
    description: str
    deciding: dict[TestName, dict[str, float]]
    needs_reference: bool = Field(description="Requests need a model that was trained without the classes.")
    needs_audit: bool = Field(description="Requests need shadow models.")
    shipped: bool = Field(description="It came with the service and cannot be changed.")
    sha256: str = Field(description="Of the policy's canonical JSON as verdicts hold it; also in the ledger.")
    created_by: str | None
    created_at: datetime | None
    links: dict[str, str]


class PolicyList(Out):
    items: list[PolicyOut] = Field(description="The newest version of each, shipped ones first, by name.")
