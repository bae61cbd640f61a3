"""Moving names over versions. Who moves one says which state they saw, so that nobody undoes another move unseen.

An alias's revision is the size of the ledger after the entry that records its last move: it never repeats, not even
when an alias is removed and made again, so an old entity tag can never match a newer alias of the same name.
"""

from typing import Any

from sqlalchemy.orm import Session

from app.dependencies import Caller
from app.preconditions import Preconditions, etag
from core.clock import database_now
from core.ledger.entries import Record, append
from models_store.registry import UnknownAlias, find_alias, find_model, refuse_forgotten, resolve_base
from models_store.tables import Model, ModelAlias


def move(
    session: Session, who: Caller, model_name: str, name: str, number: int, conditions: Preconditions
) -> tuple[ModelAlias, bool]:
    """Point an alias at a version and write the ledger entry; the caller commits.

    Returns:
        The alias, and whether it is new.

    Raises:
        UnknownModel: the tenant has no model of this name.
        PreconditionRequired: the caller did not say which state they saw.
        PreconditionFailed: it is in another state.
        UnknownVersion: the model has no such version.
        VersionNotReady: the version is still being checked, or was refused.
        HoldsForgottenClass: the version still knows a deleted class.
    """
    # The model's row is the lock: an alias that does not exist yet has none of its own.
    model = find_model(session, who.tenant, model_name, lock=True)
    alias = _find(session, model, name)
    conditions.check_change(etag(alias.revision) if alias else None)
    version = resolve_base(session, model, version=number, alias=None)
    refuse_forgotten(session, version)
    before = alias.version.number if alias else None
    revision = _record(
        session, who, "alias.moved", {"model": model.name, "alias": name, "version": number, "before": before}
    )
    now, is_new = database_now(session), alias is None
    if alias is None:
        alias = ModelAlias(model_id=model.id, name=name, tenant=who.tenant)
        session.add(alias)
    alias.version = version
    alias.actor = who.actor
    alias.revision = revision
    alias.updated_at = now
    session.flush()
    return alias, is_new


def remove(session: Session, who: Caller, model_name: str, name: str, conditions: Preconditions) -> None:
    """Remove an alias and write the ledger entry; the caller commits.

    Raises:
        UnknownModel: the tenant has no model of this name.
        UnknownAlias: the model has no such alias.
        PreconditionRequired: the caller did not say which state they saw.
        PreconditionFailed: it is in another state.
    """
    model = find_model(session, who.tenant, model_name, lock=True)
    alias = find_alias(session, model, name, lock=True)
    conditions.check_change(etag(alias.revision))
    session.delete(alias)
    _record(session, who, "alias.removed", {"model": model.name, "alias": name, "before": alias.version.number})


def _find(session: Session, model: Model, name: str) -> ModelAlias | None:
    try:
        return find_alias(session, model, name, lock=True)
    except UnknownAlias:
        return None


def _record(session: Session, who: Caller, kind: str, data: dict[str, Any]) -> int:
    return append(session, Record(type=kind, tenant=who.tenant, actor=who.actor, data=data)).seq + 1
