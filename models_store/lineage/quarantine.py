"""Quarantine: what a publication does, in its own transaction, to every version that still holds the class."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.ledger.entries import Record, append
from core.states import VersionState
from models_store.lineage.kinship import Relative
from models_store.lineage.tables import Effect, Quarantine, Relation
from models_store.tables import ModelAlias, ModelVersion


def quarantine(session: Session, published: ModelVersion, relatives: Sequence[Relative]) -> list[Quarantine]:
    """Quarantine every relative that holds a class which left with this version; the caller commits.

    One ledger entry for each. Aliases stay where they are, and the entry names those that now lead to a version in
    quarantine: they show its state and resolve no more until somebody moves them. Versions of kindred models that do
    not name the class but come from one that holds it are marked, not more.

    Args:
        session: the transaction of the publication.
        published: the new version, with the request that made it.
        relatives: the lineage before it, locked (`kinship.relatives`).
    """
    holding = {one.version.id for one in relatives if one.held}
    found = []
    for relative in relatives:
        effect = _effect(relative, holding)
        if effect is not None:
            found.append(_noted(session, published, relative, effect))
    session.flush()
    return found


def _effect(relative: Relative, holding: set[int]) -> Effect | None:
    state = relative.version.state
    if relative.held:
        # What is being checked meets the guard at the end of its check; what was refused is given to nobody.
        effects = {VersionState.READY: Effect.QUARANTINED, VersionState.QUARANTINED: Effect.HOLDS_TOO}
        return effects.get(state)
    is_descendant = relative.relation is Relation.KIN and relative.origin_id in holding
    return Effect.MARKED if is_descendant and state == VersionState.READY else None


def _noted(session: Session, published: ModelVersion, relative: Relative, effect: Effect) -> Quarantine:
    version = relative.version
    successor = published if relative.relation is not Relation.KIN else None
    data: dict[str, Any] = {
        "model": version.model.name,
        "version": version.number,
        "sha256": version.artifact_sha256,
        "relation": relative.relation.value,
        "effect": effect.value,
        "num_classes": len(relative.held),
        "aliases": _aliases(session, version),
    }
    if successor is not None:
        data["successor"] = {
            "model": successor.model.name,
            "version": successor.number,
            "sha256": successor.artifact_sha256,
        }
    if effect is Effect.QUARANTINED:
        version.state = VersionState.QUARANTINED
        session.flush()
    event = "version.marked" if effect is Effect.MARKED else "version.quarantined"
    entry = append(
        session,
        Record(type=event, tenant=version.tenant, actor=published.actor, request=published.job_id, data=data),
    )
    row = Quarantine(
        entry=entry.seq,
        tenant=version.tenant,
        actor=published.actor,
        version_id=version.id,
        job_id=published.job_id,
        relation=relative.relation,
        effect=effect,
        class_indices=relative.held,
        successor_id=successor.id if successor is not None else None,
        at=entry.at,
    )
    session.add(row)
    return row


def _aliases(session: Session, version: ModelVersion) -> list[str]:
    query = select(ModelAlias.name).where(ModelAlias.version_id == version.id).order_by(ModelAlias.name)
    return list(session.execute(query).scalars())
