"""What each step leaves behind: JSON that names blobs by digest, so that a later attempt can go on from it."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from core.policy.verdict import Evidence
from models_store.manifests import digest

__all__ = ["Erased", "Loaded", "Output", "Packaged", "Verified", "digest"]


class Output(BaseModel):
    """One step's result, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def blobs(self) -> tuple[str, ...]:
        """Digests of the stored bytes that this output stands for."""
        return ()


class Loaded(Output):
    """What the job works on."""

    model_id: int
    base_version_id: int
    base_version: int
    base_sha256: str
    dataset_id: int
    files: dict[str, str]
    """Digest of each of the data set's files, by split."""
    forget: list[int]
    """Every class that must be gone from the new version: those asked for, and those deleted from the model before."""
    erase: list[int]
    """Those of them that the base still holds."""

    def blobs(self) -> tuple[str, ...]:
        return (self.base_sha256,)

    @property
    def erased_before(self) -> list[int]:
        """Those of them that are gone from the base already."""
        return sorted(set(self.forget) - set(self.erase))


class Erased(Output):
    """The candidate's weights, and the account of how they were made."""

    sha256: str
    size_bytes: int
    method: dict[str, Any]
    edits: list[dict[str, Any]]
    untouched: list[dict[str, Any]]
    samples: dict[str, int]
    environment: dict[str, Any]
    prototypes: str | None = None
    """Digest of what is kept of the classes to recognise them by, if the operator allows that."""
    peak_memory_bytes: int | None = None
    """Of the job's process until the weights were made; unknown of records that older workers left."""

    def blobs(self) -> tuple[str, ...]:
        return (self.sha256,)


class Compared(Output):
    """The reference that was compared with."""

    number: int
    sha256: str
    seed: int | None = None
    """Of its training, if it was trained here."""


class Verified(Output):
    """Every measure, and the evidence for the verdict. The verdict is computed from it anew, never trusted."""

    measures: dict[str, dict[str, Any]]
    """By network: `original`, `unlearned`, and `reference` if there was one."""
    evidence: list[Evidence]
    reference: Compared | None = None
    curves: dict[str, Any] = {}
    """What is drawn: shares and counts, nothing about a single image."""
    cost: dict[str, Any] = {}
    """Seconds and images of unlearning and verification; and of training the reference, if that was done here."""


class Packaged(Output):
    """What is stored beside the new version."""

    manifest: dict[str, Any]
