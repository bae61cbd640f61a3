"""How proofs are shown: hashes in hex, the checkpoint as the text that was signed."""

from typing import Literal

from pydantic import Field

from app.schemas import Out

HASHES = "Hashes from the leaf upwards, hex (RFC 6962 section 2.1)."
SIGNED = "The signed checkpoint of that size, if there is one."


class InclusionOut(Out):
    format: Literal["expunge-inclusion/1"] = "expunge-inclusion/1"
    index: int
    size: int = Field(description="Entries of the ledger that the proof is about.")
    leaf_hash: str
    hashes: list[str] = Field(description=HASHES)
    root: str
    checkpoint: str | None = Field(description=SIGNED)


class ConsistencyOut(Out):
    format: Literal["expunge-consistency/1"] = "expunge-consistency/1"
    old: int
    new: int
    hashes: list[str] = Field(description=HASHES)
    old_root: str
    new_root: str
    old_checkpoint: str | None = Field(description=SIGNED)
    new_checkpoint: str | None = Field(description=SIGNED)
