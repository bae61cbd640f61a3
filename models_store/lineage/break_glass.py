"""Breaking the glass: somebody with the scope downloads quarantined weights and says why."""

from dataclasses import dataclass
from typing import Final

from sqlalchemy.orm import Session

from core.errors import Conflict
from core.ledger.entries import Record, append, commitment
from core.policy.override import FEWEST_LETTERS, MOST_LETTERS, NoReason
from core.requests.tables import UnlearnRequest
from core.states import VersionState
from models_store.lineage.retired import quarantines_of, refuse_retired
from models_store.lineage.tables import BrokenGlass
from models_store.tables import ModelVersion

BREAK_GLASS: Final = "break-glass"
"""The scope. No other one holds it, not even the operator's."""


class NotQuarantined(Conflict):
    """There is no glass to break: the version can be downloaded, or there is nothing to download."""

    slug = "not-quarantined"
    title = "The version is not in quarantine"


@dataclass(frozen=True)
class Reason:
    """Why the glass is broken.

    Raises:
        NoReason: it is too short or too long to say anything.
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse an empty gesture."""
        if not FEWEST_LETTERS <= len(self.text) <= MOST_LETTERS:
            msg = f"Expected a reason of {FEWEST_LETTERS} to {MOST_LETTERS:,} characters, got {len(self.text):,}."
            raise NoReason(msg, pointer="#/reason")


def refuse_unquarantined(session: Session, version: ModelVersion) -> None:
    """Refuse a version that is not in quarantine.

    Raises:
        NotQuarantined: it is ready, being checked, or was refused.
        ModelPurged: there is nothing left to give away.
    """
    if version.state == VersionState.QUARANTINED:
        return
    refuse_retired(session, version)
    msg = f"Expected a version in quarantine, got version {version.number}, which is {version.state}."
    raise NotQuarantined(msg, state=str(version.state))


def break_glass(session: Session, version: ModelVersion, reason: Reason, *, actor: str) -> BrokenGlass:
    """Write down who downloads quarantined weights and why, with a ledger entry; the caller commits, then sends.

    The ledger holds the reason as a commitment under the key of the request that quarantined the version.

    Raises:
        NotQuarantined: the version is not in quarantine.
        ModelPurged: its bytes are gone.
    """
    refuse_unquarantined(session, version)
    cause = quarantines_of(session, [version.id])[version.id][0]
    request = session.get(UnlearnRequest, cause.job_id)
    data = {"model": version.model.name, "version": version.number, "sha256": version.artifact_sha256}
    if request is not None and request.commitment_key is not None:
        data["reason"] = commitment(request.commitment_key, "reason", reason.text)
    entry = append(
        session,
        Record(type="artifact.glass_broken", tenant=version.tenant, actor=actor, request=cause.job_id, data=data),
    )
    row = BrokenGlass(
        entry=entry.seq,
        tenant=version.tenant,
        actor=actor,
        version_id=version.id,
        reason=reason.text,
        at=entry.at,
    )
    session.add(row)
    session.flush()
    return row
