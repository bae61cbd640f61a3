"""How many versions each of several requests retired, and how many copies were acknowledged."""

from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.requests.tables import UnlearnRequest
from models_store.lineage.tables import Acknowledgement, Effect, Quarantine


def retired_by(session: Session, requests: Iterable[UnlearnRequest]) -> dict[UUID, tuple[int, int]]:
    """By request: versions put into quarantine, and copies said to be retired; those without any are left out."""
    ids = [one.job_id for one in requests]
    mine = Quarantine.job_id.in_(ids), Quarantine.effect == Effect.QUARANTINED
    versions = select(Quarantine.job_id, func.count()).where(*mine).group_by(Quarantine.job_id)
    copies = (
        select(Quarantine.job_id, func.sum(Acknowledgement.num_copies))
        .join(Acknowledgement, Acknowledgement.recall == Quarantine.entry)
        .where(*mine)
        .group_by(Quarantine.job_id)
    )
    acknowledged: dict[UUID, int] = {request: int(count) for request, count in session.execute(copies)}
    return {request: (count, acknowledged.get(request, 0)) for request, count in session.execute(versions)}
