"""How purges are shown."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import Field

from app.schemas import Out
from core.requests.tables import Job
from core.states import JobState


class PurgeOut(Out):
    id: UUID
    request: UUID
    state: JobState = Field(description="`completed` also where something had to stay; the result says what and why.")
    created_at: datetime
    finished_at: datetime | None
    attempt: int
    result: dict[str, Any] | None = Field(
        description=(
            "`targets`: what held the classes, each with its digest and whether it is `removed` or `stays`, and `why`; "
            "`absent`: the digests that the store no longer has; `listing_before` and `listing_after` of the store."
        )
    )
    problem: dict[str, Any] | None
    links: dict[str, str]

    @classmethod
    def of(cls, job: Job) -> Self:
        """A purge as its row stands."""
        request = f"/unlearn/{job.parent_job_id}"
        return cls(
            id=job.id,
            request=UUID(job.spec["request"]),
            state=JobState(job.state),
            created_at=job.created_at,
            finished_at=job.finished_at,
            attempt=job.attempt,
            result=job.result,
            problem=job.problem,
            links={"self": f"{request}/purge", "request": request},
        )
