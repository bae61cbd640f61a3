"""What a request did to its lineage, for reports and evidence: one list of each kind, as JSON without class names."""

from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import to_rfc3339
from core.requests.tables import Job
from core.states import JobKind
from models_store.lineage.recalls import acknowledgements_of
from models_store.lineage.retired import successor_of
from models_store.lineage.tables import BrokenGlass, Effect, Quarantine
from models_store.tables import ModelVersion


@dataclass(frozen=True, kw_only=True)
class Affected:
    """A version that the request quarantined or marked."""

    entry: int
    """Number of the ledger entry; also the id of the recall, if it is recalled."""
    model: str
    version: int
    sha256: str
    relation: str
    effect: str
    state: str
    """The version's state now."""
    at: str
    successor: dict[str, Any] | None
    is_recalled: bool


@dataclass(frozen=True, kw_only=True)
class Acknowledged:
    """Somebody who said that they retired a copy."""

    recall: int
    entry: int
    holder: str
    num_copies: int
    at: str


@dataclass(frozen=True, kw_only=True)
class Access:
    """A download of quarantined weights by somebody with the scope `break-glass`."""

    entry: int
    model: str
    version: int
    actor: str
    reason: str
    at: str


@dataclass(frozen=True)
class Consequences:
    """Everything that followed from a request for its lineage, each list in the order of the ledger."""

    affected: tuple[Affected, ...]
    acknowledgements: tuple[Acknowledged, ...]
    accesses: tuple[Access, ...]
    purges: tuple[dict[str, Any], ...]
    """The results of finished purges, as the purge job gives them."""

    def as_json(self) -> dict[str, Any]:
        """As a JSON object; no class names, no subject references. Reasons and holders are as people wrote them."""
        return {
            "quarantined": [asdict(one) for one in self.affected if one.effect != Effect.MARKED.value],
            "marked": [asdict(one) for one in self.affected if one.effect == Effect.MARKED.value],
            "recalls": [one.entry for one in self.affected if one.is_recalled],
            "acknowledgements": [asdict(one) for one in self.acknowledgements],
            "accesses": [asdict(one) for one in self.accesses],
            "purges": list(self.purges),
        }


def consequences_of(session: Session, tenant: str, request_id: UUID) -> Consequences:
    """What a request of the tenant did to its lineage; empty lists before it is published.

    Args:
        session: any transaction.
        tenant: whose request.
        request_id: the deletion request.
    """
    query = select(Quarantine).where(Quarantine.tenant == tenant, Quarantine.job_id == request_id)
    rows = list(session.execute(query.order_by(Quarantine.entry)).scalars())
    return Consequences(
        affected=tuple(_affected(session, row) for row in rows),
        acknowledgements=tuple(_acknowledged(session, rows)),
        accesses=tuple(_accesses(session, [row.version_id for row in rows])),
        purges=tuple(purge_results(session, request_id)) if rows else (),
    )


def purge_results(session: Session, request_id: UUID) -> list[dict[str, Any]]:
    """The results of a request's finished purges, the oldest first, each with the id of its job."""
    query = select(Job).where(Job.parent_job_id == request_id, Job.kind == JobKind.PURGE, Job.result.is_not(None))
    return [{"id": str(job.id)} | (job.result or {}) for job in session.execute(query.order_by(Job.seq)).scalars()]


def _affected(session: Session, row: Quarantine) -> Affected:
    successor = successor_of(session, row)
    return Affected(
        entry=row.entry,
        model=row.version.model.name,
        version=row.version.number,
        sha256=row.version.artifact_sha256,
        relation=str(row.relation),
        effect=str(row.effect),
        state=str(row.version.state),
        at=to_rfc3339(row.at),
        successor=None
        if successor is None
        else {"model": successor.model.name, "version": successor.number, "sha256": successor.artifact_sha256},
        is_recalled=row.effect == Effect.QUARANTINED,
    )


def _acknowledged(session: Session, rows: list[Quarantine]) -> list[Acknowledged]:
    found = acknowledgements_of(session, [row.entry for row in rows])
    return [
        Acknowledged(
            recall=one.recall, entry=one.entry, holder=one.holder, num_copies=one.num_copies, at=to_rfc3339(one.at)
        )
        for one in found
    ]


def _accesses(session: Session, version_ids: list[int]) -> list[Access]:
    query = (
        select(BrokenGlass, ModelVersion)
        .join(ModelVersion, ModelVersion.id == BrokenGlass.version_id)
        .where(BrokenGlass.version_id.in_(version_ids))
        .order_by(BrokenGlass.entry)
    )
    return [
        Access(
            entry=row.entry,
            model=version.model.name,
            version=version.number,
            actor=row.actor,
            reason=row.reason,
            at=to_rfc3339(row.at),
        )
        for row, version in session.execute(query).unique()
    ]
