"""What goes in and out of `/recalls`."""

from datetime import datetime
from typing import Annotated

from pydantic import Field, StrictInt

from app.schemas import MAX_INTEGER, In, Out, Text


class SignatureOut(Out):
    keyid: str
    sig: str


class EnvelopeOut(Out):
    """A signing envelope (DSSE 1.0)."""

    payload: Annotated[str, Field(description="Base64 of the feed's JSON: parse it once a signature is checked.")]
    payloadType: str  # noqa: N815 the format's name
    signatures: list[SignatureOut]


class AcknowledgeIn(In):
    holder: Annotated[Text, Field(min_length=1, max_length=256, pattern=r"\S")] = Field(
        description="Who held the copies, such as a team or a system. Kept out of the ledger."
    )
    num_copies: Annotated[StrictInt, Field(ge=0, le=MAX_INTEGER, description="How many copies were retired.")] = 1


class AcknowledgementOut(Out):
    entry: Annotated[int, Field(description="Number of the ledger entry.")]
    recall: int
    holder: str
    num_copies: int
    actor: str
    at: datetime


class AcknowledgementList(Out):
    items: list[AcknowledgementOut]
