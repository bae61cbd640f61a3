"""How replays are shown."""

from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field

from app.schemas import Out
from core.requests.tables import Job
from core.states import JobState

Outcome = Literal["identical", "within-tolerance", "different"]


class ReplayOut(Out):
    id: UUID
    request: UUID
    state: JobState = Field(description="`completed` whatever the outcome; `failed` when it could not be computed.")
    step: str | None = Field(description="`load`, `unlearn` or `compare`, once it runs.")
    percent: int
    attempt: int
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    outcome: Outcome | None = Field(description="What the comparison with the published weights says, once completed.")
    result: dict[str, Any] | None = Field(
        description=(
            "`sentence`; digests of the published and of the recomputed weights; `contradictions` on record; whether "
            "exactness was expected, and what is not as it was then; the largest relative difference of a tensor, the "
            "bound and where it comes from."
        )
    )
    problem: dict[str, Any] | None = Field(description="Why it failed, or why the last attempt did.")
    links: dict[str, str]

    @classmethod
    def of(cls, job: Job) -> Self:
        """A replay as its row stands."""
        request = UUID(job.spec["request"])
        own, final = replay_url(job), JobState(job.state).is_final
        return cls(
            id=job.id,
            request=request,
            state=JobState(job.state),
            step=job.step,
            percent=job.percent,
            attempt=job.attempt,
            cancel_requested=job.cancel_requested_at is not None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            outcome=job.result["outcome"] if job.result is not None else None,
            result=job.result,
            problem=job.problem,
            links={"self": own, "request": f"/unlearn/{request}"} | ({} if final else {"cancel": own}),
        )


class ReplayList(Out):
    items: list[ReplayOut] = Field(description="Newest first.")


def replay_url(job: Job) -> str:
    """Where a replay stands."""
    return f"/unlearn/{job.spec['request']}/replays/{job.id}"
