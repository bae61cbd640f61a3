"""What a replay is asked to do: the contract between the API that writes it and the worker that reads it."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.requests.tables import Job
from core.states import JobKind

REPLAY_PRIORITY = -1
"""Below a deletion: what was promised comes before what is checked."""
STARTED, ENDED = "request.replay_started", "request.replayed"
"""Types of the entries that a replay writes about its request, beside those about itself."""


class ReplaySpec(BaseModel):
    """A replay. Parent, method, draws and seeds are those that the request left on record."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    request: UUID


def replays_of(session: Session, request_id: UUID) -> list[Job]:
    """The replays of a request, newest first."""
    query = select(Job).where(Job.parent_job_id == request_id, Job.kind == JobKind.REPLAY)
    return list(session.execute(query.order_by(Job.seq.desc())).scalars())
