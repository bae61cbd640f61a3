"""From a candidate to a version: the part of a publication that worker and API share.

What lets a candidate through is a type: a verdict that passed, or an override. There is no third.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from core.errors import Conflict
from core.policy.override import Override
from core.policy.verdict import PassedVerdict
from core.requests.tables import UnlearnRequest
from core.states import VersionState
from models_store.lineage.kinship import relatives
from models_store.lineage.quarantine import quarantine
from models_store.registry import add_version, forgotten_classes
from models_store.tables import ForgottenClass, Model, ModelVersion


class ForgottenMeanwhile(Conflict):
    """A class left the model after the candidate was begun, and the candidate may still hold it."""

    slug = "holds-forgotten-class"
    title = "The version still holds a deleted class"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """Weights in the store that may become a version, and what is kept beside them."""

    job_id: UUID
    fence: int
    base_version_id: int
    sha256: str
    size_bytes: int
    forgotten: list[int]
    """Every class that was erased on the way to these weights."""
    verdict: dict[str, Any]
    manifest: dict[str, Any]


def publish_candidate(
    session: Session, model: Model, candidate: Candidate, grounds: PassedVerdict | Override, *, actor: str
) -> ModelVersion:
    """Make a candidate the model's next version; the caller holds job and model locked, ends the job, and commits.

    Writes the version with its ledger entry, the classes that left the model, and the version into the request; and
    quarantines every version of the lineage that still holds one of them.

    Args:
        session: a writing transaction.
        model: its row, locked.
        candidate: what to publish.
        grounds: why it may be published; an override marks the version for ever.
        actor: who publishes.

    Raises:
        ForgottenMeanwhile: the candidate would bring back a class that has left the model.
    """
    gone = set(forgotten_classes(session, model))
    held = sorted(gone - set(candidate.forgotten))
    if held:
        msg = f"Expected no class to leave the model since the candidate was begun, got the class indices {held}."
        raise ForgottenMeanwhile(msg, class_indices=held)
    base = session.get_one(ModelVersion, candidate.base_version_id)
    erased = set(candidate.forgotten) - set(base.forgotten)
    # Before the first ledger entry: rows first, the head last, as everywhere.
    akin = relatives(session, model, base, erased, lock=True)
    version = add_version(
        session,
        model,
        actor=actor,
        state=VersionState.READY,
        artifact_sha256=candidate.sha256,
        size_bytes=candidate.size_bytes,
        parent_version_id=candidate.base_version_id,
        job_id=candidate.job_id,
        fence=candidate.fence,
        forgotten=candidate.forgotten,
        verdict=candidate.verdict,
        manifest=candidate.manifest,
        **_mark(grounds),
    )
    _note_forgotten(session, version, gone=gone)
    quarantine(session, version, akin)
    session.get_one(UnlearnRequest, candidate.job_id).new_version_id = version.id
    return version


def _mark(grounds: PassedVerdict | Override) -> dict[str, str]:
    if isinstance(grounds, PassedVerdict):
        return {}
    return {"overridden_by": grounds.actor, "override_reason": grounds.reason}


def _note_forgotten(session: Session, version: ModelVersion, *, gone: set[int]) -> None:
    for index in sorted(set(version.forgotten) - gone):
        row = ForgottenClass(
            model_id=version.model_id,
            class_index=index,
            tenant=version.tenant,
            actor=version.actor,
            job_id=version.job_id,
            version_id=version.id,
            forgotten_at=version.created_at,
        )
        session.add(row)
    session.flush()
