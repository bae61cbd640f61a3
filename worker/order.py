"""What the supervisor tells a job's process: one line of JSON on its standard input."""

from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from core.requests.claims import Lease
from core.settings import Settings
from core.states import JobKind


class Order(BaseModel):
    """The lease under which to work, and the supervisor's settings: both sides must agree on every one of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: UUID
    kind: JobKind
    fence: int
    attempt: int
    owner: str
    settings: dict[str, Any]

    @classmethod
    def of(cls, lease: Lease, settings: Settings) -> Self:
        # The job never speaks to Redis, so it does not learn where that is.
        values = settings.model_dump(mode="json", exclude={"redis_url"})
        return cls(
            job=lease.job_id,
            kind=lease.kind,
            fence=lease.fence,
            attempt=lease.attempt,
            owner=lease.owner,
            settings=values | {"redis_url": None},
        )

    @property
    def lease(self) -> Lease:
        return Lease(self.job, self.kind, self.fence, self.attempt, self.owner)

    def read_settings(self) -> Settings:
        return Settings(**self.settings)

    def to_line(self) -> bytes:
        return self.model_dump_json().encode() + b"\n"
