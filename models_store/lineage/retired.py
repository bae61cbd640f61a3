"""Versions that are no longer given away: what stands instead of them, and how callers are told."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Gone
from core.states import VersionState
from models_store.lineage.tables import Effect, Quarantine
from models_store.tables import ModelVersion

RETIRED = (VersionState.QUARANTINED, VersionState.PURGED)


class ModelQuarantined(Gone):
    """The version holds a class that was deleted; `successor` names what takes its place."""

    slug = "model-quarantined"
    title = "The version is in quarantine"


class ModelPurged(Gone):
    """The version's bytes were removed; `successor` names what takes its place."""

    slug = "model-purged"
    title = "The version is purged"


def is_purged(version: ModelVersion) -> bool:
    """Whether the version's weights were removed for good: nothing that needs them can be done any more."""
    return version.state == VersionState.PURGED


def refuse_retired(session: Session, version: ModelVersion) -> None:
    """Refuse a version that holds a deleted class, and name what takes its place.

    Raises:
        ModelQuarantined: it is in quarantine.
        ModelPurged: its bytes are gone.
    """
    if version.state not in RETIRED:
        return
    rows = quarantines_of(session, [version.id]).get(version.id, [])
    successor = successor_of(session, rows[0]) if rows else None
    facts: dict[str, Any] = {"state": str(version.state), "successor": successor_json(successor)} | (
        {"quarantined_at": rows[0].at.isoformat(), "request": str(rows[0].job_id)} if rows else {}
    )
    name, instead = f"version {version.number} of {version.model.name!r}", _instead(successor)
    if is_purged(version):
        msg = f"Expected a version whose weights are kept, got {name}, which was purged after a deletion{instead}."
        raise ModelPurged(msg, **facts)
    msg = f"Expected a version without deleted classes, got {name}, which is in quarantine{instead}."
    raise ModelQuarantined(msg, **facts)


def quarantines_of(session: Session, version_ids: Iterable[int]) -> dict[int, list[Quarantine]]:
    """By version the requests that put it into quarantine, the first one first; versions without any are left out."""
    query = (
        select(Quarantine)
        .where(Quarantine.version_id.in_(list(version_ids)), Quarantine.effect != Effect.MARKED)
        .order_by(Quarantine.entry)
    )
    found: dict[int, list[Quarantine]] = {}
    for row in session.execute(query).scalars():
        found.setdefault(row.version_id, []).append(row)
    return found


def successor_of(session: Session, quarantine: Quarantine) -> ModelVersion | None:
    """What takes the version's place today: the successor, or where that was quarantined as well, its successor."""
    successor = quarantine.successor
    while successor is not None and successor.state in RETIRED:
        # The last reason names the newest version; numbers only grow, so this ends.
        rows = quarantines_of(session, [successor.id]).get(successor.id, [])
        following = rows[-1].successor if rows else None
        if following is None or following.id <= successor.id:
            return None
        successor = following
    return successor


def successor_json(successor: ModelVersion | None) -> Mapping[str, Any] | None:
    """How a successor is named in answers."""
    if successor is None:
        return None
    here = f"/models/{successor.model.name}/versions/{successor.number}"
    return {
        "model": successor.model.name,
        "version": successor.number,
        "sha256": successor.artifact_sha256,
        "links": {"self": here, "artifact": f"{here}/artifact"},
    }


def _instead(successor: ModelVersion | None) -> str:
    if successor is None:
        return ""
    return f"; version {successor.number} of {successor.model.name!r} takes its place"
