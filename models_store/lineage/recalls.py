"""Recalls: one for each version put into quarantine, told to whoever may hold a copy, and acknowledged by them."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import to_rfc3339
from core.errors import NotFound
from core.ledger.entries import Record, append, commitment
from core.requests.tables import UnlearnRequest
from models_store.lineage.retired import successor_of
from models_store.lineage.tables import Acknowledgement, Effect, Quarantine


class UnknownRecall(NotFound):
    """The tenant has no recall with this number."""

    slug = "unknown-recall"
    title = "Unknown recall"


def recalls_after(session: Session, tenant: str, after: int | None, limit: int) -> list[Quarantine]:
    """The tenant's recalls in the order of the ledger; one more than `limit` if there are more."""
    query = select(Quarantine).where(Quarantine.tenant == tenant, Quarantine.effect == Effect.QUARANTINED)
    if after is not None:
        query = query.where(Quarantine.entry > after)
    return list(session.execute(query.order_by(Quarantine.entry).limit(limit + 1)).scalars())


def count_recalls(session: Session, tenant: str) -> int:
    """How many recalls the tenant has."""
    query = select(func.count()).where(Quarantine.tenant == tenant, Quarantine.effect == Effect.QUARANTINED)
    return session.execute(query).scalar_one()


def find_recall(session: Session, tenant: str, entry: int) -> Quarantine:
    """The tenant's recall with this number.

    Raises:
        UnknownRecall: there is none; another tenant's is answered the same way.
    """
    row = session.get(Quarantine, entry)
    if row is None or row.tenant != tenant or row.effect != Effect.QUARANTINED:
        msg = f"Expected the id of a recall as GET /recalls gives it, got {entry}."
        raise UnknownRecall(msg)
    return row


def recall_json(session: Session, recall: Quarantine) -> dict[str, Any]:
    """A recall as the feed tells it: nothing about people, no class, no label. The successor is today's."""
    version, successor = recall.version, successor_of(session, recall)
    return {
        "id": recall.entry,
        "at": to_rfc3339(recall.at),
        "model": version.model.name,
        "version": version.number,
        "sha256": version.artifact_sha256,
        "state": str(version.state),
        "why": "holds-deleted-class",
        "relation": str(recall.relation),
        "request": str(recall.job_id),
        "successor": None
        if successor is None
        else {"model": successor.model.name, "version": successor.number, "sha256": successor.artifact_sha256},
    }


def acknowledge(session: Session, recall: Quarantine, *, actor: str, holder: str, num_copies: int) -> Acknowledgement:
    """Write down that copies are retired, with a ledger entry; the caller commits. It is their word, nothing more.

    The same said again by the same caller changes nothing.
    """
    said = select(Acknowledgement).where(
        Acknowledgement.recall == recall.entry,
        Acknowledgement.actor == actor,
        Acknowledgement.holder == holder,
        Acknowledgement.num_copies == num_copies,
    )
    known = session.execute(said.limit(1)).scalar_one_or_none()
    if known is not None:
        return known
    data: dict[str, Any] = {"recall": recall.entry, "sha256": recall.version.artifact_sha256, "num_copies": num_copies}
    request = session.get(UnlearnRequest, recall.job_id)
    if request is not None and request.commitment_key is not None:
        data["holder"] = commitment(request.commitment_key, "holder", holder)
    record = Record(type="recall.acknowledged", tenant=recall.tenant, actor=actor, request=recall.job_id, data=data)
    entry = append(session, record)
    row = Acknowledgement(
        entry=entry.seq,
        tenant=recall.tenant,
        actor=actor,
        recall=recall.entry,
        holder=holder,
        num_copies=num_copies,
        at=entry.at,
    )
    session.add(row)
    session.flush()
    return row


def acknowledgements_of(session: Session, recalls: list[int]) -> list[Acknowledgement]:
    """What was said about these recalls, in the order of the ledger."""
    query = select(Acknowledgement).where(Acknowledgement.recall.in_(recalls)).order_by(Acknowledgement.entry)
    return list(session.execute(query).scalars())
